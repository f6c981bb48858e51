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
from pvae_neuro.utils.memory import require_memory

MAX_CALIBRATION_IMAGES = 64
MAX_MOMENT_IMAGES = 256
CALIBRATION_STEPS = 64
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranges seen on the calibration inputs.

    Attributes
    ----------
    potential : float
        Largest log-rate that any population draws counts from; 0 where none draws.
    count : float
        Largest spike count of any population; of what nothing draws, the largest magnitude.
    error : float64 [M]
        Largest absolute reconstruction error per pixel, units of the input.
    images, steps : int
        How many images, and iterations of each.
    largest : dict of str to float64 [n]
        Largest magnitude of each neuron's variable, by ``population.variable``; inputs included.
    active : float
        Share of what was inferred that is not zero, over images, neurons and the second half of
        the iterations.
    mean : dict of str to float64 [n]
        Mean of each neuron's variable over images and iterations, by ``population.variable``.
    moments : float64 [K, K] or None
        Of what was inferred, by :func:`moments_of` where it was asked for.
    """

    potential: float
    count: float
    error: NDArray[np.float64]
    images: int
    steps: int
    largest: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    active: float = 0.0
    mean: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    moments: NDArray[np.float64] | None = None


def calibrate(
    circuit: FloatCircuit, inputs: ArrayLike, seed: int = 0, steps: int = CALIBRATION_STEPS
) -> Calibration:
    """Run the float circuit on at most ``MAX_CALIBRATION_IMAGES`` inputs and keep the extremes.

    Parameters
    ----------
    circuit : FloatCircuit
    inputs : array_like [N, M] or [N, H, W]
        Images in the model's declared range.
    seed : int
        Of the random words.
    steps : int
        Iterations.

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
    words = _words(circuit, len(images), steps, seed)
    # What overflows is reported below, once.
    with np.errstate(over="ignore", invalid="ignore"):
        found = _extremes(circuit, images, words, steps)
    # Not-a-number lies below nothing.
    if not (np.array([found.potential, found.count, *found.error]) < _LARGEST).all():
        value, place = _largest(circuit)
        raise ModelFileError(
            f"circuit {circuit.name!r}: in real numbers it overflows on the calibration images; "
            f"its largest number is {value:.3g}, of {place}; train it again with a lower learning "
            f"rate"
        )
    return found


def moments_of(circuit: FloatCircuit, inputs: ArrayLike, steps: int) -> NDArray[np.float64]:
    """Mean products of what is inferred, over images and the second half of the iterations.

    Parameters
    ----------
    circuit : FloatCircuit
        With a code of K numbers.
    inputs : array_like [N, M] or [N, H, W]
        Images in the model's declared range. The first 64 are used and, of those after the next 64,
        on which ranges are checked, up to 192 more.
    steps : int
        Iterations.

    Returns
    -------
    float64 [K, K]
    """
    images = circuit.input.check(inputs).astype(circuit.dtype)
    skipped = slice(MAX_CALIBRATION_IMAGES, 2 * MAX_CALIBRATION_IMAGES)
    images = np.delete(images, skipped, axis=0)[:MAX_MOMENT_IMAGES]
    code, late = circuit.code or "", range(steps // 2, steps)
    total: NDArray[np.float64] | float = 0.0
    for first in range(0, len(images), MAX_CALIBRATION_IMAGES):
        part = images[first : first + MAX_CALIBRATION_IMAGES]
        words = _words(circuit, len(part), steps, first)
        for step, state in enumerate(circuit.run(part, words, steps)):
            if step in late:
                now = state[code].astype(np.float64)
                total = total + now.T @ now
    found: NDArray[np.float64] = np.asarray(total) / (len(images) * len(late))
    return found


def _words(
    circuit: FloatCircuit, images: int, steps: int, seed: int
) -> dict[str, NDArray[np.uint16]]:
    drawing = sum(p.size for p in circuit.drawing)
    require_memory(
        np.dtype(np.uint16).itemsize * images * (steps + 1) * drawing,
        f"calibration, a random word of {drawing:,} neurons for each of {images} images and "
        f"{steps} iterations",
    )
    rng = np.random.Generator(np.random.Philox(seed))
    return {
        p.name: rng.integers(0, WORDS, (images, steps + 1, p.size), dtype=np.uint16)
        for p in circuit.drawing
    }


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
    circuit: FloatCircuit, images: NDArray[Any], words: dict[str, NDArray[np.uint16]], steps: int
) -> Calibration:
    log_rates, counts = _drawn(circuit)
    code = circuit.code
    potential = max((float(np.max(_initial(circuit, name))) for name in log_rates), default=0.0)
    count, active = 0.0, 0.0
    error = np.abs(images).max(axis=0).astype(np.float64)
    largest: dict[str, NDArray[np.float64]] = {}
    mean: dict[str, NDArray[np.float64]] = {}
    late = range(steps // 2, steps)
    for step, state in enumerate(circuit.run(images, words, steps)):
        # `np.maximum` keeps what is not a number.
        for name in log_rates:
            potential = float(np.maximum(potential, state[name].max()))
        for name in counts:
            count = float(np.maximum(count, np.abs(state[name]).max()))
        if code is not None and step in late:
            active += float((state[code] != 0).mean()) / len(late)
        if circuit.readout is not None:
            error = np.maximum(error, np.abs(images - circuit.reconstruct(state)).max(axis=0))
        for name, values in state.items():
            reached = np.abs(values).max(axis=0).astype(np.float64)
            largest[name] = np.maximum(largest.get(name, 0.0), reached)
            mean[name] = mean.get(name, 0.0) + values.mean(axis=0, dtype=np.float64) / (steps + 1)
    return Calibration(potential, count, error, len(images), steps, largest, active, mean)


def _drawn(circuit: FloatCircuit) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Variables that counts are drawn of, and those that hold what was inferred or drawn."""
    log_rates, counts = list[str](), [] if circuit.code is None else [circuit.code]
    for p in circuit.drawing:
        variables = {v.name for v in p.variables}
        for program in p.programs:
            log_rates += [f"{p.name}.{name}" for name in program.log_rates if name in variables]
            counts += [f"{p.name}.{name}" for name in program.counts]
    return tuple(dict.fromkeys(log_rates)), tuple(dict.fromkeys(counts))


def _initial(circuit: FloatCircuit, name: str) -> NDArray[Any]:
    population, variable = name.split(".")
    return circuit.population_of[population].variable(variable).initial
