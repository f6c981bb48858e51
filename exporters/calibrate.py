"""What the float circuit does on calibration inputs: the ranges that quantization has to cover."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.network import FloatCircuit
from pvae_neuro.network.sampler import WORDS
from pvae_neuro.utils.arrays import real_array

MAX_CALIBRATION_IMAGES = 64
CALIBRATION_STEPS = 64
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranges seen on the calibration inputs.

    Attributes
    ----------
    potential : float
        Largest membrane potential (log-rate) of the latents.
    count : float
        Largest spike count.
    error : float64 [M]
        Largest absolute reconstruction error per pixel, units of the input.
    images, steps : int
        How many images, and iterations of each.
    largest : dict of str to float64 [n]
        Largest magnitude of each neuron's variable, by ``population.variable``; inputs included.
    """

    potential: float
    count: float
    error: NDArray[np.float64]
    images: int
    steps: int
    largest: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def calibrate(circuit: FloatCircuit, inputs: ArrayLike, seed: int = 0) -> Calibration:
    """Run the float circuit on at most ``MAX_CALIBRATION_IMAGES`` inputs and keep the extremes.

    Parameters
    ----------
    circuit : FloatCircuit
    inputs : array_like [N, M] or [N, H, W]
        Images in the model's declared range.
    seed : int
        Of the random words.

    Raises
    ------
    InputError
        If the inputs do not fit, there are none, or they are all alike.
    ModelFileError
        If the circuit leaves the finite numbers.
    """
    given = real_array("calibration inputs", inputs)
    first = given[:MAX_CALIBRATION_IMAGES] if given.ndim > 1 else given
    try:
        images = circuit.input.check(first).astype(circuit.dtype)
    except InputError as error:
        raise InputError(f"calibration {error}", error.remedy) from error
    _check_variety(images)
    rng = np.random.Generator(np.random.Philox(seed))
    words = {
        p.name: rng.integers(
            0, WORDS, (len(images), CALIBRATION_STEPS + 1, p.size), dtype=np.uint16
        )
        for p in circuit.drawing
    }
    # What overflows is reported below, once.
    with np.errstate(over="ignore", invalid="ignore"):
        found = _extremes(circuit, images, words)
    # Not-a-number lies below nothing.
    if not (np.array([found.potential, found.count, *found.error]) < _LARGEST).all():
        value, place = _largest(circuit)
        raise ModelFileError(
            f"circuit {circuit.name!r}: in real numbers it overflows on the calibration images; "
            f"its largest number is {value:.3g}, of {place}; train it again with a lower learning "
            f"rate"
        )
    return found


def _largest(circuit: FloatCircuit) -> tuple[float, str]:
    """Largest finite magnitude among a circuit's numbers, and where it is."""
    held: list[tuple[NDArray[Any] | None, str]]
    held = [(c.weight, f"connection {c.name!r}") for c in circuit.connections]
    held += [(e.weight, f"encoding of {e.population!r}") for e in circuit.encodings]
    for p in circuit.populations:
        held += [(v.initial, f"{p.name}.{v.name} at the start") for v in p.variables]
        held += [(c.values, f"{p.name}.{c.name}") for c in p.constants]
    found = [(np.abs(v[np.isfinite(v)]).max(initial=0.0), at) for v, at in held if v is not None]
    value, place = max(found)
    return float(value), place


def _check_variety(images: NDArray[Any]) -> None:
    """Refuse images without content: a circuit reaches less on them than on any others."""
    if (images == images[:, :1]).all():
        alike = f"each of the {len(images)} images is of one value"
    elif len(images) > 1 and (images == images[0]).all():
        alike = f"all {len(images)} images are the same"
    else:
        return
    raise InputError(
        f"calibration inputs: {alike}, so they do not show what potentials and counts are reached; "
        f"give some tens of images such as the network will see"
    )


def _extremes(
    circuit: FloatCircuit, images: NDArray[Any], words: dict[str, NDArray[np.uint16]]
) -> Calibration:
    latents, code = circuit.latents, circuit.code
    log_rate = None if latents is None else f"{latents.name}.u"
    starts = [] if latents is None else [v for v in latents.variables if v.name == "u"]
    potential = max((float(np.max(v.initial)) for v in starts), default=0.0)
    count = 0.0
    error = np.abs(images).max(axis=0).astype(np.float64)
    largest: dict[str, NDArray[np.float64]] = {}
    for state in circuit.run(images, words, CALIBRATION_STEPS):
        # `np.maximum` keeps what is not a number.
        if log_rate in state:
            potential = float(np.maximum(potential, state[log_rate].max()))
        if code is not None:
            count = float(np.maximum(count, state[code].max()))
        if circuit.readout is not None:
            error = np.maximum(error, np.abs(images - circuit.reconstruct(state)).max(axis=0))
        for name, values in state.items():
            reached = np.abs(values).max(axis=0).astype(np.float64)
            largest[name] = np.maximum(largest.get(name, 0.0), reached)
    return Calibration(potential, count, error, len(images), CALIBRATION_STEPS, largest)
