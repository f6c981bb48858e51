"""Training through the integers: the same programs in float64, with slopes.

The forward pass gives the integers of ``reference``, as floats. Slopes are those of the real
functions that roundings and draws stand for:

* a rounding is passed straight through, so that a product, a shift or a sum of synapses has the
  slope of what it rounds; the amount of a shift has none,
* ``min``, ``max`` and so ``clip`` pass to the argument that they take, the first where both are
  equal: inside its range a clip is the identity, its ends included, and outside its slope is zero,
* ``select`` passes to the branch that is chosen,
* ``draw`` has the slope (z + r) / 2 with respect to the log-rate, for a count z and the rate r,
* ``ge``, ``clz``, ``and``, ``or``, ``xor`` and ``word`` have slope zero. So has a composite whose
  operations are of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.network import Activation, Connection, IntegerNetwork, Population, readout_weight
from pvae_neuro.network.connection import MANTISSA_BITS, resolve
from pvae_neuro.network.interval import Interval
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.network.program import Instruction
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, largest_potential
from pvae_neuro.sim.engine import MOST_ITERATIONS, encode_frames
from pvae_neuro.sim.noise import LARGEST_INDEX, check_seed, check_whole
from pvae_neuro.sim.recording import Record, recorded_variables
from pvae_neuro.sim.tensors.draws import thresholds
from pvae_neuro.sim.tensors.interpreter import Act, State, Sum, act, run
from pvae_neuro.sim.tensors.library import placed, torch_library, usable_device
from pvae_neuro.sim.tensors.noise import words_by_step
from pvae_neuro.sim.tensors.operations import FORMULAS, Formula
from pvae_neuro.sim.tensors.products import KINDS, Product
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.show import show

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
LARGEST_MANTISSA = (1 << (MANTISSA_BITS - 1)) - 1
_NOISE_TOGETHER = 1 << 14


# ------------------------------------------------------------------------------------ operations


def rounded(value: Tensor) -> Tensor:
    """The nearest whole number, halves up; the slope is 1."""
    return value + ((value + 0.5).floor() - value).detach()


def scaled(value: Tensor, right: Tensor) -> Tensor:
    """``value * 2**-right``, rounded; no slope with respect to the amount."""
    return rounded(value * _powers(value.device)[right.detach().long() + LARGEST_SHIFT])


@cache
def _powers(device: torch.device) -> Tensor:
    """Powers of two that divide by each shift; those of a library may be off by a rounding."""
    reach = range(-LARGEST_SHIFT, LARGEST_SHIFT + 1)
    with torch_library().inference_mode(False):
        return placed(np.array([2.0**-n for n in reach]), device, "float64")


def _by_integers(name: str, *arguments: Tensor) -> Tensor:
    """An operation on bits, which has no slope."""
    return FORMULAS[name](*(a.detach().int() for a in arguments)).double()


SLOPES: dict[str, Formula] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b, shift: scaled(a * b, shift),
    "shl": lambda a, amount: scaled(a, -amount),
    "shr": scaled,
    "min": lambda a, b: a.where(a <= b, b),
    "max": lambda a, b: a.where(a >= b, b),
    "ge": lambda a, b: a.ge(b).double(),
    "select": lambda condition, a, b: a.where(condition != 0, b),
    "abs": lambda a: a.abs(),
    "neg": lambda a: -a,
    "word": lambda word: word.double(),
    **{name: partial(_by_integers, name) for name in ("and", "or", "xor", "clz")},
}


def _draw(population: Population, proved: Interval, potential: Tensor, word: Tensor) -> Tensor:
    """Counts of log-rates; their slope is (z + r) / 2 for each unit of the log-rate in nats."""
    sampler = population.sampler
    if sampler is None:
        raise ValueError(f"{population.name}: draws without a sampler")  # Networks exclude it.
    u = potential.detach()
    reached = int(u.min()), int(u.max())
    # With other constants log-rates may leave what was proved of the network.
    limits = (
        LOWEST_POTENTIAL << sampler.frac_bits,
        max(largest_potential(sampler.max_count, sampler.frac_bits), 0),
    )
    for low, high in ((proved.smallest, proved.largest), limits):
        if low <= reached[0] and reached[1] <= high:
            break
    else:
        raise NetworkError(
            f"{population.name}: expected log-rates in {list(limits)}, which its sampler draws of, "
            f"got {list(reached)}; keep its constants within the range"
        )
    rule = thresholds(low, high, sampler.max_count, sampler.frac_bits, u.device)
    counts = rule.draw(u.int(), word).double()
    unit = 2.0**-sampler.frac_bits
    slope = (counts + (u * unit).exp()) / 2 * unit
    # What is added is 0 and carries the slope.
    return counts + slope * (potential - u)


# ------------------------------------------------------------------------------------ parameters


def mantissas(network: IntegerNetwork) -> dict[str, Tensor]:
    """Weights of all connections that store some, as parameters: float64, by connection."""
    device = usable_device("cpu")
    return {
        c.name: placed(c.weight, device, "float64").requires_grad_()
        for c in network.connections
        if c.shared is None
    }


@checked
def rounded_network(
    network: IntegerNetwork,
    weights: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> IntegerNetwork:
    """The network with other weights and constants, rounded as :func:`straight_through` does.

    Parameters
    ----------
    network : IntegerNetwork
    weights : mapping of str to tensor, optional
        Mantissas by the name of a connection that stores some.
    constants : mapping of str to tensor, optional
        By ``population.constant``.

    Raises
    ------
    InputError
        If the network has no such part, or its shape is another.
    """
    weights, constants = _fitting(network, weights or {}, constants or {})
    whole = {
        name: _whole(value, LARGEST_MANTISSA).detach().cpu().numpy().astype(np.int8)
        for name, value in weights.items()
    }

    def weight(connection: Any) -> NDArray[Any]:
        shared = connection.shared
        stored = connection.name if shared is None else shared.connection
        if stored not in whole:
            return np.asarray(connection.weight)
        return whole[stored] if shared is None else resolve(whole[stored], shared)

    def population(one: Population) -> Population:
        changed = tuple(
            replace(c, values=_whole(value, WORD_MAX).detach().cpu().numpy().astype(np.int32))
            if (value := constants.get(f"{one.name}.{c.name}")) is not None
            else c
            for c in one.constants
        )
        return replace(one, constants=changed)

    return replace(
        network,
        connections=tuple(replace(c, weight=weight(c)) for c in network.connections),
        populations=tuple(population(p) for p in network.populations),
    )


def _whole(value: Tensor, largest: int) -> Tensor:
    """The nearest whole number within +-largest; the slope is 1 inside, and 0 outside."""
    inside = value.double().clamp(-largest, largest)
    return inside + (inside.round() - inside).detach()


def _fitting(
    network: IntegerNetwork, weights: Tensors, constants: Tensors
) -> tuple[Tensors, Tensors]:
    """Parameters as given, if the network has such."""
    stored = {c.name: c.weight.shape for c in network.connections if c.shared is None}
    held = {f"{p.name}.{c.name}": c.values.shape for p in network.populations for c in p.constants}
    for what, given, known in (("weights", weights, stored), ("constants", constants, held)):
        for name, value in given.items():
            if name not in known:
                raise InputError(
                    f"{what}: expected some of {show(', '.join(known))[1:-1]}; got {show(name)}"
                )
            if tuple(value.shape) != tuple(known[name]):
                raise InputError(
                    f"{what} of {name!r}: expected shape {list(known[name])}, got "
                    f"{list(value.shape)}"
                )
    return weights, constants


# ------------------------------------------------------------------------------------ running


@checked
def straight_through(
    network: IntegerNetwork,
    inputs: ArrayLike,
    steps: int = 32,
    seed: int = 0,
    *,
    weights: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    record: Record = "full",
    first_sample: int = 0,
    device: str | None = None,
) -> dict[str, Any]:
    """Run a network as ``reference`` does, in a way that can be differentiated.

    Parameters
    ----------
    network : IntegerNetwork
    inputs : array_like [N, M], or [N, F, M]
        Images inside the declared range, or F frames for each sample.
    steps : int
        Iterations n that each frame is held for; T = F n in all.
    seed, first_sample : int
        Place in the noise, as for :meth:`Engine.run`.
    weights : mapping of str to tensor, optional
        Mantissas before rounding by the name of a connection that stores some; what shares them
        follows. Beyond +-127 they are clipped. Others are those of the network.
    constants : mapping of str to tensor, optional
        Constants before rounding by ``population.constant``.
    record : "full" or list of str
        Variables to return, as ``population.variable``.
    device : str, optional
        ``cpu``, ``cuda`` or ``cuda:1``; by default the GPU where PyTorch finds one, else ``cpu``.

    Returns
    -------
    dict of str to tensor, float64 [N, T + 1, n]
        Whole numbers, equal to those of ``reference`` with :func:`rounded_network`.

    Raises
    ------
    InputError
        If an argument is out of range.
    NetworkError
        If a log-rate leaves what its sampler draws of.
    EngineUnavailableError
        If PyTorch is missing, or has no such device.
    """
    torch, place = torch_library(), usable_device(device)
    steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
    seed = check_seed(seed)
    first_sample = check_whole("first_sample", first_sample, 0, LARGEST_INDEX)
    weights, constants = _fitting(network, weights or {}, constants or {})
    network.require_proof()
    x = encode_frames(network, inputs)
    samples = range(first_sample, first_sample + len(x))
    frames = x.shape[1] if network.encodings else 1
    last = frames * (x.shape[1] * steps // frames)
    made = _Made(network, weights, constants, place)
    iteration = [made.act(a) for a in network.iteration]
    final = [made.act(a) for a in network.final]
    noise = _noise(network, seed, range(last + 1), samples, place)
    state = _start(network, len(x), place)
    kept: dict[str, list[Tensor]] = {name: [] for name in recorded_variables(network, record)}
    for step in range(last + 1):
        words = {name: next(each) for name, each in noise.items()}
        if step % steps == 0 and step < last:
            _show(network, x[:, step // steps], state, place)
        run(final if step == last else iteration, state, words)
        for name, recorded in kept.items():
            recorded.append(state[name])
    return {name: torch.stack(recorded, dim=1) for name, recorded in kept.items()}


def straight_through_window(
    network: IntegerNetwork,
    images: ArrayLike,
    state: Mapping[str, Tensor] | None,
    steps: range,
    seed: int,
    *,
    weights: Mapping[str, Tensor] | None = None,
    constants: Mapping[str, Tensor] | None = None,
    record: Record = "full",
) -> tuple[dict[str, Tensor], State]:
    """Iterations from a state on, as :func:`straight_through` runs them, on the processor.

    Sums are of the types in which they are exact for weights that the proof covers: those of the
    network itself, as parameters or not.

    Parameters
    ----------
    network : IntegerNetwork
    images : array_like [N, M]
        Still images.
    state : mapping of str to tensor, or None
        Variables by ``population.variable``; None begins at rest.
    steps : range
        Iterations that are run.
    seed : int
    weights, constants, record
        As for :func:`straight_through`.

    Returns
    -------
    dict of str to tensor, float64 [N, T, n]
        What is recorded, after each iteration.
    dict of str to tensor, float64 [N, n]
        The state after the last one, without slopes.
    """
    torch, place = torch_library(), usable_device("cpu")
    weights, constants = _fitting(network, weights or {}, constants or {})
    network.require_proof()
    x = encode_frames(network, images)
    made = _Made(network, weights, constants, place, proved=True)
    iteration = [made.act(a) for a in network.iteration]
    noise = _noise(network, check_seed(seed), steps, range(len(x)), place)
    now = _start(network, len(x), place) if state is None else dict(state)
    _show(network, x[:, 0], now, place)
    kept: dict[str, list[Tensor]] = {name: [] for name in recorded_variables(network, record)}
    for _ in steps:
        run(iteration, now, {name: next(each) for name, each in noise.items()})
        for name, recorded in kept.items():
            recorded.append(now[name])
    after = {name: value.detach() for name, value in now.items()}
    return {name: torch.stack(recorded, dim=1) for name, recorded in kept.items()}, after


def _noise(
    network: IntegerNetwork, seed: int, steps: range, samples: range, device: torch.device
) -> dict[str, Iterator[Tensor]]:
    """Random words of each population that draws, step by step."""
    return {
        p.name: words_by_step(p.sampler, p.size, seed, steps, samples, device, _NOISE_TOGETHER)
        for p in network.drawing
        if p.sampler is not None
    }


def _start(network: IntegerNetwork, samples: int, device: torch.device) -> State:
    """The state before the first iteration."""
    return {
        f"{p.name}.{v.name}": placed(v.initial, device, "float64").expand(samples, p.size)
        for p in network.populations
        for v in p.variables
    }


def _show(
    network: IntegerNetwork, x: NDArray[np.int32], state: State, device: torch.device
) -> None:
    """Set the inputs' variables to what encoded images [N, M] become."""
    for e in network.encodings:
        state[f"{e.population}.{e.variable}"] = placed(e.apply(x), device, "float64")


