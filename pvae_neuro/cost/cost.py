"""What a network would cost on a chip: all that it does in a run, counted.

An engine runs the network; :mod:`~pvae_neuro.cost.replay` goes through what it recorded, activation
by activation, and :mod:`~pvae_neuro.cost.counts` counts. So the counts are of real images and real
noise, and do not depend on the engine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.cost.counts import KINDS, QUANTITIES, Cores, Counted, Counting, Ints, Load, Part
from pvae_neuro.cost.neurobench import neurobench
from pvae_neuro.cost.prices import CHIPS, Band, Clock, prices
from pvae_neuro.cost.replay import Words
from pvae_neuro.cost.sampler_path import PARTS
from pvae_neuro.errors import EngineError, InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.placement import Placement
from pvae_neuro.sim.engine import MOST_ITERATIONS, Engine, encode_frames, fastest_engine, get_engine
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.lava.timing import network_timing
from pvae_neuro.sim.noise import check_seed, check_whole, population_noise
from pvae_neuro.sim.recording import Recording
from pvae_neuro.sim.reference import State, initial_state
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import Advance, shown_advance
from pvae_neuro.utils.show import in_a_line, show
from pvae_neuro.utils.suggest import suggest

PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
# Values that are worked on at once: rows times neurons, and rows times counts.
VALUES_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class Cost:
    """What a run did, counted.

    Attributes
    ----------
    network : IntegerNetwork
    samples, steps, seed : int
    engine : str
    by_iteration : int64 [N, T, quantities]
        Over all cores, in the order of :data:`~pvae_neuro.cost.counts.QUANTITIES`.
    parts : mapping of str to sequence of Part
        Where populations are placed; one that is not named is a core of its own.
    loads : tuple of Load
        Cores, each in the time steps in which it works.
    by_load : int64 [N, loads, quantities]
        Over all iterations.
    by_step : int64 [T, loads, quantities]
        Over all images.
    kinds : int64 [loads, kinds]
        Word operations by kind, over all images and iterations.
    draws : dict of str to int
        How often draws came through each part of the sampler, over all images and iterations.
    final : int64 [N, quantities]
        What is done once after the last iteration.
    seconds : dict of str to Band
        Time of an iteration, by chip.
    active : float64 [N, T] or None
        Share of the latents that fire.
    error : float64 [N, T] or None
        Squared error, as in a recording; None without a readout.
    settling : int64 [N] or None
        Iterations after which it has settled.
    """

    network: IntegerNetwork
    samples: int
    steps: int
    seed: int
    engine: str
    by_iteration: Ints
    parts: Cores
    loads: tuple[Load, ...]
    by_load: Ints
    by_step: Ints
    kinds: Ints
    draws: dict[str, int]
    final: Ints
    seconds: dict[str, Band]
    active: NDArray[np.float64] | None
    error: NDArray[np.float64] | None
    settling: Ints | None

    def __repr__(self) -> str:
        means = self.means()
        shown = ", ".join(f"{means[name]:,.0f} {name}" for name in ("messages", "synops"))
        return in_a_line(
            f"<Cost of {self.network.name}: {self.samples} images, {self.steps} iterations; "
            f"{shown} an iteration>"
        )

    def __getitem__(self, quantity: str) -> Ints:
        """Counts of each image and iteration: int64 [N, T].

        Raises
        ------
        InputError
            If there is no such quantity.
        """
        if quantity not in QUANTITIES:
            raise InputError(f"cost: expected one of {', '.join(QUANTITIES)}; got {quantity!r}")
        return self.by_iteration[..., list(QUANTITIES).index(quantity)]

    @property
    def cores(self) -> tuple[str, ...]:
        """Cores that work or send, in order of first use."""
        return tuple(dict.fromkeys(load.core for load in self.loads))

    def of_core(self, core: str) -> Ints:
        """Counts of a core over all iterations: int64 [N, quantities]."""
        return self.by_load[:, self._held(core)].sum(axis=1)

    def iterations_of_core(self, core: str) -> NDArray[np.float64]:
        """Counts of a core in each iteration, means over images: float64 [T, quantities]."""
        return self.by_step[:, self._held(core)].sum(axis=1) / self.samples

    def _held(self, core: str) -> list[int]:
        """Numbers of a core's loads."""
        if core not in self.cores:
            raise InputError(
                f"core {show(core)}: expected one that works{suggest(core, self.cores)}"
            )
        return [number for number, load in enumerate(self.loads) if load.core == core]

    def means(self) -> dict[str, float]:
        """Mean of each quantity, per image and iteration."""
        found = self.by_iteration.mean(axis=(0, 1))
        return dict(zip(QUANTITIES, found.tolist(), strict=True))

    def kinds_of(self, core: str | None = None) -> dict[str, float]:
        """Word operations by kind, per image and iteration; of a core, or of all."""
        kinds = self.kinds if core is None else self.kinds[self._held(core)]
        total = kinds.sum(axis=0) / (self.samples * self.steps)
        return {kind: n for kind, n in zip(KINDS, total.tolist(), strict=True) if n}

    def sampler(self) -> dict[str, float] | None:
        """How draws go: their number per iteration, and what one takes; None without any."""
        number = self.draws["split"]
        if not number:
            return None
        operations: Counter[str] = Counter()
        for part, times in self.draws.items():
            operations.update({kind: times * n for kind, n in PARTS[part].items()})
        second = self.draws["rate"] - self.draws["probability"]
        return {
            "draws": number / (self.samples * self.steps),
            "left_first": 1 - self.draws["rate"] / number,
            "left_second": second / number,
            "passes": self.draws["pass"] / number,
            "operations": operations.total() / number,
            "multiplications": operations["mul"] / number,
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        means = self.means()
        of_images = self.by_iteration.sum(axis=1) + self.final
        return {
            "topology": self.network.name,
            "family": self.network.family,
            "engine": self.engine,
            "samples": self.samples,
            "steps": self.steps,
            "seed": self.seed,
            "time_steps_per_iteration": network_timing(self.network).timing.period,
            "mse": None if self.error is None else float(self.error[:, -1].mean()),
            "active": None if self.active is None else float(self.active.mean()),
            "quantities": QUANTITIES,
            "iteration": {name: _spread(self[name].mean(axis=1)) for name in QUANTITIES},
            "image": {
                name: _spread(of_images[:, number]) for number, name in enumerate(QUANTITIES)
            },
            "by_iteration": {name: self[name].mean(axis=0).tolist() for name in QUANTITIES},
            "cores": {core: self._core(core) for core in self.cores},
            "operations": self.kinds_of(),
            "sampler": self.sampler(),
            "neurobench": neurobench(self.network, means, self.steps),
            "chips": {chip: prices(chip, self.seconds.get(chip), means) for chip in CHIPS},
        }

    def _core(self, core: str) -> dict[str, Any]:
        counts = self.of_core(core) / self.steps
        found: dict[str, Any] = {
            name: _spread(counts[:, number]) for number, name in enumerate(QUANTITIES)
        }
        found["kinds"] = self.kinds_of(core)
        each = self.iterations_of_core(core)
        found["by_iteration"] = {
            name: each[:, number].tolist() for number, name in enumerate(QUANTITIES)
        }
        return found


def _spread(values: NDArray[Any]) -> dict[str, float]:
    """Mean over images, and percentiles."""
    points = np.percentile(values, PERCENTILES).tolist()
    return {
        "mean": float(values.mean()),
        **{f"p{p}": value for p, value in zip(PERCENTILES, points, strict=True)},
    }


@checked
def cost_of(
    network: IntegerNetwork,
    inputs: ArrayLike,
    *,
    steps: int = 128,
    seed: int = 0,
    engine: str | Engine | None = None,
    cores: Placement | Mapping[str, Sequence[tuple[str, int, int]]] | None = None,
    progress: Advance | bool | None = None,
) -> Cost:
    """Count what a network does on images.

    Parameters
    ----------
    network : IntegerNetwork
    inputs : array_like [N, M] or [N, H, W]
        Images in the declared range.
    steps : int
        Iterations.
    seed : int
        Of the random words.
    engine : str or Engine, optional
        By default the fastest that works here. Counts are the same with all of them.
    cores : Placement, or mapping of str to sequence of (str, int, int), optional
        Where the network lies, as :func:`~pvae_neuro.placement.place` returns it; or the parts of
        each population: name of a core, first neuron, and last + 1. A population that is not
        named is a core of its own.
    progress : callable, True or False, optional
        Told image-iterations done since the last call; True shows a bar, False nothing. By default
        a terminal shows a bar and a notebook a line now and then.

    Raises
    ------
    InputError
        If an argument is out of range.
    NetworkError
        If a word of the network could leave its width.
    EngineError
        If the engine fails, or recorded other integers than the definition.
    """
    steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
    seed = check_seed(seed)
    network.require_proof()
    if isinstance(cores, Placement):
        cores = _placed(cores)
    parts = _checked_parts(network, cores or {})
    images = network.input.check(inputs)
    if engine is None:
        engine = fastest_engine(network)
    runner = get_engine(engine) if isinstance(engine, str) else engine
    title = f"cost on {runner.name}"
    with shown_advance(progress, title, 2 * len(images) * steps) as advance:
        return _Run(network, steps, seed, runner, parts, advance).cost(images)


def _placed(placement: Placement) -> dict[str, list[tuple[str, int, int]]]:
    """Parts of a placement, each core by its number; inputs belong to the host."""
    inputs = {p.name: [("host", 0, p.size)] for p in placement.source.populations if p.is_input}
    return inputs | {
        name: [(f"core {core.number}", core.first, core.last) for core in cores]
        for name, cores in placement.by_population.items()
    }


def _checked_parts(
    network: IntegerNetwork, cores: Mapping[str, Sequence[tuple[str, int, int]]]
) -> Cores:
    """Parts of populations; raise :class:`InputError` unless they hold each neuron once."""
    found: dict[str, tuple[Part, ...]] = {}
    for name, given in cores.items():
        if name not in network.population_of:
            known = ", ".join(network.population_of)
            raise InputError(f"cores: expected populations of {known}; got {show(name)}")
        try:
            parts = tuple(Part(str(core), int(first), int(last)) for core, first, last in given)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"cores: {name}: expected a core's name, the first neuron and the last + 1 of each "
                f"part, got {show(given)}"
            ) from error
        size = network.population_of[name].size
        ends = [0, *(part.last for part in parts)]
        begins = [*(part.first for part in parts), size]
        if ends != begins or any(part.first >= part.last for part in parts):
            raise InputError(
                f"cores: {name}: expected parts that hold each of {size} neurons once, in order"
            )
        found[name] = parts
    return found


