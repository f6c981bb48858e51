"""An integer network in real numbers, rounded in some of its programs and exact in the others.

Weights, constants, limits, schedule and random words are those of the integers. What a program does
is either rounded, as the integers round it, or not: its shifts and products, what it receives, and
the counts that it draws. With every program rounded the numbers are the integers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network.float_circuit import poisson_counts
from pvae_neuro.network.network import IntegerNetwork
from pvae_neuro.network.operations import OPERATIONS
from pvae_neuro.network.population import Population
from pvae_neuro.network.program import Program
from pvae_neuro.network.ranges import readout_weight
from pvae_neuro.network.sampler import sample_counts
from pvae_neuro.network.schedule import Activation

Hop = tuple[str, str]
"""Population and program."""
Reals = NDArray[np.float64]
State = dict[str, Reals]
Words = Mapping[str, NDArray[np.uint16]]
Formula = Callable[..., Any]

# Literal 1 in real numbers: `h > 0` is traced as `ge(h, 1)`.
_ONE = np.ones(1)
_LITERALS = {"0": np.zeros(1), "1": _ONE}


def hops(network: IntegerNetwork) -> tuple[Hop, ...]:
    """Populations with the programs that they run, in the order in which they first run."""
    return tuple(dict.fromkeys((a.population, a.program) for a in network.activations))


def run_partly_rounded(
    network: IntegerNetwork,
    images: NDArray[np.floating[Any]],
    words: Words,
    iterations: int,
    rounded: Collection[Hop],
) -> Iterator[State]:
    """Yield every variable at the end of each iteration, then after ``final``.

    Parameters
    ----------
    network : IntegerNetwork
    images : float [B, M]
        In the declared range.
    words : dict of str to uint16 [B, T + 1, n]
        Random words of each population that draws.
    iterations : int
        T.
    rounded : collection of (str, str)
        Which programs are rounded, by population and program. What real numbers have no meaning
        for, bit operations and composites, is rounded in every one.

    Yields
    ------
    dict of str to float64 [B, n]
        In units of the integers, by ``population.variable``.
    """
    pixels = network.input.encode(images)
    state: State = {
        f"{p.name}.{v.name}": np.broadcast_to(v.initial.astype(np.float64), (len(images), p.size))
        for p in network.populations
        for v in p.variables
    }
    for e in network.encodings:
        state[f"{e.population}.{e.variable}"] = e.apply(pixels).astype(np.float64)
    run = _Run(network, frozenset(rounded))
    for step in range(iterations):
        for activation in network.iteration:
            run.activate(activation, state, words, step)
        yield dict(state)
    for activation in network.final:
        run.activate(activation, state, words, iterations)
    yield dict(state)


def reconstructed(network: IntegerNetwork, state: State) -> Reals:
    """Picture that a state is read out as, in units of the input: float64 [B, M]."""
    readout = network.readout
    if readout is None:
        raise ValueError(f"{network.name}: has no readout")  # Callers ask before.
    image, weight = state[f"{readout.population}.{readout.variable}"], readout_weight(network)
    if weight is not None:
        image = image @ weight.T.astype(np.float64)
    scaled: Reals = image * 2.0**-readout.frac_bits
    return scaled


def late_errors(
    states: Iterable[dict[str, NDArray[Any]]],
    picture: Callable[[dict[str, NDArray[Any]]], NDArray[Any]],
    images: NDArray[np.floating[Any]],
    iterations: int,
) -> Reals:
    """Squared error of each image, summed over pixels and the second half of a run: float64 [B].

    Parameters
    ----------
    states : iterable of dict
        Of a run of T iterations: at the end of each, then after ``final``.
    picture : callable
        What a state is read out as.
    images : float [B, M]
    iterations : int
        T.
    """
    total = np.zeros(len(images))
    # The state that one iteration ends with reads out the one before.
    first = (iterations + 1) // 2
    for step, state in enumerate(states):
        if step > first or step == iterations:
            total += np.square(picture(state) - images).sum(axis=1)
    return total


def percent_above(ours: Reals, theirs: Reals) -> tuple[float, float]:
    """Percent by which a mean over images is above another, and its standard error.

    Each image is paired with itself; the error of the ratio is that of the delta method.
    """
    mean = float(theirs.mean())
    if mean == 0.0:
        return (0.0 if not ours.any() else float("inf")), 0.0
    ratio = float(ours.mean()) / mean
    spread = float((ours - ratio * theirs).std(ddof=1)) / mean
    return 100.0 * (ratio - 1.0), 100.0 * spread / float(np.sqrt(len(ours)))


def _nearest(value: Any) -> Reals:
    """Rounded half up, as shifts are."""
    found: Reals = np.floor(np.asarray(value, np.float64) + 0.5)
    return found


def _at_least(a: Any, b: Any) -> Reals:
    above = np.greater(a, 0) if b is _ONE else np.greater_equal(a, b)
    return above.astype(np.float64)


def _rounding(formula: Formula) -> Formula:
    return lambda *arguments: _nearest(formula(*arguments))


def _on_integers(formula: Formula) -> Formula:
    def apply(*arguments: Any) -> Reals:
        found: Reals = formula(*(_nearest(a).astype(np.int64) for a in arguments))
        return found.astype(np.float64)

    return apply


def _tables() -> tuple[dict[str, Formula], dict[str, Formula]]:
    """Meaning of every operation: exact, then rounded."""
    bits = {name: _on_integers(o.integer) for name, o in OPERATIONS.items() if o.real is None}
    exact = {name: o.real for name, o in OPERATIONS.items() if o.real is not None}
    rounded = {name: _rounding(exact[name]) for name in ("mul", "shl", "shr")}
    return {**bits, **exact, "ge": _at_least}, {**bits, **exact, **rounded}


_EXACT, _ROUNDED = _tables()


class _Run:
    def __init__(self, network: IntegerNetwork, rounded: frozenset[Hop]) -> None:
        self.network, self.rounded = network, rounded
        self.weights = {c.name: c.weight.astype(np.float64) for c in network.connections}

    def activate(self, activation: Activation, state: State, words: Words, step: int) -> None:
        """Deliver, run the program, store its outputs."""
        population = self.network.population_of[activation.population]
        rounds = (activation.population, activation.program) in self.rounded
        known: State = {c.name: c.values.astype(np.float64) for c in population.constants}
        known.update({v.name: state[f"{population.name}.{v.name}"] for v in population.variables})
        known.update(_LITERALS)
        for name, connections in self.network.groups(activation).items():
            total = sum(
                c.product(state[f"{c.source}.{c.variable}"], self.weights[c.name])
                for c in connections
            )
            scaled = np.asarray(total) * 2.0 ** connections[0].exponent
            known[name] = _nearest(scaled) if rounds else scaled
        program = population.program(activation.program)
        word = words[population.name][:, step] if population.name in words else None
        random = {} if word is None else _random(population, word, rounds)
        _compute(program, known, random, rounds)
        shape = next(iter(state.values())).shape[0], population.size
        for output in program.outputs:
            name = f"{population.name}.{output.variable}"
            state[name] = np.broadcast_to(known[output.value], shape)


def _compute(program: Program, known: State, random: Mapping[str, Formula], rounds: bool) -> None:
    """Add the result of every instruction to what is known."""
    within = {n for c in program.composites for n in range(c.first, c.last + 1)}
    for number, i in enumerate(program.instructions):
        table = _ROUNDED if rounds or number in within else _EXACT
        formula = random[i.operation] if i.operation in random else table[i.operation]
        known[i.result] = formula(*(known[a] for a in i.arguments))


def _random(population: Population, word: NDArray[np.uint16], rounds: bool) -> dict[str, Formula]:
    """Meaning of ``word`` and ``draw`` in a step."""
    sampler = population.sampler
    if sampler is None:
        return {}
    most, bits = sampler.max_count, sampler.frac_bits

    def by_rule(u: Any) -> Reals:
        counts = sample_counts(_nearest(u).astype(np.int64), word.astype(np.int64), most, bits)
        return counts.astype(np.float64)

    def by_law(u: Any) -> Reals:
        log_rate = np.broadcast_to(u, word.shape) * 2.0**-bits
        found: Reals = np.minimum(poisson_counts(log_rate, word), most)
        return found

    return {"word": lambda: word.astype(np.float64), "draw": by_rule if rounds else by_law}
