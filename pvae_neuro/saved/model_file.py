"""Saved float models: arrays and the configuration that gives them meaning, in one file.

Reading and writing need NumPy, pydantic and safetensors, not torch, so that exporters and engines
can work from a saved model alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator
from typing_extensions import Self

from pvae_neuro.errors import ModelFileError
from pvae_neuro.network import Input
from pvae_neuro.network.host import LARGEST_INPUT
from pvae_neuro.network.population import LARGEST_SIZE
from pvae_neuro.saved.shipped import model_path
from pvae_neuro.saved.tensor_files import TensorFile, read_safetensors, write_safetensors
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.html import html_table
from pvae_neuro.utils.reproducible import exp, squashed
from pvae_neuro.utils.settings import Settings, problems_of
from pvae_neuro.utils.show import show

FORMAT = "pvae-neuro-model"
SCHEMA_VERSION = 2
"""Version 2 brought families beside the linear iP-VAE, and ``architecture``."""

LINEAR_FAMILY = "ipvae-linear"
"""The iterative Poisson VAE with a linear decoder."""

LOG_SIGMA_BOUND = 3.45
"""Log standard deviations are squashed into ±3.45, so variances lie within [1e-3, 1e3]."""

LARGEST_POTENTIAL = 2.0**19
"""Largest magnitude of a clamp: what 24 bits hold at the coarsest unit of a potential, 2^-4."""

LARGEST_LOGARITHM = 88.0
"""Above, a rate or a step size is no float32."""

_CONFIG_KEY = "pvae_neuro_config"
_DIVERGED = "its training diverged: train again with a lower learning rate"
_LOGARITHMS = ("initial_potential", "log_step_size")

Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Repeats = Annotated[int, Field(ge=1, lt=1 << 31)]
Potential = Annotated[float, Field(ge=-LARGEST_POTENTIAL, le=LARGEST_POTENTIAL)]
Weight = Annotated[float, Field(ge=0.0, le=1e9)]
InputLimit = Annotated[float, Field(ge=-LARGEST_INPUT, le=LARGEST_INPUT)]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class ModelConfig(Settings):
    """What the arrays of a saved model mean, and how they came to be.

    Attributes
    ----------
    family : str
        Model family, one of :func:`~pvae_neuro.models.registry.model_names`; ``ipvae-linear`` is
        the iterative Poisson VAE with a linear decoder.
    pixels, latents : int
        M and K.
    clamp_u, clamp_du : float
        Upper bounds of the membrane potential and of its change per update.
    clamp : {"soft", "hard"}
        Shape of the upper bounds. Soft is the authors' form, the same as hard to 0.1 % of MSE at a
        bound of 10; integers clamp hard, so take hard for low bounds.
    floor_u : float
        Hard lower bound of both.
    steps : int
        Time steps per training window, T.
    beta : float
        Weight of the KL term in training.
    kl : {"exact", "released"}
        Rate in front of the KL: the prior's (exact) or the posterior's (the authors' release).
    inner_updates : int
        Updates per time step; with more than one, a leak ``beta_inner (u - u_prior)`` applies.
    beta_inner : float
        Strength of that leak.
    input_low, input_high : float
        Range that inputs are declared to lie in.
    image_shape : tuple of int, optional
        (H, W), or (C, H, W) with colour, whose product is M, if the inputs are images.
    architecture : dict
        Settings of the family alone, such as widths of hidden layers; the family checks them.
        Values are JSON.
    training : dict
        Provenance: dataset, epochs, seed and the like. Values are JSON.
    """

    family: str = Field(default=LINEAR_FAMILY, pattern=r"^[a-z][a-z0-9-]{0,63}$")
    pixels: Size
    latents: Size
    clamp_u: Potential = 10.0
    clamp_du: Potential = 10.0
    clamp: Literal["soft", "hard"] = "soft"
    floor_u: Potential = -8.0
    steps: Repeats
    beta: Weight
    kl: Literal["exact", "released"] = "exact"
    inner_updates: Repeats = 1
    beta_inner: Weight = 1.0
    input_low: InputLimit
    input_high: InputLimit
    image_shape: tuple[Size, Size] | tuple[Size, Size, Size] | None = None
    architecture: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    @property
    def declared_input(self) -> Input:
        """What the model declares of its inputs, in the words of a network."""
        low, high = float(self.input_low), float(self.input_high)
        return Input(self.pixels, low, high, 0, self.image_shape)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.input_low < self.input_high:
            raise ValueError(
                f"input_low {self.input_low} is not below input_high {self.input_high}"
            )
        if not self.floor_u < min(self.clamp_u, self.clamp_du):
            raise ValueError(f"floor_u {self.floor_u} is not below clamp_u and clamp_du")
        if self.image_shape and math.prod(self.image_shape) != self.pixels:
            raise ValueError(f"image_shape {self.image_shape} does not hold {self.pixels} pixels")
        return self


@dataclass(frozen=True, eq=False)
class SavedModel:
    """Arrays of a trained model, float32, as the file holds them.

    The arrays of a linear iP-VAE, M pixels and K latents, can be read as attributes; the models of
    other families have arrays of their own, under the names of their PyTorch parameters.

    Attributes
    ----------
    config : ModelConfig
        What the arrays mean.
    arrays : dict of str to ndarray of float32
        Every array by its name in the file.
    notes : tuple of str
        What reading converted, chose or left out, one sentence each.
    dictionary : ndarray of float32, [M, K]
        Φ: what one spike of each neuron adds to the reconstruction, in units of the input.
    log_sigma : ndarray of float32, [M]
        Log standard deviation per pixel **before** its squashing by ``3.45 tanh(. / 3.45)``.
    log_bias : ndarray of float32, [K]
        Logarithm of the constant leak per neuron.
    log_step_size : ndarray of float32, []
        Logarithm of the step size η.
    initial_potential : ndarray of float32, [K]
        Membrane potential u (log-rate) before the first step.
    """

    config: ModelConfig
    arrays: dict[str, Float32]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        c = self.config
        return (
            f"<SavedModel {c.family}: {c.pixels} pixels in [{c.input_low:g}, {c.input_high:g}], "
            f"{c.latents} latents, {self.parameter_count} parameters>"
        )

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [("configuration", repr(self.config))]
        rows += [(name, show(array)) for name, array in self.arrays.items()]
        return html_table(repr(self)[1:-1], [*rows, *(("note", note) for note in self.notes)])

    @property
    def dictionary(self) -> Float32:  # noqa: D102
        return self._array("dictionary")

    @property
    def readout(self) -> Float32:
        """What reconstructions are read out by, [M, K]: an array of its own, or the dictionary."""
        own = self.arrays.get("readout")
        return self.dictionary if own is None else own

    @property
    def log_sigma(self) -> Float32:  # noqa: D102
        return self._array("log_sigma")

    @property
    def log_bias(self) -> Float32:  # noqa: D102
        return self._array("log_bias")

    @property
    def log_step_size(self) -> Float32:  # noqa: D102
        return self._array("log_step_size")

    @property
    def initial_potential(self) -> Float32:  # noqa: D102
        return self._array("initial_potential")

    @property
    def variance(self) -> Float64:
        """Variance σ² per pixel, [M], in squared units of the input."""
        return exp(2.0 * squashed(self.log_sigma, LOG_SIGMA_BOUND))

    @property
    def step_size(self) -> float:
        """Step size η of the update, dimensionless."""
        return float(exp(self.log_step_size))

    @property
    def leak(self) -> Float64:
        """Constant leak b per neuron, [K], in nats per unit step."""
        return exp(self.log_bias)

    @property
    def parameter_count(self) -> int:
        """Numbers in all arrays."""
        return sum(array.size for array in self.arrays.values())

    def _array(self, name: str) -> Float32:
        if name not in self.arrays:
            raise ModelFileError(
                f"model of the family {self.config.family!r}: it has no array {name!r}, only "
                f"{sorted(self.arrays)}; expected a linear iP-VAE"
            )
        return self.arrays[name]


def array_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes that the arrays of a linear iP-VAE of this configuration have.

    Parameters
    ----------
    config : ModelConfig
        Gives M and K.

    Returns
    -------
    dict of str to tuple of int
        Shape by array name.
    """
    pixels, latents = config.pixels, config.latents
    own = {"readout": (pixels, latents)} if config.architecture.get("readout") is True else {}
    return {
        **own,
        "dictionary": (pixels, latents),
        "log_sigma": (pixels,),
        "log_bias": (latents,),
        "log_step_size": (),
        "initial_potential": (latents,),
    }


@checked
def save_model(model: SavedModel, path: str | os.PathLike[str]) -> None:
    """Write a model, whole or not at all.

    Parameters
    ----------
    model : SavedModel
        The model.
    path : str or path-like
        Target, by convention ``.safetensors``; replaced if it exists.

    Raises
    ------
    ModelFileError
        If an array has the wrong shape or type, or holds NaN or infinity.
    InputError
        If the file cannot be written; nothing is left behind.
    """
    check_model(model, "model to save")
    metadata = {
        "format": FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        _CONFIG_KEY: model.config.model_dump_json(),
    }
    write_safetensors(path, dict(model.arrays), metadata)


@checked
def load_model(path: str | os.PathLike[str]) -> SavedModel:
    """Read and check a model that :func:`save_model` wrote.

    Parameters
    ----------
    path : str or path-like
        The file, or the name of a shipped model, such as ``mnist``; a file of that name wins.

    Returns
    -------
    SavedModel
        Configuration and arrays.

    Raises
    ------
    InputError
        If there is no such file or it cannot be read.
    ModelFileError
        If it is no safetensors file, not one of this package's models, of a newer schema, or its
        arrays do not fit its configuration.
    """
    where = str(path)
    file = read_safetensors(model_path(path))
    _check_format(file.metadata, where)
    config = _parse_config(file.metadata.get(_CONFIG_KEY), where)
    model = SavedModel(config, *_converted(file, where))
    check_model(model, where)
    return model


def config_of(values: Mapping[str, Any], where: str) -> ModelConfig:
    """Configuration with these values.

    Raises
    ------
    ModelFileError
        If one of them does not fit; the message begins with ``where``.
    """
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        raise ModelFileError(f"{where}: {problems_of(error)}") from error


def _converted(file: TensorFile, where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Arrays in float32, and a note if some are stored otherwise."""
    others = sorted({kind for kind in file.types.values() if kind != "float32"})
    if not others:
        return file.arrays, ()
    # What float32 cannot hold becomes infinite, which the check of values names.
    with np.errstate(over="ignore"):
        arrays = {name: array.astype(np.float32) for name, array in file.arrays.items()}
    count = sum(kind != "float32" for kind in file.types.values())
    return arrays, (
        f"{where}: {count} of {len(arrays)} arrays are stored as {' and '.join(others)}; "
        f"converted to float32",
    )


def _check_format(metadata: dict[str, str], where: str) -> None:
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{where}: expected a model saved by pvae-neuro (format {FORMAT!r}), got format "
            f"{metadata.get('format')!r}; import or train a model with this package first"
        )
    version = metadata.get("schema_version", "")
    if not version.isdecimal() or int(version) < 1:
        raise ModelFileError(f"{where}: schema version {version!r} is not a number; damaged file?")
    if int(version) > SCHEMA_VERSION:
        raise ModelFileError(
            f"{where}: schema version {version} is newer than {SCHEMA_VERSION}, the newest that "
            f"this package reads; upgrade with: pip install -U pvae-neuro"
        )


def _parse_config(text: str | None, where: str) -> ModelConfig:
    try:
        return ModelConfig.model_validate_json(text or "", strict=True)
    except ValidationError as error:
        raise ModelFileError(
            f"{where}: its configuration is not valid: {problems_of(error)}"
        ) from error


def check_model(model: SavedModel, where: str) -> None:
    """Check the arrays of a model: names, shapes, types and values.

    Shapes of other families than the linear iP-VAE follow from their PyTorch modules, which check
    them when they are built.

    Raises
    ------
    ModelFileError
        If one does not fit; the message begins with ``where``.
    """
    linear = model.config.family == LINEAR_FAMILY
    if linear:
        check_shapes(model.arrays, array_shapes(model.config), where)
    for name, array in model.arrays.items():
        _check_values(name, array, where)
        if name.rpartition(".")[2] in _LOGARITHMS and array.max() > LARGEST_LOGARITHM:
            raise ModelFileError(
                f"{where}: array {name!r}: expected at most {LARGEST_LOGARITHM:g}, since its "
                f"exponential is no float32 above, got {array.max():g}; {_DIVERGED}"
            )


def check_shapes(arrays: dict[str, Any], expected: dict[str, tuple[int, ...]], where: str) -> None:
    """Raise :class:`ModelFileError` unless these are the arrays, of these shapes, in float32."""
    missing, extra = sorted(expected.keys() - arrays), sorted(arrays.keys() - expected)
    if missing or extra:
        raise ModelFileError(
            f"{where}: expected the arrays {sorted(expected)}; missing {missing}, extra {extra}"
        )
    for name, shape in expected.items():
        array = arrays[name]
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.float32:
            got = f"{getattr(array, 'dtype', type(array).__name__)} {getattr(array, 'shape', '')}"
            raise ModelFileError(f"{where}: array {name!r}: expected float32 {shape}, got {got}")


def _check_values(name: str, array: Any, where: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        got = getattr(array, "dtype", type(array).__name__)
        raise ModelFileError(f"{where}: array {name!r}: expected float32, got {got}")
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise ModelFileError(
            f"{where}: array {name!r} holds NaN or infinity as float32, in {bad} of {array.size} "
            f"numbers; {_DIVERGED}"
        )