class _Run:
    """Counts images some at a time."""

    def __init__(
        self,
        network: IntegerNetwork,
        steps: int,
        seed: int,
        engine: Engine,
        cores: Cores,
        advance: Advance,
    ) -> None:
        self.network, self.steps, self.seed, self.engine = network, steps, seed, engine
        self.cores, self.advance = cores, advance
        self.counting = Counting(network, network.iteration, cores)
        self.after = Counting(network, network.final, cores)
        self.clock = Clock(self.counting.loads, network_timing(network).timing.period)
        neurons = sum(p.size for p in network.populations)
        neurons = max(neurons, len(self.counting.loads) * len(QUANTITIES))
        self.rows = max(1, VALUES_AT_ONCE // neurons)

    def cost(self, images: NDArray[np.float64]) -> Cost:
        """Counts of all images."""
        at_once = max(1, self.rows // self.steps)
        parts = [
            self._part(first, images[first : first + at_once])
            for first in range(0, len(images), at_once)
        ]
        by_iteration, by_load, by_step, final, kinds, visits, recorded = zip(*parts, strict=True)
        active, error, settling = zip(*recorded, strict=True)
        has_error, has_code = error[0] is not None, active[0] is not None
        return Cost(
            network=self.network,
            samples=len(images),
            steps=self.steps,
            seed=self.seed,
            engine=self.engine.name,
            by_iteration=np.concatenate(by_iteration),
            parts=self.cores,
            loads=self.counting.loads,
            by_load=np.concatenate(by_load),
            by_step=np.sum(by_step, axis=0),
            kinds=np.sum(kinds, axis=0),
            draws=dict(zip(PARTS, np.sum(visits, axis=0).tolist(), strict=True)),
            final=np.concatenate(final),
            seconds={c: b for c in CHIPS if (b := self.clock.band(c)) is not None},
            active=np.concatenate(active) if has_code else None,
            error=np.concatenate(error) if has_error else None,
            settling=np.concatenate(settling) if has_error else None,
        )

    def _part(self, first: int, images: NDArray[np.float64]) -> tuple[Any, ...]:
        """Run and count some images."""
        samples, steps = len(images), self.steps
        recording = self.engine.run(
            self.network, images, steps, self.seed, record="full", first_sample=first,
            progress=self.advance,
        )  # fmt: skip
        counted = list(self._iterations(first, images, recording))
        counts = np.concatenate([c.counts for c in counted])
        counts = counts.reshape(samples, steps, *counts.shape[1:])
        final = self._final(first, images, recording)
        return (
            counts.sum(axis=2),
            counts.sum(axis=1),
            counts.sum(axis=0),
            final.counts.sum(axis=1),
            np.sum([c.kinds for c in counted], axis=0),
            np.sum([c.visits for c in counted], axis=0),
            _figures(self.network, recording),
        )

    def _iterations(
        self, first: int, images: NDArray[np.float64], recording: Recording
    ) -> Iterator[Counted]:
        """Count the iterations of some images, some rows at a time."""
        network, steps, rows = self.network, self.steps, len(images) * self.steps
        begin = initial_state(network, 1)
        # The state before each iteration, and after it: [N T, n].
        before = {
            name: np.concatenate(
                [
                    np.broadcast_to(begin[name][:, None], (len(images), 1, values.shape[2])),
                    values[:, : steps - 1],
                ],
                axis=1,
            ).reshape(rows, -1)
            for name, values in recording.variables.items()
        }
        after = {n: v[:, :steps].reshape(rows, -1) for n, v in recording.variables.items()}
        given = self._inputs(images)
        words = self._words(first, len(images), range(steps))
        for start in range(0, rows, self.rows):
            part = slice(start, min(start + self.rows, rows))
            state: State = {name: values[part].astype(np.int64) for name, values in before.items()}
            shown = np.arange(part.start, part.stop) // steps
            state.update({name: values[shown] for name, values in given.items()})
            now = {name: w[part] for name, w in words.items()}
            found = self.counting.count(state, now)
            self._compare(state, {name: values[part] for name, values in after.items()})
            names = list(QUANTITIES)
            synops, updates, operations = (
                found.counts[..., names.index(q)] for q in ("synops", "updates", "operations")
            )
            self.clock.add(synops, updates, operations)
            yield found
            self.advance(part.stop - part.start)

    def _final(self, first: int, images: NDArray[np.float64], recording: Recording) -> Counted:
        """Count what is done after the last iteration."""
        last = {n: v[:, self.steps - 1].astype(np.int64) for n, v in recording.variables.items()}
        state: State = {**last, **self._inputs(images)}
        words = self._words(first, len(images), range(self.steps, self.steps + 1))
        found = self.after.count(state, words)
        self._compare(state, recording.last)
        return found

    def _inputs(self, images: NDArray[np.float64]) -> State:
        """Values of the inputs: int64 [N, n]."""
        encoded = self.engine.encode(self.network, encode_frames(self.network, images))
        return {name: values[0].astype(np.int64) for name, values in encoded.items()}

    def _words(self, first: int, samples: int, steps: range) -> Words:
        places = range(first, first + samples)
        return {
            p.name: population_noise(p, self.seed, steps, places).reshape(-1, p.size)
            for p in self.network.drawing
        }

    def _compare(self, state: State, recorded: Mapping[str, NDArray[Any]]) -> None:
        for name, values in recorded.items():
            if not np.array_equal(state[name], values):
                raise EngineError(
                    f"cost: {name}: the engine {self.engine.name} recorded other integers than the "
                    f"definition computes; expected equal ones; run verify to see where"
                )


def active_share(network: IntegerNetwork, recording: Recording) -> NDArray[np.float64] | None:
    """Share of the latents that fire: float64 [N, T]; None without figures of iterations."""
    active, latents = recording.active, network.latents
    return None if active is None or latents is None else active / latents.size


def _figures(
    network: IntegerNetwork, recording: Recording
) -> tuple[NDArray[Any] | None, NDArray[Any] | None, Ints | None]:
    """Share of the latents that fire, squared error, and iterations to settle."""
    share = active_share(network, recording)
    if recording.squared_error is None:
        return share, None, None
    held = Frames(1, recording.hold)
    settling = held.settling(recording.squared_error)[:, 0]
    return share, recording.squared_error * recording.error_unit, settling
