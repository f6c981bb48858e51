"""Engines from what was typed, refused before any work where they cannot run."""

from __future__ import annotations

from importlib.util import find_spec

from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.sim.engine import Engine, engine_names, get_engine

AUTO = "auto"
# Quickest first; all give the same integers.
_BY_SPEED = (("fast", "numba"), ("onnx", "onnxruntime"))


def make_engine(
    name: str, timeout: float | None = None, *, batch: int = 1, scheduler: str | None = None
) -> Engine:
    """Engine of that name, ready to run.

    Parameters
    ----------
    name : str
        Or ``auto``, the quickest that is installed.
    timeout : float, optional
        Seconds without progress after which the lava engine is given up.
    batch : int
        Samples side by side in the lava engine.
    scheduler : str, optional
        Run on the workers of a Dask scheduler: ``local``, or its address.

    Returns
    -------
    Engine

    Raises
    ------
    InputError
        If there is no such engine.
    EngineUnavailableError
        If its dependency is missing.
    """
    engine = _local(name, timeout, batch)
    if scheduler is None:
        return engine
    from pvae_neuro.cluster.engine import engine_for

    return engine_for(engine, scheduler)


def _local(name: str, timeout: float | None, batch: int) -> Engine:
    if name == AUTO:
        name = quickest()
    if name == "lava":
        return _lava(timeout, batch)
    if name == "onnx" and not _found("onnxruntime"):
        raise EngineUnavailableError(
            "onnx: onnxruntime is not installed; pip install 'pvae-neuro[onnx-runtime]'"
        )
    return get_engine(name)


def quickest() -> str:
    """Name of the quickest engine that is installed."""
    return next((engine for engine, needs in _BY_SPEED if _found(needs)), "reference")


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _lava(timeout: float | None, batch: int) -> Engine:
    from pvae_neuro.sim.lava.available import require_lava
    from pvae_neuro.sim.lava.engine import LavaEngine

    require_lava()
    return LavaEngine(batch=batch) if timeout is None else LavaEngine(timeout, batch)


def make_engines(
    names: str, timeout: float | None = None, *, batch: int = 1, scheduler: str | None = None
) -> list[Engine]:
    """Engines of a comma-separated list, each once; options as in :func:`make_engine`.

    Raises
    ------
    InputError
        If the list is empty or a name unknown.
    EngineUnavailableError
        If the dependency of one is missing.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise InputError(
            f"--engines: expected a list such as reference,onnx of {', '.join(engine_names())}; "
            f"got {names!r}"
        )
    if AUTO in wanted:
        fastest = quickest()
        wanted = list(dict.fromkeys(["reference", fastest, "onnx"]))
        wanted = [name for name in wanted if name != "onnx" or _found("onnxruntime")]
    return [make_engine(name, timeout, batch=batch, scheduler=scheduler) for name in wanted]
