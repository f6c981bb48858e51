"""Float models that come with the package, by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from pvae_neuro.errors import InputError
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.suggest import suggest

FOLDER = Path(__file__).parents[1] / "zoo"
FIGURES_FILE = "figures.json"


class ShippedModel(NamedTuple):
    """One model.

    Attributes
    ----------
    file : str
        Its name in the folder ``zoo``.
    family : str
    summary : str
        What is in it, in some words.
    """

    file: str
    family: str
    summary: str


# Trained on the 28 x 28 digits of MNIST's training set, by benchmarks/train_zoo.py.
SHIPPED = {
    "mnist": ShippedModel("mnist_k512.safetensors", "ipvae-linear", "512 latents"),
    "mnist-mlp": ShippedModel(
        "mnist_mlp.safetensors", "ipvae-mlp", "512 latents, 512 hidden rectifiers"
    ),
    "mnist-conv": ShippedModel(
        "mnist_conv.safetensors", "ipvae-conv", "128 latents, maps of 32 and 16 channels"
    ),
    "mnist-hierarchical": ShippedModel(
        "mnist_hierarchical.safetensors", "ipvae-hierarchical", "256 latents below 64"
    ),
    "mnist-pvae": ShippedModel(
        "mnist_pvae.safetensors", "pvae-mlp", "128 latents, 256 hidden rectifiers"
    ),
    "mnist-lca": ShippedModel("mnist_lca.safetensors", "lca", "784 coefficients, threshold .1"),
}


def shipped_file(name: str) -> Path:
    """Path of a file that comes with the package.

    Raises
    ------
    InputError
        If this installation lacks it.
    """
    path = FOLDER / name
    if not path.is_file():
        raise InputError(
            f"the shipped file {name} is missing from {path.parent}; install pvae-neuro again, "
            f"or give a model and inputs of your own"
        )
    return path


def shipped_name(text: str) -> str:
    """Name of the shipped model that a name, or a family with or without its first part, means.

    ``mnist-mlp``, ``ipvae-mlp`` and ``mlp`` are one; where several are of a family, the first.

    Raises
    ------
    InputError
        If none is meant; proposes the nearest.
    """
    known: dict[str, str] = {}
    spelled = [(name, name) for name in SHIPPED]
    spelled += [(model.family, name) for name, model in SHIPPED.items()]
    for word, name in [*spelled, *((w.partition("-")[2] or w, name) for w, name in spelled)]:
        known.setdefault(word, name)
    if text not in known:
        raise InputError(f"family {text!r}: no shipped model is of it{suggest(text, known)}")
    return known[text]


def shipped_figures() -> dict[str, dict[str, Any]]:
    """What was measured of the shipped models, by name; a model that was not measured is left out.

    Of each: ``mse`` and ``zeros`` of the float model after ``iterations``, on the first ``images``
    of the test digits, and the ``sha256`` of the file that was measured.
    """
    path = FOLDER / FIGURES_FILE
    found: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def model_path(model: str | os.PathLike[str]) -> Path:
    """Path of a float model: a file as it is given, or the name of a shipped model.

    A file that exists wins over a name.

    Raises
    ------
    InputError
        If there is no such file, and it is not the name of a shipped model; near names are
        proposed where it has neither folder nor ending.
    """
    path = user_path(model)
    # For a name that is too long, the methods of a path raise.
    if os.path.isfile(path):  # noqa: PTH113
        return path
    name = os.fspath(model)
    if name in SHIPPED:
        return shipped_file(SHIPPED[name].file)
    if path.name == name and not path.suffix and not os.path.exists(path):  # noqa: PTH110
        raise InputError(f"{name}: no such file, and no shipped model{suggest(name, SHIPPED)}")
    return path
