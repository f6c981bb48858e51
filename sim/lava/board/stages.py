"""What runs where: one class a stage. Only the neurons, and their links to the cores, differ."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.network import Population
from pvae_neuro.sim.lava.board.board import Bounds
from pvae_neuro.sim.lava.board.links import DelayedLinks, DirectLinks, Links
from pvae_neuro.sim.lava.board.parts import CORES, EMBEDDED, HOST, Parts, named_class

if TYPE_CHECKING:
    from pvae_neuro.sim.lava.board.wiring import Wiring
    from pvae_neuro.sim.lava.plan import Plan


INJECTED, CHIP = "injected", "chip"


class Stage(ABC):
    """How a network is laid out on a board.

    Attributes
    ----------
    name : str
    claim : str
        What equal integers show, where it ran on silicon.
    takes_words : bool
        Whether the host gives the random words.
    noise : str
        Whose random words: those of the definition, or of the chip's own generator.
    marks : int
        What messages carry besides an integer for each neuron.
    """

    name: ClassVar[str]
    claim: ClassVar[str]
    marks: ClassVar[int] = 0
    takes_words: bool = False
    noise: str = INJECTED

    @abstractmethod
    def neurons(self, parts: Parts, population: Population, *given: Any, **options: Any) -> Any:
        """Process of a population, entered with its parts."""

    @abstractmethod
    def to_cores(self, parts: Parts, sent: Any, name: str) -> Any:
        """Port that drives a ``Dense`` with what a port of neurons sends."""

    @abstractmethod
    def from_cores(self, parts: Parts, received: Any, name: str) -> Any:
        """Port that takes what a ``Dense`` delivers for a port of neurons."""

    @abstractmethod
    def links(self, wiring: Wiring, run: Callable[[int], None], declared: Bounds | None) -> Links:
        """Links of the compiled network, measured where they delay messages."""


class HostStage(Stage):
    """S1: stock processes on cores, our neurons on the host, adapters between them."""

    name = "S1"
    claim = "weights, graded messages and phases are right on the cores"
    marks = 1

    def neurons(self, parts: Parts, population: Population, *given: Any, **options: Any) -> Any:
        """A population on the host."""
        from pvae_neuro.sim.lava.board.host import HostNeurons, HostNeuronsModel

        made = HostNeurons(population, *given, **options)
        return parts.add(made, HOST, HostNeuronsModel)

    def to_cores(self, parts: Parts, sent: Any, name: str) -> Any:
        """Through an adapter."""
        adapter = parts.adapter("PyToNxAdapter", sent.shape, f"{name}_to_cores")
        sent.connect(adapter.inp)
        return adapter.out

    def from_cores(self, parts: Parts, received: Any, name: str) -> Any:
        """Through neurons that send their sum at once as a graded message, and an adapter."""
        sums = parts.accumulator(received.shape, f"{name}_sum")
        adapter = parts.adapter("NxToPyAdapter", received.shape, f"{name}_to_host")
        sums.s_out.connect(adapter.inp)
        adapter.out.connect(received)
        return sums.a_in

    def links(self, wiring: Wiring, run: Callable[[int], None], declared: Bounds | None) -> Links:
        """Measured by pulses."""
        return DelayedLinks(wiring, run, declared)


class EmbeddedStage(Stage):
    """S2: neurons in C on the embedded processors."""

    name = "S2"
    claim = "the whole loop is right on the board, neurons in C on embedded processors"
    marks = 1
    takes_words = True

    def neurons(
        self, parts: Parts, population: Population, plan: Plan, *given: Any, **_: Any
    ) -> Any:
        """A population on an embedded processor."""
        from pvae_neuro.sim.lava.board.embedded.process import EmbeddedNeurons, embedded_model
        from pvae_neuro.sim.lava.board.embedded.source import Embedded

        made = EmbeddedNeurons(Embedded(parts.network, population, plan))
        return parts.add(made, EMBEDDED, embedded_model(made, parts.folder / "embedded"))

    def to_cores(self, parts: Parts, sent: Any, name: str) -> Any:
        """Embedded processors send to cores."""
        return sent

    def from_cores(self, parts: Parts, received: Any, name: str) -> Any:
        """Through neurons that send their sum at once as a graded message."""
        sums = parts.accumulator(received.shape, f"{name}_sum")
        sums.s_out.connect(received)
        return sums.a_in

    def links(self, wiring: Wiring, run: Callable[[int], None], declared: Bounds | None) -> Links:
        """Measured by pulses."""
        return DelayedLinks(wiring, run, declared)


class CoreStage(Stage):
    """S3: neurons on cores too, by microcode of the owner.

    Parameters
    ----------
    microcode : mapping of str to str, or str
        Models ``module:Class`` of the process ``CoreNeurons``, by population; that of ``*``, or a
        single one, is for all others.
    noise : str
    """

    name = "S3"
    claim = "the whole network is right on the cores, by the owner's microcode"

    def __init__(self, microcode: Mapping[str, str] | str, noise: str = INJECTED) -> None:
        given = {"*": microcode} if isinstance(microcode, str) else dict(microcode)
        for population, model in given.items():
            if not re.fullmatch(r"[\w.]+:\w+", model):
                raise InputError(f"ucode: expected module:Class for {population!r}, got {model!r}")
        self.microcode, self.noise = given, noise
        self.takes_words = noise == INJECTED

    def neurons(self, parts: Parts, population: Population, *given: Any, **options: Any) -> Any:
        """A population on cores."""
        from pvae_neuro.sim.lava.board.cores import CoreNeurons

        named = self.microcode.get(population.name, self.microcode.get("*"))
        if named is None:
            raise EngineUnavailableError(
                f"loihi2: stage S3 has no microcode for population {population.name!r}; name its "
                f"model as module:Class"
            )
        return parts.add(
            CoreNeurons(population, *given, injected=self.takes_words, **options),
            CORES,
            named_class(named),
        )

    def to_cores(self, parts: Parts, sent: Any, name: str) -> Any:
        """It is there."""
        return sent

    def from_cores(self, parts: Parts, received: Any, name: str) -> Any:
        """It is there."""
        return received

    def links(self, wiring: Wiring, run: Callable[[int], None], declared: Bounds | None) -> Links:
        """One step."""
        return DirectLinks(wiring, run)


STAGES: dict[str, Callable[..., Stage]] = {"S1": HostStage, "S2": EmbeddedStage, "S3": CoreStage}


def stage_of(name: str, microcode: Mapping[str, str] | str | None, noise: str) -> Stage:
    """Stage of that name.

    Raises
    ------
    InputError
        If there is none, or what it is given does not go with it.
    """
    if name not in STAGES:
        raise InputError(f"stage: expected one of {', '.join(STAGES)}; got {name!r}")
    takes = signature(STAGES[name]).parameters
    if ("microcode" in takes) != (microcode is not None):
        wanted = "the owner's models as module:Class" if takes else "no microcode"
        raise InputError(f"ucode: stage {name} expects {wanted}; got {microcode!r}")
    if noise not in (INJECTED, CHIP) or (noise == CHIP and "noise" not in takes):
        raise InputError(
            f"noise: expected injected, or chip where neurons are on cores (S3); got {noise!r} in "
            f"{name}"
        )
    return STAGES[name](microcode, noise) if takes else STAGES[name]()
