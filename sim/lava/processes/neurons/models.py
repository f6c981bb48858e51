"""ProcessModel of a population: interprets its programs, compiled, in integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Population
from pvae_neuro.sim.lava.compile import Received, compile_program
from pvae_neuro.sim.lava.draw import draw_of
from pvae_neuro.sim.lava.exchange import Job, Tape
from pvae_neuro.sim.lava.plan import Action, Plan
from pvae_neuro.sim.lava.processes.neurons.process import Neurons
from pvae_neuro.sim.noise import NoiseSource

Ints = NDArray[np.int64]
Arrived = dict[str, Ints]
# Iterations of a run without end.
_ENDLESS = 1 << 62


class _AnyPopulation(type(PyLoihiProcessModel)):  # type: ignore[misc]
    """Declares ports and Vars as they are asked for: a population may have any.

    Lava looks each port and Var of a Process up in the class of its ProcessModel.
    """

    def __getattr__(cls, name: str) -> LavaPyType:
        if name.startswith("_"):
            raise AttributeError(name)
        if name.endswith("_in"):
            return LavaPyType(PyInPort.VEC_DENSE, np.int64, precision=24)
        if name.endswith("_out"):
            return LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
        return LavaPyType(np.ndarray, np.int64, precision=24)


class _Event(NamedTuple):
    """What happens in a step of the period, in the iteration that began some periods ago."""

    periods: int
    run: Callable[[int, Arrived], None]


class PopulationModel(PyLoihiProcessModel, metaclass=_AnyPopulation):  # type: ignore[misc]
    """Of the process of a population; equal to ``sim/reference.py``, integer for integer."""

    # Lava adds to these; the metaclass must not answer for them.
    tags: ClassVar[list[str]] = []

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._population: Population = proc_params["population"]
        self._plan: Plan = proc_params["plan"]
        self._log_rate: Interval | None = proc_params["log_rate"]
        self._job: Job | None = proc_params["job"]
        self._first_step = int(proc_params["first_step"])
        # Attributes of the variables, and of the held inputs by connection.
        self._names: dict[str, str] = proc_params["names"]
        self._held_names: dict[str, str] = proc_params["held"]
        # Ports of frames by the attribute that they set.
        self._frame_names: dict[str, str] = proc_params["frames"]
        self._width = int(proc_params["batch"])
        self._ready = False

    def run_spk(self) -> None:
        """One Lava step."""
        if not self._ready:
            self._prepare()
        self._act(self._receive())

    def _receive(self) -> Arrived:
        """Take every message of this step."""
        for values, port in self._frames:
            values[...] = port.recv()
        return {name: port.recv() for name, port in self._ports}

    def _act(self, arrived: Arrived) -> None:
        """Activations of this step, with what has arrived for them; then send."""
        step = int(self.step[0])
        if step == 0:
            self._begin()
        base, residue = divmod(step - self._lead, self._period)
        for event in self._events[residue]:
            iteration = base - event.periods
            if 0 <= iteration < self._iterations:
                event.run(iteration, arrived)
        rest = step - self._lead - self._iterations * self._period
        if rest >= 0:
            for run in self._final.get(rest, ()):
                run(self._iterations, arrived)
        for port, state, steps in self._outputs:
            port.send(state if residue in steps else self._zeros)
        self._advance(step)

    # --------------------------------------------------------------------------- preparation

    def _prepare(self) -> None:
        """Compile the programs; in the process that runs them."""
        plan, population = self._plan, self._population
        self._period, self._lead = plan.timing.period, plan.timing.lead
        self._state: dict[str, Ints] = {
            name: getattr(self, attribute) for name, attribute in self._names.items()
        }
        self._held: dict[str, Ints] = {
            name: getattr(self, attribute) for name, attribute in self._held_names.items()
        }
        shape = next(iter(self._state.values())).shape
        self._zeros = np.zeros(shape, np.int64)
        ports = ((p.name, getattr(self, p.name)) for p in plan.ports)
        self._ports = [(name, port) for name, port in ports if port.csp_ports]
        shown = ((getattr(self, n), getattr(self, p)) for n, p in self._frame_names.items())
        self._frames = [(values, port) for values, port in shown if port.csp_ports]
        every = frozenset(range(self._period))
        outputs = ((name, getattr(self, f"{name}_out")) for name in self._state)
        self._outputs = [
            (port, self._state[name], plan.sending.get(name, every))
            for name, port in outputs
            if port.csp_ports
        ]
        self._word = np.zeros(shape, np.int32)
        # (key, first sample, iteration) of the words at hand; the iteration that used them now.
        self._place: tuple[int, int, int] | None = None
        self._used: int | None = None
        self._frame, self._iterations = -1, _ENDLESS
        self._events, self._final = self._timetable()
        self._tape = None if self._job is None else Tape(self._job, population.name)
        self._ready = True

    def _timetable(self) -> tuple[list[list[_Event]], dict[int, list[Any]]]:
        plan = self._plan
        timed: list[tuple[int, int, Callable[[int, Arrived], None]]] = []
        if plan.load is not None:
            timed.append((plan.load, 0, self._load))
        for number, action in enumerate(plan.iteration):
            timed.append((action.phase, number + 1, self._activation(action)))
        if self._job is not None and not self._population.is_input:
            timed.append((plan.end, len(timed) + 1, self._end_iteration))
        events: list[list[_Event]] = [[] for _ in range(self._period)]
        # What acts in one step acts in order of (iteration, index): the older iteration first.
        for phase, _, run in sorted(timed, key=lambda e: (-(e[0] // self._period), e[1])):
            periods, residue = divmod(phase, self._period)
            events[residue].append(_Event(periods, run))
        final: dict[int, list[Any]] = {}
        for action in plan.final:
            final.setdefault(action.phase, []).append(self._activation(action))
        return events, final

    def _activation(self, action: Action) -> Callable[[int, Arrived], None]:
        population = self._population
        program = population.program(action.program)
        received = {
            s.name: Received(s.ports, tuple(self._held[c] for c in s.held), s.exponent)
            for s in action.sums
        }
        compiled = compile_program(population, program, self._state, received, self._random())
        steps: list[Callable[[int], None]] = []
        if program.operations & {"word", "draw"}:
            steps.append(self._use_words)
        if self._job is not None and any(s.held for s in action.sums):
            steps.append(self._hold)
        if not steps:
            return lambda iteration, arrived: compiled(arrived)

        def activate(iteration: int, arrived: Arrived) -> None:
            for step in steps:
                step(iteration)
            compiled(arrived)

        return activate

    def _random(self) -> dict[str, Callable[..., None]]:
        """Meaning of ``word`` and ``draw``."""
        sampler, log_rate = self._population.sampler, self._log_rate

        def word(out: Ints) -> None:
            out[...] = self._word

        if sampler is None or log_rate is None:
            return {"word": word}
        drawn = draw_of(sampler, log_rate)

        def draw(potential: Ints, out: Ints) -> None:
            drawn(potential, self._word, out)

        return {"word": word, "draw": draw}

    # --------------------------------------------------------------------------------- events

    def _begin(self) -> None:
        """First step of a sample, or of several side by side."""
        if self._tape is not None:
            self.sample[0] = self._tape.first_sample
            self._frame = -1
        given = self._job.total_iterations if self._job is not None else int(self.iterations[0])
        self._iterations = given or _ENDLESS
        if self._plan.load is None:
            for variable in self._population.variables:
                self._state[variable.name][...] = variable.initial

    def _load(self, iteration: int, arrived: Arrived) -> None:
        """An input population takes on the values of the iteration's frame."""
        names = {f"{self._population.name}.{name}": state for name, state in self._state.items()}
        self._take_frame(iteration, names)

    def _hold(self, iteration: int) -> None:
        """Held inputs take on the values of the iteration's frame."""
        names = {self._plan.held[c]: values for c, values in self._held.items()}
        self._take_frame(iteration, names)

    def _take_frame(self, iteration: int, values: dict[str, Ints]) -> None:
        if self._job is None or self._tape is None:
            return
        # `final` goes on with the last frame.
        frame = min(iteration // self._job.iterations, self._job.frames - 1)
        if frame != self._frame:
            self._frame = frame
            for name, array in values.items():
                self._tape.fill(name, frame, array)

    def _use_words(self, iteration: int) -> None:
        """Have the noise of an iteration at hand, unless it was drawn ahead of time."""
        self._load_words(iteration)
        self._used = iteration

    def _load_words(self, iteration: int) -> None:
        sampler = self._population.sampler
        key = int(self.seed[0]) | int(self.seed[1]) << 32
        first = int(self.sample[0])
        if sampler is None or self._place == (key, first, iteration):
            return
        if self._place is None or self._place[0] != key:
            size = self._population.size
            self._noise = NoiseSource(key, size, sampler.stream, sampler.first)
        self._place = key, first, iteration
        step = iteration + self._first_step
        rows = self._word.reshape(self._width, -1)
        for row in range(self._width):
            rows[row] = self._noise.words(step, first + row)

    def _end_iteration(self, iteration: int, arrived: Arrived) -> None:
        if self._tape is not None:
            self._tape.record(self._state)
            if self._plan.counts_progress:
                self._tape.count_iteration()

    # ------------------------------------------------------------------- after the messages

    def _advance(self, step: int) -> None:
        """Work that need not delay the messages, while connections compute; then the next step."""
        self.step[0] = step + 1
        following = None if self._used is None else self._used + 1
        self._used = None
        if self._tape is not None and self._job is not None:
            self._tape.write()
            if step + 1 == self._plan.timing.steps(self._job.total_iterations):
                self._tape.end_pass(self._state)
                self.step[0], following = 0, None
                if not self._tape.is_over and self._place is not None:
                    self.sample[0], following = self._tape.first_sample, 0
        if following is not None:
            self._load_words(following)


@implements(proc=Neurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class NeuronsModel(PopulationModel):
    """Every step is one of the plan's."""
