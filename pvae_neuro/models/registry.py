"""Every model family by name: its class, its paper and its published size.

Reading this table needs no torch; :func:`model_class` imports the class of one family.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pvae_neuro.errors import InputError
from pvae_neuro.saved.model_file import ModelConfig, SavedModel
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.show import show
from pvae_neuro.utils.suggest import suggest

if TYPE_CHECKING:
    import torch

    from pvae_neuro.models.base import Model

IPVAE_PAPER = "Vafaii, Galor, Yates 2025, arXiv:2410.19315"
GPC_PAPER = "Pinchetti, Salvatori, Yordanov, Millidge, Song, Lukasiewicz 2022, arXiv:2211.03481"
PVAE_PAPER = "Vafaii, Galor, Yates 2024, arXiv:2405.14473"

RECONSTRUCT = "reconstruct"
"""The task of most families."""


@dataclass(frozen=True)
class ModelEntry:
    """One family.

    Attributes
    ----------
    name : str
    home : str
        ``module:Class`` below ``pvae_neuro.models``.
    summary : str
    paper : str
    architecture : dict
        Settings that the name fixes, where one class serves several names.
    published_parameters : int, optional
        Parameters on MNIST as published, where the architecture is the same.
    published_latents : int
        K of that figure.
    task : str
        What it predicts: ``reconstruct``, or one of :data:`~pvae_neuro.evaluation.tasks.TASKS`.
    """

    name: str
    home: str
    summary: str
    paper: str
    architecture: dict[str, Any] = field(default_factory=dict)
    published_parameters: int | None = None
    published_latents: int = 512
    task: str = RECONSTRUCT


_ENTRIES = (
    ModelEntry(
        "ipvae-linear", "poisson.ipvae:IPVAE", "iterative Poisson, linear decoder", IPVAE_PAPER,
        published_parameters=403_217,
    ),
    ModelEntry(
        "ipvae-mlp", "poisson.ipvae_jacobian:JacobianIPVAE", "iterative Poisson, MLP decoder",
        IPVAE_PAPER, {"decoder": "mlp"},
    ),
    ModelEntry(
        "ipvae-conv", "poisson.ipvae_jacobian:JacobianIPVAE",
        "iterative Poisson, convolutional decoder", IPVAE_PAPER, {"decoder": "conv"},
    ),
    ModelEntry(
        "ipvae-fully-conv", "poisson.ipvae_fully_conv:FullyConvIPVAE",
        "iterative Poisson, map of latents, any size", f"{IPVAE_PAPER} (our decoder)",
        published_latents=784,
    ),
    ModelEntry(
        "ipvae-hierarchical", "poisson.ipvae_hierarchical:HierarchicalIPVAE",
        "iterative Poisson, two levels", f"{IPVAE_PAPER} (future work; our equations)",
    ),
    ModelEntry(
        "igvae", "rivals.igvae:IGVAE", "iterative Gaussian, linear decoder", IPVAE_PAPER,
        published_parameters=403_730,
    ),
    ModelEntry(
        "igvae-relu", "rivals.igvae:IGVAE", "iterative Gaussian, rectified samples", IPVAE_PAPER,
        {"relu": True}, published_parameters=403_730,
    ),
    ModelEntry(
        "igvae-natural", "rivals.igvae:NaturalIGVAE",
        "iterative Gaussian, leak within the free energy", f"{IPVAE_PAPER} (our variant)",
    ),
    ModelEntry(
        "pvae-linear", "poisson.pvae:PVAE", "amortized Poisson, linear encoder", PVAE_PAPER,
        {"encoder": "linear"}, published_parameters=803_328,
    ),
    ModelEntry(
        "pvae-mlp", "poisson.pvae:PVAE", "amortized Poisson, MLP encoder", PVAE_PAPER,
        {"encoder": "mlp"},
    ),
    ModelEntry(
        "pvae-conv", "poisson.pvae:PVAE", "amortized Poisson, convolutional encoder", PVAE_PAPER,
        {"encoder": "conv"},
    ),
    ModelEntry(
        "pvae-residual", "poisson.pvae:ResidualPVAE",
        "amortized Poisson, residual networks as published",
        PVAE_PAPER, {"encoder": "residual", "decoder": "residual"}, 6_794_246,
    ),
    ModelEntry(
        "gvae-linear", "rivals.gvae:GVAE", "amortized Gaussian, linear encoder", PVAE_PAPER,
        {"encoder": "linear"},
    ),
    ModelEntry(
        "gvae-mlp", "rivals.gvae:GVAE", "amortized Gaussian, MLP encoder", PVAE_PAPER,
        {"encoder": "mlp"},
    ),
    ModelEntry(
        "gvae-conv", "rivals.gvae:GVAE", "amortized Gaussian, convolutional encoder", PVAE_PAPER,
        {"encoder": "conv"},
    ),
    ModelEntry(
        "gvae-residual", "rivals.gvae:ResidualGVAE",
        "amortized Gaussian, residual networks as published",
        PVAE_PAPER, {"encoder": "residual", "decoder": "residual"}, 6_925_318,
    ),
    ModelEntry(
        "pc", "rivals.predictive_coding:PredictiveCoding", "predictive coding, Gaussian",
        "Rao, Ballard 1999, doi:10.1038/4580; Whittington, Bogacz 2017, doi:10.1162/NECO_a_00949",
        published_parameters=125_968, published_latents=64,
    ),
    ModelEntry(
        "ipc", "rivals.predictive_coding:IncrementalPredictiveCoding",
        "incremental predictive coding", "Salvatori et al. 2024, arXiv:2212.00720",
        published_parameters=125_968, published_latents=64,
    ),
    ModelEntry(
        "gpc-vae", "generalized.vae:NodeVAE", "predictive coding of any family, autoencoder",
        GPC_PAPER,
    ),
    ModelEntry(
        "gpc-chain", "generalized.chain:Chain", "predictive coding, chain of spiking nodes",
        f"{GPC_PAPER} (energies; the spiking rules are ours)",
    ),
    ModelEntry(
        "gpc-classifier", "generalized.classifier:NodeClassifier",
        "predictive coding of any family, labels", GPC_PAPER, task="label",
    ),
    ModelEntry(
        "gpc-language", "generalized.language:LanguageModel",
        "predictive coding of any family, next symbols", GPC_PAPER, task="next",
    ),
    ModelEntry(
        "lca", "rivals.lca:LCA", "sparse coding, locally competitive algorithm",
        "Rozell, Johnson, Baraniuk, Olshausen 2008, doi:10.1162/neco.2008.03-07-486",
    ),
    ModelEntry(
        "savae", "rivals.savae:SemiAmortizedVAE", "semi-amortized Gaussian",
        "Kim, Wiseman, Miller, Sontag, Rush 2018, arXiv:1802.02550",
    ),
    ModelEntry(
        "iavae", "rivals.iavae:IterativeAmortizedVAE", "iterative amortized Gaussian",
        "Marino, Yue, Mandt 2018, arXiv:1807.09356",
    ),
)  # fmt: skip

_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def model_names() -> tuple[str, ...]:
    """Names of all families, in the order of the documentation."""
    return tuple(_BY_NAME)


def names_of_task(task: str) -> tuple[str, ...]:
    """Names of the families of a task, such as ``reconstruct``, in the same order."""
    return tuple(name for name, entry in _BY_NAME.items() if entry.task == task)


def model_entry(name: str) -> ModelEntry:
    """Entry of a family; InputError for an unknown name suggests the nearest ones."""
    if name not in _BY_NAME:
        raise InputError(f"model {name!r}: no such family{suggest(name, _BY_NAME)}")
    return _BY_NAME[name]


def check_reconstructs(name: str) -> None:
    """Raise :class:`InputError` if the task of a family is another than to reconstruct."""
    task = model_entry(name).task
    if task != RECONSTRUCT:
        raise InputError(
            f"model of the family {name!r}: expected one that reconstructs its inputs, got the "
            f"task {task!r}; score it by pvae_neuro.evaluation.tasks.score"
        )


def model_class(name: str) -> type[Model]:
    """Import the class of a family.

    Raises
    ------
    InputError
        If there is no such family.
    MissingDependencyError
        If torch is not installed.
    """
    module, _, kind = model_entry(name).home.partition(":")
    require("torch", "train", f"model {name!r}")
    found: type[Model] = getattr(import_module(f"pvae_neuro.models.{module}"), kind)
    return found


@checked
def build_model(
    config: ModelConfig,
    generator: torch.Generator | None = None,
    init_scale: float | None = None,
) -> Model:
    """Build an untrained model of the family ``config.family``.

    Parameters
    ----------
    config : ModelConfig
    generator : torch.Generator, optional
        Source of the initial parameters.
    init_scale : float, optional
        Standard deviation of the initial decoder weights; by default the family's own.

    Raises
    ------
    InputError
        If the family is unknown, its architecture is not valid, or another argument is none.
    """
    entry = model_entry(config.family)
    family = model_class(entry.name)
    import torch

    if generator is not None and not isinstance(generator, torch.Generator):
        raise InputError(f"generator: expected a torch.Generator or None, got {show(generator)}")
    if init_scale is not None and not 0 < init_scale < math.inf:
        raise InputError(f"init_scale: expected a finite number above 0, got {show(init_scale)}")
    scale = None if init_scale is None else float(init_scale)
    return family(config, generator, scale, entry.architecture)


@checked
def model_from_saved(saved: SavedModel) -> Model:
    """Build the module of a saved model, in float32, on the CPU.

    Raises
    ------
    ModelFileError
        If its arrays do not fit its configuration.
    InputError
        If its family is unknown to this version.
    """
    entry = model_entry(saved.config.family)
    return model_class(entry.name).from_saved(saved, entry.architecture)