def picture(network: IntegerNetwork, values: Any, weights: Mapping[str, Any] | None = None) -> Any:
    """What the readout makes of its variable, in units of the input: float64 [..., M].

    Parameters
    ----------
    network : IntegerNetwork
        With a readout.
    values : tensor [..., n]
        Of the readout's variable.
    weights : mapping of str to tensor, optional
        As for :func:`straight_through`; the readout may be that of a connection.

    Raises
    ------
    InputError
        If the network has no readout.
    """
    readout = network.readout
    if readout is None:
        raise InputError(f"network {network.name!r}: expected a readout, got a network without one")
    unit, fixed = 2.0**-readout.frac_bits, readout_weight(network)
    if readout.connection is not None:
        given, _ = _fitting(network, weights or {}, {})
        return values @ _Made(network, given, {}, values.device).weight(readout.connection).T * unit
    return (values if fixed is None else values @ placed(fixed, values.device, "float64").T) * unit


class _Made:
    """A network's parts as tensors, from parameters where they are given."""

    def __init__(
        self,
        network: IntegerNetwork,
        weights: Tensors,
        constants: Tensors,
        device: torch.device,
        *,
        proved: bool = False,
    ) -> None:
        self._network, self._device, self._proved = network, device, proved
        self._weights = {
            name: _whole(value.to(device), LARGEST_MANTISSA) for name, value in weights.items()
        }
        self._constants = {
            name: _whole(value.to(device), WORD_MAX) for name, value in constants.items()
        }

    def weight(self, name: str) -> Tensor:
        """Mantissas of a connection."""
        connection = self._network.connection_of[name]
        shared = connection.shared
        stored = name if shared is None else shared.connection
        if stored not in self._weights:
            return placed(connection.weight, self._device, "float64")
        found: Any = self._weights[stored]
        view: Any = found if shared is None else resolve(found, shared)
        return view

    def _product(self, connection: Connection) -> Product:
        weight = self.weight(connection.name)
        if self._proved:
            weight = weight.to(getattr(torch_library(), KINDS[connection.kind].dtype))
        return partial(_delivered, connection, weight)

    def act(self, activation: Activation) -> Act:
        """An activation, ready to run."""
        network, device = self._network, self._device
        population = network.population_of[activation.population]
        received = {}
        for name, connections in network.groups(activation).items():
            senders = tuple((f"{c.source}.{c.variable}", self._product(c)) for c in connections)
            received[name] = Sum(senders, partial(_exponent, 2.0 ** connections[0].exponent))
        constants = {str(n): placed(np.array([n]), device, "float64") for n in (0, 1)}
        for c in population.constants:
            given = self._constants.get(f"{population.name}.{c.name}")
            constants[c.name] = placed(c.values, device, "float64") if given is None else given
        return act(network, activation, received, constants, partial(_formula, network, population))


def _delivered(connection: Connection, weight: Tensor, values: Tensor) -> Tensor:
    found = KINDS[connection.kind].product(connection, values.to(weight.dtype), weight)
    return found.double()


def _exponent(unit: float, total: Tensor) -> Tensor:
    return rounded(total * unit)


def _formula(network: IntegerNetwork, population: Population, instruction: Instruction) -> Formula:
    if instruction.operation == "draw":
        return partial(_draw, population, network.ranges.log_rates[population.name])
    return SLOPES[instruction.operation]
