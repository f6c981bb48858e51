"""Place a network on the cores of a board.

Every population is cut into as few parts as the limits of a core allow, of sizes that differ by at
most one neuron; a core holds one part and all synapses that end there. Then what a part sends is
counted, since it depends on the cut of its targets; a part that sends to too many cores is cut
further. ``docs/placement.md`` derives the numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import PlacementError
from pvae_neuro.network import IntegerNetwork, Population
from pvae_neuro.placement.boards import CHOICES, DEFAULT_BOARD, Board, board_names, load_board
from pvae_neuro.placement.counts import Counts, Demands
from pvae_neuro.placement.engine import PlacedEngine
from pvae_neuro.placement.split import Slice, Split, split
from pvae_neuro.sim.engine import Engine
from pvae_neuro.utils.arguments import checked

Slices = dict[str, tuple[Slice, ...]]


@dataclass(frozen=True)
class Core:
    """One core and what it holds.

    Attributes
    ----------
    number, chip : int
        From 0; cores of a chip are numbered on from those of the chip before.
    population : str
        Of the network that was placed.
    first, last : int
        First neuron and last + 1.
    used : dict of str to int
        By the names of the board's limits.
    counted : dict of str to int
        Synapses, neurons, axons and what else is counted.
    """

    number: int
    chip: int
    population: str
    first: int
    last: int
    used: dict[str, int]
    counted: dict[str, int]

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.last - self.first


@dataclass(frozen=True)
class Traffic:
    """Messages of a connection in one iteration in which every neuron sends.

    Attributes
    ----------
    connection, source, target : str
    messages : int
        Neurons that send, as often as the schedule lets them.
    packets : int
        One for each core that a message goes to.
    between_chips : int
        Packets that leave their chip.
    """

    connection: str
    source: str
    target: str
    messages: int
    packets: int
    between_chips: int


@dataclass(frozen=True, eq=False)
class Placement:
    """A network on the cores of a board.

    Attributes
    ----------
    source : IntegerNetwork
        As it was given.
    board : Board
    slices : dict of str to tuple of (int, int)
        First neuron and last + 1 of each part of each population; inputs belong to the host.
    cores : tuple of Core
        In order of the populations and their parts.
    traffic : tuple of Traffic
        Of each connection of an iteration.
    """

    source: IntegerNetwork
    board: Board
    slices: Slices
    cores: tuple[Core, ...]
    traffic: tuple[Traffic, ...]

    def __repr__(self) -> str:
        return f"<Placement of {self.source.name} on {len(self.cores)} cores of {self.board.name}>"

    @cached_property
    def split(self) -> Split:
        """The network with a population for each core; made when it is first asked for."""
        return split(self.source, self.slices)

    @property
    def network(self) -> IntegerNetwork:
        """The split network: it gives the same integers."""
        return self.split.network

    def engine(self, inner: Engine | None = None) -> PlacedEngine:
        """An engine that runs the parts, by default on ``reference``, and records ``source``."""
        return PlacedEngine(self.split, inner)

    @property
    def maximum(self) -> dict[str, int | None]:
        """What a core has, by limit; None where no source says."""
        return {name: limit.maximum for name, limit in self.board.limits.items()}

    @cached_property
    def largest(self) -> dict[str, int]:
        """What the fullest core uses, by limit."""
        return {name: max(core.used[name] for core in self.cores) for name in self.board.limits}

    @property
    def by_population(self) -> dict[str, tuple[Core, ...]]:
        """Cores of each population."""
        return {
            name: tuple(core for core in self.cores if core.population == name)
            for name in self.slices
        }

    def to_dict(self) -> dict[str, Any]:
        """Board, cores and traffic as values of JSON."""
        return {
            "fits": True,
            "network": self.source.name,
            "board": self.board.to_dict(),
            "cores_used": len(self.cores),
            "cores_available": self.board.cores,
            "cores_by_population": {n: len(cores) for n, cores in self.by_population.items()},
            "cores": [
                {
                    "number": core.number,
                    "chip": core.chip,
                    "population": core.population,
                    "neurons": [core.first, core.last],
                    "used": {n: [u, self.maximum[n]] for n, u in core.used.items()},
                    "counted": core.counted,
                }
                for core in self.cores
            ],
            "traffic": [vars(each) for each in self.traffic],
        }


@checked
def place(
    network: IntegerNetwork,
    board: str | os.PathLike[str] | Board = DEFAULT_BOARD,
    limits: str = "cautious",
    given: Mapping[str, int] | None = None,
) -> Placement:
    """Place a network on the cores of a board.

    Parameters
    ----------
    network : IntegerNetwork
    board : str, path-like or Board
        A name such as ``oheo-gulch``, ``kapoho-point`` or ``spinnaker2``, or a JSON file of one's
        own.
    limits : {"cautious", "largest"}
        Which number counts where sources differ.
    given : mapping of str to int, optional
        Numbers in place of those of the sources, such as ``{"synapse": 8}`` (bits) or
        ``{"synaptic_memory": 131072}`` (bytes).

    Raises
    ------
    PlacementError
        If the network does not fit; it says what is short and what would make it fit.
    InputError
        If there is no such board or limit.
    NetworkError
        If the ranges of the network are not proved.
    """
    network.require_proof()
    if not isinstance(board, Board):
        board = load_board(board, limits, given)
    demands = Demands(network)
    slices, reasons = _cut_all(demands, board)
    if reasons:
        boards = _other_boards(demands, board)
        remedies = (*boards, *_without_lateral(demands, board))
        message = f"{network.name} does not fit on {board.name}: {'; '.join(reasons)}"
        if remedies:
            message += f". What would help: {'; '.join(remedies)}"
        raise PlacementError(message, tuple(reasons), remedies, "board" if boards else None)
    return _placement(demands, board, slices)


# ------------------------------------------------------------------------------------ the cut


def _cut_all(demands: Demands, board: Board) -> tuple[Slices, list[str]]:
    """Slices of every population, and what is short, where something is."""
    slices: Slices = {}
    reasons = [
        reason
        for population in demands.populations
        for reason in _too_large_alone(demands, population, board)
    ]
    if reasons:
        return slices, reasons
    for population in demands.populations:
        slices[population.name] = _fewest(demands, population, board)
    _cut_for_targets(demands, board, slices)
    needed = sum(map(len, slices.values()))
    if needed > board.cores:
        reasons.append(_too_many(demands, board, slices, needed))
    else:
        reasons += _sends_too_far(demands, board, slices)
    return slices, reasons


def balanced(size: int, parts: int) -> tuple[Slice, ...]:
    """Slices whose sizes differ by at most one neuron."""
    ends = [size * number // parts for number in range(parts + 1)]
    return tuple(pairwise(ends))


def _short(counted: Counts, board: Board) -> list[str]:
    """Limits that are exceeded; those that count what is not counted yet are left out."""
    return [
        name
        for name, limit in board.limits.items()
        if limit.maximum is not None
        and limit.counts.keys() <= counted.keys()
        and np.any(limit.used(counted) > limit.maximum)
    ]


def _too_large_alone(demands: Demands, population: Population, board: Board) -> list[str]:
    """What a core lacks for a single neuron of a population, the one with the most synapses."""
    total = sum(fan.synapses for fan in demands.into(population.name))
    neuron = int(np.argmax(total)) if isinstance(total, np.ndarray) else 0
    counted = demands.count(population, ((neuron, neuron + 1),))
    return [
        f"neuron {neuron} of {population.name} alone needs {_amount(board, name, counted)}, "
        f"and a core has {_maximum(board, name)}"
        for name in _short(counted, board)
    ]


def _fewest(demands: Demands, population: Population, board: Board) -> tuple[Slice, ...]:
    """The fewest balanced parts that fit, of a population of which single neurons fit."""

    def fits(parts: int) -> bool:
        return not _short(demands.count(population, balanced(population.size, parts)), board)

    # To count for few parts is cheap, and most populations need few.
    low, high = 1, 1
    while high < population.size and not fits(high):
        low, high = high + 1, min(2 * high, population.size)
    while low < high:
        parts = (low + high) // 2
        if fits(parts):
            high = parts
        else:
            low = parts + 1
    return balanced(population.size, low)


def _cut_for_targets(demands: Demands, board: Board, slices: Slices) -> None:
    """Cut populations further whose parts send to too many cores, while the board has cores."""
    limits = {name for name, each in board.limits.items() if "axons_out" in each.counts}
    changed = True
    while changed and sum(map(len, slices.values())) <= board.cores:
        changed = False
        for population in demands.populations:
            name = population.name
            counted = _all_counts(demands, population, slices)
            parts = len(slices[name])
            if parts < population.size and limits.intersection(_short(counted, board)):
                slices[name] = balanced(population.size, parts + 1)
                changed = True


def _all_counts(demands: Demands, population: Population, slices: Slices) -> Counts:
    counted = demands.count(population, slices[population.name])
    return {**counted, "axons_out": demands.axons_out(population.name, slices)}


# ------------------------------------------------------------------------------- what is short


def _too_many(demands: Demands, board: Board, slices: Slices, needed: int) -> str:
    """That a board has too few cores, and which limit asks for the most of them."""
    most = max(demands.populations, key=lambda p: len(slices[p.name]))
    each = ", ".join(f"{name} {len(cut)}" for name, cut in slices.items())
    said = f"it needs {needed:,} cores ({each}), and the board has {board.cores:,}"
    parts = len(slices[most.name])
    if parts == 1:
        return said
    fewer = balanced(most.size, parts - 1)
    counted = _all_counts(demands, most, {**slices, most.name: fewer})
    neurons = max(last - first for first, last in fewer)
    return said + "".join(
        f"; {neurons:,} neurons of {most.name} on a core would need "
        f"{_amount(board, name, counted)}, and a core has "
        f"{_maximum(board, name)}"
        for name in _short(counted, board)
    )


def _sends_too_far(demands: Demands, board: Board, slices: Slices) -> list[str]:
    found = []
    for population in demands.populations:
        counted = _all_counts(demands, population, slices)
        found += [
            f"a core of {population.name} needs {_amount(board, name, counted)}, "
            f"and a core has {_maximum(board, name)}"
            for name in _short(counted, board)
        ]
    return found


def _other_boards(demands: Demands, board: Board) -> list[str]:
    """Boards and limits that a network fits, found by trying."""
    found = []
    others = [n for n in board_names() if n != board.name]
    fitting = [n for n in others if not _cut_all(demands, load_board(n, board.choice))[1]]
    if fitting:
        found.append(f"the board {' or '.join(fitting)} has room for it")
    cautious, largest = CHOICES
    if board.choice == cautious and board.name in board_names():
        wider = load_board(board.name, largest, board.given)
        if not _cut_all(demands, wider)[1]:
            found.append("it fits by the largest limits that sources give")
    return found


def _without_lateral(demands: Demands, board: Board) -> list[str]:
    """Connections of a population to itself that take more than a dictionary both ways would.

    None where the memory of synapses is not what is short.
    """
    without = {
        name: replace(limit, maximum=None) if "synapses" in limit.counts else limit
        for name, limit in board.limits.items()
    }
    if _cut_all(demands, replace(board, limits=without))[1]:
        return []
    pixels = demands.network.input.size
    found = []
    for population in demands.populations:
        size = population.size
        lateral = sum(
            int(fan.synapses.sum())
            for fan in demands.into(population.name)
            if fan.connection.source == population.name
        )
        if lateral > 2 * size * pixels:
            found.append(
                f"a predictive circuit needs less memory above K = 2M: for {size:,} "
                f"{population.name} and {pixels:,} pixels 2KM = {2 * size * pixels:,} synapses, "
                f"where the lateral ones are {lateral:,}"
            )
    return found


def _amount(board: Board, name: str, counted: Counts) -> str:
    """What parts need at most, such as ``98,304 B of synaptic memory`` or ``64 axons in``."""
    amount = _shown(board, name, int(np.max(board.limits[name].used(counted))))
    return f"{amount}{' of' if board.limits[name].unit else ''} {name.replace('_', ' ')}"


def _maximum(board: Board, name: str) -> str:
    return _shown(board, name, board.limits[name].maximum)


def _shown(board: Board, name: str, value: int | None) -> str:
    return f"{value:,} {board.limits[name].unit}".rstrip()


# -------------------------------------------------------------------------------- the placement


def _placement(demands: Demands, board: Board, slices: Slices) -> Placement:
    cores: list[Core] = []
    chips: dict[str, NDArray[np.int64]] = {}
    for population in demands.populations:
        counted = _all_counts(demands, population, slices)
        used = {name: limit.used(counted) for name, limit in board.limits.items()}
        first = len(cores)
        for part, ends in enumerate(slices[population.name]):
            cores.append(
                Core(
                    len(cores),
                    len(cores) // board.cores_per_chip,
                    population.name,
                    *ends,
                    {name: int(values[part]) for name, values in used.items()},
                    {name: int(values[part]) for name, values in counted.items()},
                )
            )
        chips[population.name] = np.array([core.chip for core in cores[first:]])
    traffic = _traffic(demands, slices, chips)
    return Placement(demands.network, board, slices, tuple(cores), traffic)


def _traffic(
    demands: Demands, slices: Slices, chips: Mapping[str, NDArray[np.int64]]
) -> tuple[Traffic, ...]:
    network, found = demands.network, []
    delivered = [name for a in network.iteration for name in a.connections]
    for name, fan in demands.fans.items():
        c, times = fan.connection, delivered.count(name)
        destinations = demands.destinations(name, slices)
        between = 0
        if c.source in chips and {*chips[c.source], *chips[c.target]} != {0}:
            own = np.repeat(chips[c.source], [last - first for first, last in slices[c.source]])
            away = fan.sources(slices[c.target]) & (chips[c.target][:, None] != own)
            between = int(away.sum())
        found.append(
            Traffic(
                name,
                c.source,
                c.target,
                times * int(np.count_nonzero(destinations)),
                times * int(destinations.sum()),
                times * between,
            )
        )
    return tuple(found)
