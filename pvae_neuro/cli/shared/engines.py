"""Engines by the names and options that were typed, refused before any work if they cannot run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.cli.shared.support import AT_END
from pvae_neuro.errors import InputError
from pvae_neuro.sim.engine import (
    Engine,
    definition_first,
    engine_names,
    engine_options,
    fastest_engine,
    get_engine,
    working_engines,
)

if TYPE_CHECKING:
    from pvae_neuro.network import IntegerNetwork

AUTO = "auto"
# Options of engines' constructors that the command line has, and their flags.
FLAGS = {
    "timeout": "--timeout",
    "batch": "--lava-batch",
    "products": "--products",
    "processor": "--processor",
}


@dataclass(frozen=True)
class EngineChoice:
    """Engines that were asked for; only ``auto`` waits for the network.

    Attributes
    ----------
    named : tuple of Engine or None
        In the order asked for; None stands for ``auto``.
    scheduler : str or None
        Run on the workers of a Dask scheduler: ``local``, or its address.
    """

    named: tuple[Engine | None, ...]
    scheduler: str | None = None

    def engine(self, network: IntegerNetwork) -> Engine:
        """The one engine to run this network on; ``auto`` is the fastest that works here."""
        (engine,) = self.named
        if engine is None:
            return self._scheduled(fastest_engine(network, tell=say_line))
        return self._scheduled(self._prepared(engine, network))

    def engines(self, network: IntegerNetwork) -> list[Engine]:
        """All engines, each once; ``auto`` is every one that works here but Lava."""
        found: dict[str, Engine] = {}
        for engine in self.named:
            for one in (
                _automatic(network) if engine is None else (self._prepared(engine, network),)
            ):
                found.setdefault(one.name, one)
        return [self._scheduled(engine) for engine in found.values()]

    def workers(self) -> Engine | None:
        """The workers of the scheduler, for a float model; None without one."""
        return None if self.scheduler is None else self._scheduled(get_engine("reference"))

    def _prepared(self, engine: Engine, network: IntegerNetwork) -> Engine:
        if self.scheduler is None:
            # What it compiles is said now, and is in no run's time.
            engine.prepare(network, tell=say_line)
        return engine

    def _scheduled(self, engine: Engine) -> Engine:
        if self.scheduler is None:
            return engine
        from pvae_neuro.cluster.engine import ScheduledEngine

        return AT_END.enter_context(ScheduledEngine(engine, self.scheduler))


def _automatic(network: IntegerNetwork) -> list[Engine]:
    return definition_first(working_engines(network, tell=say_line))


def choose_engine(name: str, scheduler: str | None = None, **options: Any) -> EngineChoice:
    """The engine of that name, or ``auto``.

    Parameters
    ----------
    name : str
    scheduler : str, optional
    **options
        Of ``FLAGS``; None is not given.

    Raises
    ------
    InputError
        If there is no such engine, or it does not have an option that was given.
    EngineUnavailableError
        If it cannot run here.
    """
    return _choose([name], scheduler, options)


def choose_engines(names: str, scheduler: str | None = None, **options: Any) -> EngineChoice:
    """The engines of a comma-separated list; options as in :func:`choose_engine`.

    An option goes to each engine that has it.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise InputError(
            f"--engines: expected a list such as reference,onnx of {', '.join(engine_names())}; "
            f"got {names!r}"
        )
    return _choose(wanted, scheduler, options)


def _choose(names: list[str], scheduler: str | None, options: dict[str, Any]) -> EngineChoice:
    for name in names:
        if name not in (AUTO, *engine_names()):
            known = ", ".join((AUTO, *engine_names()))
            raise InputError(f"engine: expected one of {known}; got {name!r}")
    given = {option: value for option, value in options.items() if value is not None}
    takes = {name: engine_options(name) for name in names if name != AUTO}
    for option in given:
        if not any(option in taken for taken in takes.values()):
            raise InputError(f"{FLAGS[option]}: not an option of the engine {', '.join(names)}")
    return EngineChoice(
        tuple(
            None
            if name == AUTO
            else _ready(name, {o: v for o, v in given.items() if o in takes[name]})
            for name in names
        ),
        scheduler,
    )


def _ready(name: str, options: dict[str, Any]) -> Engine:
    engine = get_engine(name, **options)
    engine.require()
    return engine
