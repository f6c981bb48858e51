"""The float circuit: the same populations, programs and schedule in real numbers.

It is the yardstick between a PyTorch model and its integers: under the same random words it follows
the model up to rounding, and the integers up to quantization. Constants and weights are real;
exponents and shifts that only rescale integers are 0; a limit that only integers need is infinite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.network.circuit import Circuit
from pvae_neuro.network.interpreter import Formula, Values, run_program
from pvae_neuro.network.network import raise_faults
from pvae_neuro.network.operations import FUNCTIONS, OPERATIONS
from pvae_neuro.network.population import Population
from pvae_neuro.network.ranges import readout_weight
from pvae_neuro.network.sampler import WORDS
from pvae_neuro.network.schedule import Activation

Words = dict[str, NDArray[np.uint16]]
# Up to here probabilities are added up one by one; exp(-rate) is far from underflow.
LARGE_RATE = 200.0


@dataclass(frozen=True, eq=False, repr=False)
class FloatCircuit(Circuit):
    """A circuit in real numbers.

    Attributes
    ----------
    soft : bool
        Whether ``min(value, bound)`` is the papers' soft form, ``c - softplus(c - value)``.
        Integers always clamp hard.
    dtype : str
        ``float32`` or ``float64``: what the circuit computes in.

    Raises
    ------
    NetworkError
        If the parts do not fit, or a program has no meaning in real numbers.
    """

    soft: bool = field(default=False)
    dtype: str = field(default="float32")

    def __post_init__(self) -> None:
        raise_faults(Circuit.faults(self, self.name))
        for population in self.populations:
            for program in population.programs:
                for name in sorted(program.simple_operations):
                    if OPERATIONS[name].real is None and name not in ("word", "draw"):
                        raise NetworkError(
                            f"{population.name}.{program.name}: the operation {name!r} has no "
                            f"meaning in real numbers; this network has no float circuit"
                        )

    def run(
        self, images: ArrayLike, words: Words, iterations: int | None = None
    ) -> Iterator[Values]:
        """Yield every variable at the end of each iteration, then after ``final``.

        Parameters
        ----------
        images : float [B, M] or [B, F, M]
            Still images, or F frames, each held for the same number of iterations.
        words : dict of str to uint16 [B, T + 1, n]
            Random words of each population that draws; the last ones are for ``final``.
        iterations : int, optional
            T, of all frames; needed where no population draws, otherwise the words say it.

        Yields
        ------
        dict of str to float [B, n]
            By ``population.variable``. The arrays are not changed afterwards.

        Raises
        ------
        NetworkError
            If the words of a population that draws are missing, no number of iterations is given,
            or it does not divide into the frames.
        """
        for population in self.drawing:
            if population.name not in words:
                raise NetworkError(f"{self.name}: no words are given for {population.name!r}")
        lengths = {w.shape[1] for w in words.values()}
        if iterations is not None:
            lengths.add(iterations + 1)
        if len(lengths) != 1:
            raise NetworkError(
                f"{self.name}: expected one number of iterations, of the words or given, got "
                f"{sorted(n - 1 for n in lengths)}"
            )
        steps = lengths.pop()
        shown = np.asarray(images, self.dtype)
        frames = shown if shown.ndim == 3 else shown[:, None]
        hold, rest = divmod(steps - 1, frames.shape[1])
        if rest:
            raise NetworkError(
                f"{self.name}: expected a multiple of {frames.shape[1]} iterations, one number for "
                f"each frame, got {steps - 1}"
            )
        run = _Run(self, len(frames))
        run.show(frames[:, 0])
        for step in range(steps - 1):
            if step and step % hold == 0:
                run.show(frames[:, step // hold])
            for activation in self.iteration:
                run.activate(activation, words, step)
            yield dict(run.state)
        for activation in self.final:
            run.activate(activation, words, steps - 1)
        yield dict(run.state)

    def reconstruct(self, state: Values) -> NDArray[Any]:
        """Reconstruction of a state: float [B, M].

        Raises
        ------
        NetworkError
            If the circuit has no readout.
        """
        if self.readout is None:
            raise NetworkError(f"{self.name}: this circuit has no readout")
        value = state[f"{self.readout.population}.{self.readout.variable}"]
        weight = readout_weight(self)
        return value if weight is None else value @ weight.T.astype(self.dtype)


class _Run:
    """State of one run. What overflows becomes infinite, and clamps take it."""

    @np.errstate(over="ignore")
    def __init__(self, circuit: FloatCircuit, samples: int) -> None:
        self.circuit = circuit
        self.state: Values = {}
        # In the circuit's own type, so that a literal does not widen what it meets.
        self.literals = {"0": np.zeros(1, circuit.dtype), "1": np.ones(1, circuit.dtype)}
        self.formulas = _formulas(circuit.soft, self.literals["1"])
        self.weights = {c.name: np.asarray(c.weight, circuit.dtype) for c in circuit.connections}
        self.populations = {p.name: _typed(p, circuit.dtype) for p in circuit.populations}
        for population in circuit.populations:
            for variable in population.variables:
                self.state[f"{population.name}.{variable.name}"] = np.broadcast_to(
                    np.asarray(variable.initial, circuit.dtype), (samples, population.size)
                )

    @np.errstate(over="ignore")
    def show(self, images: NDArray[Any]) -> None:
        """Set the inputs from images [B, M]."""
        for encoding in self.circuit.encodings:
            value = images
            if encoding.weight is not None:
                value = images @ np.asarray(encoding.weight, self.circuit.dtype).T
            self.state[f"{encoding.population}.{encoding.variable}"] = value

    @np.errstate(over="ignore")
    def activate(self, activation: Activation, words: Words, step: int) -> None:
        """Deliver, run the program, store its outputs."""
        population = self.populations[activation.population]
        prefix = f"{population.name}."
        values = {v.name: self.state[prefix + v.name] for v in population.variables}
        for name, connections in self.circuit.groups(activation).items():
            parts = [
                c.product(self.state[f"{c.source}.{c.variable}"], self.weights[c.name])
                for c in connections
            ]
            values[name] = sum(parts[1:], start=parts[0])
        random: dict[str, Formula] = {}
        if population.name in words:
            word = words[population.name][:, step]
            random = {
                "word": lambda: word.astype(self.circuit.dtype),
                "draw": lambda u: poisson_counts(u, word),
            }
        program = population.program(activation.program)
        stored = run_program(
            population, program, values, self.formulas, random, self.literals, FUNCTIONS
        )
        self.state.update({prefix + name: value for name, value in stored.items()})


def _typed(population: Population, dtype: str) -> Population:
    """Constants in the circuit's own type, so that float64 numbers do not widen float32 ones."""
    constants = tuple(replace(c, values=np.asarray(c.values, dtype)) for c in population.constants)
    return replace(population, constants=constants)


