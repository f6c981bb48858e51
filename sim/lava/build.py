"""Builds an integer network out of Lava Processes, for the engine and for a user's own program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from lava.magma.core.process.ports.ports import InPort
from lava.proc.conv.process import Conv as LavaConv
from lava.proc.dense.process import Dense as LavaDense
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.network import Connection, Convolution, Dense, IntegerNetwork
from pvae_neuro.sim.engine import MOST_ITERATIONS
from pvae_neuro.sim.frames import checked_frames
from pvae_neuro.sim.lava.convolution import connect_convolution, exact_convolution
from pvae_neuro.sim.lava.dense import exact_dense
from pvae_neuro.sim.lava.exchange import Job, check_batch, check_stock, state_shape
from pvae_neuro.sim.lava.plan import Plan, plan_network
from pvae_neuro.sim.lava.processes.frames.process import FrameSource
from pvae_neuro.sim.lava.processes.neurons.process import Neurons
from pvae_neuro.sim.lava.processes.synapses.process import Synapses
from pvae_neuro.sim.lava.supported import lacking
from pvae_neuro.sim.lava.timing import Timing
from pvae_neuro.sim.noise import check_seed, check_whole
from pvae_neuro.sim.readout import reconstruct
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.arrays import real_array
from pvae_neuro.utils.show import in_a_line

Process = TypeVar("Process")

# Lava carries the value of a Var as a float64.
_LARGEST_INDEX = (1 << 53) - 1


@dataclass(frozen=True, eq=False)
class InputPort:
    """Where a population takes values of an input's variable, on every Lava step.

    Attributes
    ----------
    variable : str
        The input's variable, ``population.variable``.
    port : InPort [n], or [B, n]
        Takes integers; a message is there in the step in which it is sent.
    start : int
        Lava step from which the values of the first iteration are used; those of the next one are
        used a period later.
    """

    variable: str
    port: InPort
    start: int


@dataclass(frozen=True, eq=False)
class LavaNetwork:
    """An integer network as connected Lava Processes.

    Attributes
    ----------
    network : IntegerNetwork
    populations : mapping of str to Neurons
        All but the inputs that their targets hold.
    connections : mapping of str to Dense, Conv or Synapses
        Lava's stock process for dense connections where ``batch`` is 1, and for convolutions where
        it was asked for. Connections from inputs that their targets hold have no process.
    timing : Timing
        When activations act.
    batch : int
        Samples B side by side; above 1 variables have the shape [B, n].
    sources : list of FrameSource
        What :meth:`stream` has connected.
    """

    network: IntegerNetwork
    populations: Mapping[str, Neurons]
    connections: Mapping[str, LavaDense | LavaConv | Synapses]
    timing: Timing
    batch: int = 1
    sources: list[FrameSource] = field(default_factory=list)

    def __repr__(self) -> str:
        kinds = Counter(type(process).__name__ for process in self.connections.values())
        made = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
        parts = f"{len(self.populations)} populations, connections: {made}"
        return in_a_line(f"<LavaNetwork {self.network.name}: {parts}; batch {self.batch}>")

    @property
    def latents(self) -> Neurons:
        """The population that the readout reads; without a readout, the first that draws.

        Raises
        ------
        NetworkError
            If there is neither.
        """
        latents = self.network.latents
        if latents is None:
            raise NetworkError(f"network {self.network.name!r}: no population draws or is read out")
        return self.populations[latents.name]

    @property
    def parts(self) -> tuple[Neurons, ...]:
        """One process of each part of the network that no connection joins; run them all."""
        return separate_parts(self.network, self.populations, self.connections)

    @property
    def steps_per_iteration(self) -> int:
        """Lava steps from one iteration to the next."""
        return self.timing.period

    def steps(self, iterations: int) -> int:
        """Lava steps from the start of a sample to the end of ``final`` after so many iterations.

        If the network was not told the number of iterations, ``final`` does not run; but the
        population that begins an iteration has then begun the next one, which comes to the same
        where ``final`` is the beginning of an iteration.

        Raises
        ------
        InputError
            If ``iterations`` is not a whole number of at least 1.
        """
        return self.timing.steps(check_whole("iterations", iterations, 1, MOST_ITERATIONS))

    def set_input(self, image: ArrayLike) -> None:
        """Set the image or images, before the first run or between runs.

        Parameters
        ----------
        image : float [M], or [B, M] side by side
            Inside the network's declared range.

        Raises
        ------
        InputError
            If shape or range does not fit.
        """
        given = np.asarray(image)
        expected = state_shape(self.network.input.size, self.batch)
        if given.shape != expected:
            raise InputError(f"image: expected shape {expected}, got {given.shape}")
        x = self.network.input.encode(self.network.input.check(np.atleast_2d(given)))
        for encoding in self.network.encodings:
            values = encoding.apply(x)
            if encoding.population in self.populations:
                process = self.populations[encoding.population]
                _set(process.variable(encoding.variable), values)
            self._set_held(f"{encoding.population}.{encoding.variable}", values)

    def stream(self, frames: ArrayLike, hold: int) -> list[FrameSource]:
        """Connect sources of frames, which show each of them for a number of iterations.

        One source for each port that takes an input; connect before the first run. The state
        carries over from frame to frame. After the last frame its values stay.

        Parameters
        ----------
        frames : float [F, M], or [B, F, M] side by side
            Inside the network's declared range; height and width, as declared, may stand in place
            of M.
        hold : int
            Iterations that each frame is held for.

        Raises
        ------
        InputError
            If a frame does not fit, or ``hold`` is not a whole number of at least 1.
        NetworkError
            If Lava cannot stream the network's inputs, or they are streamed already.
        """
        hold = check_whole("hold", hold, 1, MOST_ITERATIONS)
        if self.sources:
            raise NetworkError(f"network {self.network.name!r}: its inputs are streamed already")
        given = real_array("frames", frames)
        x = checked_frames(self.network.input, given if self.batch > 1 else given[None])
        if len(x) != self.batch:
            raise InputError(f"frames: expected those of {self.batch} samples, got {len(x)}")
        encoded = self.network.input.encode(x.swapaxes(0, 1))
        values = {
            f"{e.population}.{e.variable}": np.stack([e.apply(frame) for frame in encoded])
            for e in self.network.encodings
        }
        for port in self.input_ports():
            shown = values[port.variable].reshape(-1, *port.port.shape).astype(np.int32)
            period = self.timing.period
            self.sources.append(FrameSource(shown, hold, port.port, port.start, period))
        return self.sources

    def input_ports(self) -> list[InputPort]:
        """Ports that take the values of inputs on every step, also for a source of one's own.

        Raises
        ------
        NetworkError
            If activations of one population take an input a period apart or more.
        """
        found = []
        for name, process in self.populations.items():
            plan: Plan = process.proc_params["plan"]
            if plan.load is not None:
                start = self.timing.lead + plan.load
                for set_here in self.network.population_of[name].variables:
                    port = process.frame_port(set_here.name)
                    found.append(InputPort(f"{name}.{set_here.name}", port, start))
            for connection, variable in plan.held.items():
                phases = plan.phases_of(connection) or (0,)
                if max(phases) - min(phases) >= self.timing.period:
                    raise NetworkError(
                        f"connection {connection!r}: its input is taken by activations that lie "
                        f"{max(phases) - min(phases)} Lava steps apart, and an iteration has "
                        f"{self.timing.period}: it cannot be streamed; set it between runs"
                    )
                port = process.frame_port(connection)
                found.append(InputPort(variable, port, self.timing.lead + min(phases)))
        return found

    def _set_held(self, variable: str, values: NDArray[Any]) -> None:
        for process in self.populations.values():
            plan: Plan = process.proc_params["plan"]
            for connection, held in plan.held.items():
                if held == variable:
                    _set(process.held_input(connection), values)

    def reset(self, sample: int = 0, iterations: int | None = None) -> None:
        """Begin a sample with the next step: variables and noise start anew.

        Parameters
        ----------
        sample : int
            Index of the (first) sample in the noise, below 2**53.
        iterations : int, optional
            Iterations after which ``final`` runs, or 0: never; by default as before.
        """
        check_whole("sample", sample, 0, _LARGEST_INDEX)
        for process in self.populations.values():
            _set(process.sample, np.array([sample]))
            _set(process.step, np.array([0]))
            if iterations is not None:
                check_whole("iterations", iterations, 0, MOST_ITERATIONS)
                _set(process.iterations, np.array([iterations]))
        for source in self.sources:
            _set(source.step, np.array([0]))

    def reconstruct(self, counts: ArrayLike) -> NDArray[np.float32]:
        """Read values [..., n] of the readout's variable out: float32 [..., M].

        For instance of ``latents.z.get()``.
        """
        return reconstruct(self.network, np.asarray(counts))


def separate_parts(
    network: IntegerNetwork, populations: Mapping[str, Process], connections: Iterable[str]
) -> tuple[Process, ...]:
    """One of the processes of populations for each part that no connection joins."""
    joined = {name: {name} for name in populations}
    for name in connections:
        c = network.connection_of[name]
        both = joined[c.source] | joined[c.target]
        joined.update(dict.fromkeys(both, both))
    firsts = {min(group) for group in joined.values()}
    return tuple(process for name, process in populations.items() if name in firsts)


@checked
def build_lava(
    network: IntegerNetwork,
    *,
    seed: int = 0,
    sample: int = 0,
    iterations: int = 0,
    batch: int = 1,
    stock_convolutions: bool = False,
    job: Job | None = None,
) -> LavaNetwork:
    """Build the network out of Lava Processes, ready to be connected further and run.

    Run any of them with ``Loihi2SimCfg(select_tag="fixed_pt")``.

    Parameters
    ----------
    network : IntegerNetwork
    seed : int
        Key of the noise.
    sample : int
        Index of the first sample in the noise.
    iterations : int
        Iterations after which ``final`` runs; 0: never, the iteration goes on for ever.
    batch : int
        Samples side by side. Above 1 all connections are :class:`Synapses`, for the CPU alone;
        with 1 the dense ones are Lava's stock ``Dense``.
    stock_convolutions : bool
        Whether convolutions are Lava's stock ``Conv``, which takes 40 times as long; for one
        sample. Their transposes have no stock process.
    job : Job, optional
        For the engine: samples to run through without a word from outside.

    Raises
    ------
    NetworkError
        If Lava cannot run the network exactly, or a convolution by its stock process; names the
        part.
    InputError
        If a number does not fit.
    """
    check_seed(seed)
    check_batch(batch)
    check_whole("sample", sample, 0, _LARGEST_INDEX)
    check_whole("iterations", iterations, 0, MOST_ITERATIONS)
    check_stock(stock_convolutions, batch)
    network.require_proof()
    missing = lacking(network)
    if missing:
        raise NetworkError("; ".join(missing))
    plans = plan_network(network)
    populations = {
        name: Neurons(
            network.population_of[name],
            plan,
            network.ranges.log_rates.get(name),
            seed=seed,
            sample=sample,
            iterations=iterations,
            batch=batch,
            first_step=0 if job is None else job.first_step,
            job=job,
        )
        for name, plan in plans.items()
    }
    every_port = (port for plan in plans.values() for port in plan.ports)
    ports = {name: port.name for port in every_port for name in port.connections}
    connections: dict[str, LavaDense | LavaConv | Synapses] = {}
    for connection in network.connections:
        name = connection.name
        if name not in ports:
            continue
        source, target = populations[connection.source], populations[connection.target]
        sent = getattr(source, f"{connection.variable}_out")
        received = getattr(target, ports[name])
        if stock_convolutions and connection.kind == Convolution.kind:
            connections[name] = _stock_convolution(network, connection, sent, received)
            continue
        connections[name] = process = _synapses(connection, batch)
        sent.connect(process.s_in)
        process.a_out.connect(received)
    timing = next(iter(plans.values())).timing
    return LavaNetwork(network, populations, connections, timing, batch)


def _stock_convolution(
    network: IntegerNetwork, connection: Connection, sent: Any, received: Any
) -> LavaConv:
    if not isinstance(connection, Convolution):
        raise NetworkError(f"{connection.name}: expected a convolution, got {connection.kind}")
    message = network.ranges.variables[f"{connection.source}.{connection.variable}"]
    made = exact_convolution(connection, message)
    connect_convolution(connection, made, sent, received)
    return made


def _synapses(connection: Connection, batch: int) -> LavaDense | Synapses:
    if batch == 1 and isinstance(connection, Dense):
        return exact_dense(connection)
    return Synapses(connection, batch=batch)


def _set(var: Any, value: NDArray[Any]) -> None:
    """Set a Var: its initial value before the network is compiled, its present one after."""
    fitting = value.reshape(var.shape)
    if var.process.runtime is None:
        var.init = fitting
        return
    try:
        var.set(fitting)
    except RuntimeError as error:
        raise NetworkError(
            f"{var.process.name}.{var.name}: Lava takes new values before the first run and "
            f"between runs, not after stop: {error}"
        ) from error
