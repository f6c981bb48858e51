"""Affine layers of networks in real numbers, and how saved models hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import ModelFileError
from pvae_neuro.network import Connection, Convolution, Dense, TransposedConvolution
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.show import show

Shape = tuple[int, ...]
Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layer:
    """``weight * source + bias``, from one population to the next.

    A row of the weights belongs to one target neuron or channel, a column to one source.

    Attributes
    ----------
    kind : type of Connection
        ``Dense``, ``Convolution`` or ``TransposedConvolution``.
    weight : float64
        In the axes of the kind.
    bias : float64 [targets]
        One for each neuron.
    geometry : dict
        What else connections of the kind have: ``source_shape``, ``stride`` and the like.
    gain : float64 [targets] or [1]
        What the rectifiers at its end multiply by, above 0, forward and back.
    """

    kind: type[Connection]
    weight: Reals
    bias: Reals
    geometry: dict[str, Any] = field(default_factory=dict)
    gain: Reals = field(default_factory=lambda: np.ones(1))

    def connect(
        self,
        name: str,
        source: str,
        variable: str,
        target: str,
        *,
        weight: NDArray[Any] | None = None,
        exponent: int = 0,
        received_as: str = "received",
    ) -> Connection:
        """The layer as a connection; with its own real weights where none are given."""
        held = self.weight if weight is None else weight
        ends = name, source, variable, target, held, exponent, received_as
        return self.kind(*ends, **self.geometry)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of neurons of the target and of the source."""
        return self.connect("layer", "source", "x", "target").shape

    @property
    def row_axis(self) -> int:
        """Axis of the weights that counts rows; the other one of the first two counts columns."""
        return 1 if self.kind is TransposedConvolution else 0

    def rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """One value for each target neuron, from one for each row."""
        return np.repeat(values, self.shape[0] // len(values))

    def row_maxima(self, values: NDArray[Any]) -> NDArray[Any]:
        """Largest value of each row, from one for each target neuron."""
        return values.reshape(self.weight.shape[self.row_axis], -1).max(axis=1)

    def columns(self, values: NDArray[Any]) -> NDArray[Any]:
        """One value for each source neuron, from one for each column."""
        return np.repeat(values, self.shape[1] // len(values))

    def scaled(self, rows: Reals, columns: Reals) -> Reals:
        """Weights times the factor of their row and the factor of their column."""
        factors = rows[:, None] * columns[None, :]
        factors = factors if self.row_axis == 0 else factors.T
        scaled: Reals = self.weight * factors[(...,) + (None,) * (self.weight.ndim - 2)]
        return scaled

    def largest(self, axis: int, weight: Reals) -> Reals:
        """Largest magnitude of each row (axis 0) or column (axis 1) of weights of this layer."""
        kept = self.row_axis if axis == 0 else 1 - self.row_axis
        return np.abs(np.moveaxis(weight, kept, 0)).reshape(weight.shape[kept], -1).max(axis=1)


def dense(model: SavedModel, name: str) -> Layer:
    """Layer ``name`` of a saved model: ``name.weight`` [targets, sources], ``name.bias``."""
    weight = array(model, f"{name}.weight", 2)
    return Layer(Dense, weight, _bias(model, name, weight.shape[0]))


def dense_layers(model: SavedModel, name: str) -> tuple[Layer, ...]:
    """Layers of a ``torch.nn.Sequential`` of linear layers with rectifiers between them."""
    return tuple(dense(model, each) for each in layer_names(model, name))


def layer_names(model: SavedModel, name: str) -> tuple[str, ...]:
    """Names of the layers of a ``torch.nn.Sequential`` with rectifiers between them."""
    later = takewhile(
        lambda each: f"{each}.weight" in model.arrays,
        (f"{name}.{number}" for number in count(2, 2)),
    )
    return f"{name}.0", *later


def convolution(
    model: SavedModel, name: str, source: Shape, target: Shape, stride: int, padding: int
) -> Layer:
    """Layer ``name`` of a saved model, a ``torch.nn.Conv2d``; shapes without the channels."""
    weight = array(model, f"{name}.weight", 4)
    maps, channels = weight.shape[:2]
    shapes = (channels, *source), (maps, *target)
    return _sliding(Convolution, weight, model, name, shapes, stride, padding)


def transposed_convolution(
    model: SavedModel, name: str, source: Shape, target: Shape, stride: int, padding: int
) -> Layer:
    """Layer ``name``, a ``torch.nn.ConvTranspose2d`` whose result is cut to the target's shape."""
    weight = array(model, f"{name}.weight", 4)
    channels, maps = weight.shape[:2]
    shapes = (channels, *source), (maps, *target)
    return _sliding(TransposedConvolution, weight, model, name, shapes, stride, padding)


def _sliding(
    kind: type[Connection],
    weight: Reals,
    model: SavedModel,
    name: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    stride: int,
    padding: int,
) -> Layer:
    source, target = shapes
    geometry = {
        "source_shape": source, "target_shape": target, "stride": stride, "padding": padding,
    }  # fmt: skip
    maps, height, width = target
    return Layer(kind, weight, np.repeat(_bias(model, name, maps), height * width), geometry)


def no_rectifier(activation: Any) -> str | None:
    """Why a network of this activation has no circuit; None if it is the rectifier, ``relu``."""
    if activation == "relu":
        return None
    return (
        f"expected the activation 'relu', got {show(activation)}, which no word operation "
        f"computes; train the model again with rectifiers"
    )


def activation_of(model: SavedModel) -> Any:
    """Activation of the networks of a Poisson VAE: rectifiers, unless its file says another."""
    return model.config.architecture.get("activation", "relu")


def halved_sides(model: SavedModel, depth: int) -> tuple[tuple[int, int], ...]:
    """Height and width of the images, and after each of ``depth`` halvings, rounded up.

    Raises
    ------
    ModelFileError
        If the model does not say the shape of its images.
    """
    shape = model.config.image_shape
    if shape is None:
        raise ModelFileError(
            f"model of the family {model.config.family!r}: expected images of a known shape, got "
            f"none; save it again with the shape of its images"
        )
    height, width = shape[-2:]
    return tuple((-(-height // 2**n), -(-width // 2**n)) for n in range(depth + 1))


def checked_chain(
    model: SavedModel,
    layers: Sequence[Layer],
    sources: int | None = None,
    targets: int | None = None,
) -> tuple[Layer, ...]:
    """The layers; ModelFileError where one does not take what the one before it gives."""
    given = sources
    for number, layer in enumerate(layers, start=1):
        made, taken = layer.shape
        if given not in (None, taken):
            raise _misfit(model, f"layer {number} takes {taken} values and is given {given}")
        given = made
    if targets not in (None, given):
        raise _misfit(model, f"its last layer gives {given} values, expected {targets}")
    return tuple(layers)


def _misfit(model: SavedModel, fact: str) -> ModelFileError:
    return ModelFileError(f"model of the family {model.config.family!r}: {fact}; save it again")


def array(model: SavedModel, name: str, axes: int, length: int | None = None) -> Reals:
    """Array of a saved model in float64.

    Raises
    ------
    ModelFileError
        If it is not there, or its first axis or their number is another.
    """
    held = model.arrays.get(name)
    if held is None or held.ndim != axes or length not in (None, len(held)):
        wanted = f"{axes} axes" if length is None else f"{length} numbers"
        got = f"only {sorted(model.arrays)}" if held is None else f"the shape {held.shape}"
        raise _misfit(model, f"expected an array {name!r} of {wanted}, got {got}")
    return held.astype(np.float64)


def _bias(model: SavedModel, name: str, rows: int) -> Reals:
    """Bias of a layer; 0 where it has none."""
    if f"{name}.bias" not in model.arrays:
        return np.zeros(rows)
    return array(model, f"{name}.bias", 1, rows)