def _formulas(soft: bool, one: NDArray[Any]) -> dict[str, Formula]:
    formulas = {name: o.real for name, o in OPERATIONS.items() if o.real is not None}

    def at_least(a: Any, b: Any) -> NDArray[Any]:
        # `h > 0` is traced as `ge(h, 1)`: over integers the same, over reals "above 0".
        above = np.greater(a, 0) if b is one else np.greater_equal(a, b)
        return above.astype(one.dtype)

    formulas["ge"] = at_least
    if soft:
        formulas["min"] = soft_minimum
    return formulas


def soft_minimum(value: Any, bound: Any) -> NDArray[Any]:
    """Smooth upper bound of the released code: ``c - softplus(c - v)``; an infinite c is none."""
    value, limit = np.broadcast_arrays(value, np.asarray(bound, np.asarray(value).dtype))
    finite = np.where(np.isfinite(limit), limit, 0.0).astype(value.dtype)
    # softplus(c - v) = (c - v) + log1p(exp(v - c)), written so that exp cannot overflow.
    gap = value - finite
    below = np.minimum(gap, 0.0)
    above = np.log1p(np.exp(np.minimum(-gap, 0.0)))
    soft = np.where(gap <= 0.0, value - np.log1p(np.exp(below)), finite - above)
    return np.where(np.isfinite(limit), soft, value).astype(value.dtype, copy=False)


def poisson_counts(u: NDArray[Any], word: NDArray[np.uint16]) -> NDArray[Any]:
    """Poisson counts by inverting the distribution function at ``(word + 1/2) / 2**16``.

    Above a rate of ``LARGE_RATE`` the inverse is the Cornish-Fisher expansion, within one count of
    the exact one; such rates are far beyond any count that an integer network holds.

    Parameters
    ----------
    u : float [...]
        Log-rate.
    word : uint16 [...]

    Returns
    -------
    float [...]
        Counts, in the type of ``u``.
    """
    rate = np.exp(u.astype(np.float64)).ravel()
    words = word.ravel()
    counts = np.zeros(rate.shape, u.dtype)
    uniform = (words.astype(np.float64) + 0.5) / WORDS
    active = np.flatnonzero((uniform > np.exp(-rate)) & (rate <= LARGE_RATE))
    counts[active] = _invert(rate[active], uniform[active])
    large = np.flatnonzero(rate > LARGE_RATE)
    if len(large):
        quantile = _normal_quantiles()[words[large]]
        spread = np.sqrt(rate[large]) * quantile + (quantile**2 - 1) / 6
        counts[large] = np.rint(rate[large] + spread)
    return counts.reshape(u.shape)


def _invert(rate: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[Any]:
    """Counts of neurons known to fire, by adding up the probabilities of 1, 2, ..."""
    counts = np.zeros(rate.shape)
    index = np.arange(len(rate))
    mass = np.exp(-rate)
    cumulative = mass
    k = 0
    while len(index):
        k += 1
        counts[index] = k
        mass = mass * rate / k
        cumulative = cumulative + mass
        more = uniform > cumulative
        # Rounding may leave the sum short of a uniform number next to one.
        more &= (k < rate) | (mass > 1e-12)
        index, rate, uniform = index[more], rate[more], uniform[more]
        mass, cumulative = mass[more], cumulative[more]
    return counts


@lru_cache(maxsize=1)
def _normal_quantiles() -> NDArray[np.float64]:
    """Standard normal quantile at the uniform number of every word."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((word + 0.5) / WORDS) for word in range(WORDS)])
