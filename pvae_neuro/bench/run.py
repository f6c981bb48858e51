"""Benchmarks: contenders side by side in one run, reported as ratios.

* **Cases.** Size, batch, activity, topology and threads. Synthetic
  networks keep their activity for ever (:mod:`pvae_neuro.bench.networks`); the activity that they
  attain is measured and reported with the case. A real artifact runs as it is.
* **Unit.** Microseconds per image and iteration of whole calls: encoding of the images, drive and
  summaries included, imports, compilation and loading not. Engines draw once more than they
  iterate, for the readout; that draw counts against them.
* **Like with like.** ``fast`` and ``pytorch`` both give reconstruction and error of every
  iteration; ``fast-bare`` and ``pytorch-bare`` both give the final state alone.
* **Turns.** Each contender is warmed up, then measured in turns, all contenders within a turn, in
  an order shuffled anew for each turn. Before each measurement the contender runs briefly untimed.
* **Figures.** Median and quartiles over the turns; ratios are formed within a turn, then
  summarized, so that a machine that slows down for a while does not tilt them.
* **Threads.** Engines, PyTorch and BLAS get the same number.
* **Nothing is made up.** A contender that is not installed, fails, or would take too long has no
  figure but a reason.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from pvae_neuro.bench.cases import Case, available_cores
from pvae_neuro.bench.contenders import CONTENDERS, KNOWN, Contender
from pvae_neuro.bench.timing import (
    Entry,
    Measurement,
    Rules,
    calibrate,
    interleave,
    measurements,
)
from pvae_neuro.errors import EngineError, InputError, MissingDependencyError
from pvae_neuro.utils.progress import StageProgress, no_stages, stage_advance

SCHEMA_VERSION = 2
_BASELINES = ("pytorch", "reference")
_PACKAGES = ("pvae-neuro", "numpy", "numba", "llvmlite", "torch", "onnxruntime")
# Why a contender has no figure, while the others go on.
_LEFT_OUT = (EngineError, MissingDependencyError)


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What was measured in a case.

    Attributes
    ----------
    case : Case
    measurements : tuple of Measurement
    skipped : dict of str to str
        Why a contender has no figure in this case.
    """

    case: Case
    measurements: tuple[Measurement, ...]
    skipped: dict[str, str]

    def measurement(self, engine: str) -> Measurement | None:
        """Figures of a contender; None if it was skipped."""
        return next((m for m in self.measurements if m.engine == engine), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        case = self.case
        return {
            "topology": case.network.name,
            "model": case.model,
            "latents": case.latents,
            "pixels": case.network.input.size,
            "batch": len(case.images),
            "threads": case.threads,
            "activity_target": case.activity_target,
            "activity": case.activity,
            "measurements": [asdict(m) for m in self.measurements],
            "skipped": self.skipped,
        }


@dataclass(frozen=True, eq=False)
class BenchResult:
    """A whole benchmark.

    Attributes
    ----------
    rules : Rules
    baseline : str
        Contender that ratios refer to.
    engines : dict of str to str
        What one iteration of each contender does.
    skipped : dict of str to str
        Contenders that cannot run here, and why.
    cases : tuple of CaseResult
    seconds : float
        Duration of it all.
    """

    rules: Rules
    baseline: str
    engines: dict[str, str]
    skipped: dict[str, str]
    cases: tuple[CaseResult, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "baseline": self.baseline,
            "machine": {"processor": platform.processor() or None, "cores": available_cores()},
            "versions": {"python": platform.python_version(), **_versions()},
            "engines": self.engines,
            "skipped": self.skipped,
            "rules": asdict(self.rules),
            "seconds": self.seconds,
            "cases": [case.to_dict() for case in self.cases],
        }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def run_bench(
    cases: Iterable[Case],
    contenders: Mapping[str, Contender] = CONTENDERS,
    rules: Rules = Rules(),  # noqa: B008 - it is frozen
    *,
    baseline: str | None = None,
    progress: StageProgress = no_stages,
) -> BenchResult:
    """Time every contender in every case.

    Parameters
    ----------
    cases : iterable of Case
    contenders : mapping of str to Contender
        One that cannot run here is left out, and the reason kept.
    rules : Rules
    baseline : str, optional
        Contender that ratios refer to; by default ``pytorch`` if it runs here, else ``reference``.
    progress : callable, optional
        Takes the case, the measurements taken in it, and how many it needs.

    Raises
    ------
    InputError
        If no contender can run here, or the baseline cannot.
    """
    start = time.perf_counter()
    skipped = _cannot_run(contenders)
    able = {name: contenders[name] for name in contenders if name not in skipped}
    if not able:
        raise InputError(f"no contender can run here: {'; '.join(skipped.values())}")
    if baseline is None:
        baseline = next((name for name in _BASELINES if name in able), next(iter(able)))
    elif baseline not in able:
        raise InputError(f"baseline: expected one of {', '.join(able)}; got {baseline!r}")
    results = [_run_case(case, able, rules, baseline, progress) for case in cases]
    return BenchResult(
        rules=rules,
        baseline=baseline,
        engines={name: contender.about for name, contender in able.items()},
        skipped=skipped,
        cases=tuple(results),
        seconds=time.perf_counter() - start,
    )


def choose_contenders(
    names: Iterable[str], known: Mapping[str, Contender] = KNOWN
) -> dict[str, Contender]:
    """Contenders of these names; raise :class:`InputError` if one is unknown, or there is none."""
    chosen: dict[str, Contender] = {}
    for name in names:
        if name not in known:
            raise InputError(f"contender: expected one of {', '.join(known)}; got {name!r}")
        chosen[name] = known[name]
    if not chosen:
        raise InputError(f"contenders: expected at least one of {', '.join(known)}")
    return chosen


def _cannot_run(contenders: Mapping[str, Contender]) -> dict[str, str]:
    skipped: dict[str, str] = {}
    for name, contender in contenders.items():
        try:
            contender.require()
        except _LEFT_OUT as error:
            skipped[name] = str(error)
    return skipped


def _run_case(
    case: Case,
    contenders: Mapping[str, Contender],
    rules: Rules,
    baseline: str,
    progress: StageProgress,
) -> CaseResult:
    skipped: dict[str, str] = {}
    entries: list[Entry] = []
    with ExitStack() as stack:
        stack.enter_context(_blas_threads(case.threads))
        for name, contender in contenders.items():
            try:
                entry = contender.prepare(case, stack)
                calibrate(entry, rules)
                entries.append(entry)
            except _LEFT_OUT as error:
                skipped[name] = str(error)
        total = sum(entry.turns for entry in entries)
        skipped |= interleave(entries, case.seed, stage_advance(progress, str(case), total))
    kept = [entry for entry in entries if entry.name not in skipped]
    return CaseResult(case, measurements(kept, baseline), skipped)


@contextmanager
def _blas_threads(threads: int) -> Iterator[None]:
    """Let BLAS use so many threads for a while; does nothing without threadpoolctl."""
    if find_spec("threadpoolctl") is None:
        yield
        return
    with import_module("threadpoolctl").threadpool_limits(limits=threads, user_api="blas"):
        yield
