"""Benchmarks: contenders side by side in one run, reported as ratios.

* **Cases.** Size, batch, activity, topology and threads; see :class:`BenchConfig`. Synthetic
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
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.bench.config import BenchConfig, Case, available_cores
from pvae_neuro.bench.contenders import CONTENDERS, Contender, Setting, Workload, blas_threads
from pvae_neuro.bench.networks import pinned_float_model, pinned_network, random_images
from pvae_neuro.bench.timing import Entry, Measurement, calibrate, interleave, measurements
from pvae_neuro.errors import EngineError, InputError, MissingDependencyError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.utils.progress import StageProgress, no_stages

if TYPE_CHECKING:
    from pvae_neuro.artifact import Artifact

SCHEMA_VERSION = 2
_BASELINES = ("pytorch", "reference")
_PACKAGES = ("pvae-neuro", "numpy", "numba", "llvmlite", "torch", "onnxruntime")
# Why a contender has no figure, while the others go on.
_LEFT_OUT = (EngineError, MissingDependencyError)


@dataclass(frozen=True)
class CaseResult:
    """What was measured in a case.

    Attributes
    ----------
    topology : str
    model : str or None
        File name of the artifact.
    latents, pixels, batch, threads : int
    activity_target : float or None
        Share of neurons that was asked for.
    activity : float
        Share of neurons that fire per iteration, measured.
    measurements : tuple of Measurement
    skipped : dict of str to str
        Why a contender has no figure in this case.
    """

    topology: str
    model: str | None
    latents: int
    pixels: int
    batch: int
    threads: int
    activity_target: float | None
    activity: float
    measurements: tuple[Measurement, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    def measurement(self, engine: str) -> Measurement | None:
        """Figures of a contender; None if it was skipped."""
        return next((m for m in self.measurements if m.engine == engine), None)


@dataclass(frozen=True, eq=False)
class BenchResult:
    """A whole benchmark.

    Attributes
    ----------
    config : BenchConfig
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

    config: BenchConfig
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
            "config": self.config.to_dict(),
            "seconds": self.seconds,
            "cases": [
                {**asdict(case), "measurements": [asdict(m) for m in case.measurements]}
                for case in self.cases
            ],
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
    config: BenchConfig,
    progress: StageProgress = no_stages,
    contenders: Mapping[str, Contender] = CONTENDERS,
) -> BenchResult:
    """Run a benchmark.

    Parameters
    ----------
    config : BenchConfig
    progress : callable
        Takes the case, the measurements taken in it, and how many it needs.
    contenders : dict of str to Contender
        By the names that ``config.engines`` uses.

    Raises
    ------
    InputError
        If a file does not fit, a contender is unknown, or none of them can run here.
    """
    start = time.perf_counter()
    skipped = _cannot_run(config, contenders)
    names = [name for name in config.engines if name not in skipped]
    if not names:
        raise InputError(f"no contender can run here: {'; '.join(skipped.values())}")
    chosen = {name: contenders[name] for name in names}
    bench = _Bench(config, chosen, _baseline(config, names))
    cases = [bench.run(case, progress) for case in config.cases()]
    return BenchResult(
        config=config,
        baseline=bench.baseline,
        engines={name: contender.about for name, contender in chosen.items()},
        skipped=skipped,
        cases=tuple(cases),
        seconds=time.perf_counter() - start,
    )


def _cannot_run(config: BenchConfig, contenders: Mapping[str, Contender]) -> dict[str, str]:
    skipped: dict[str, str] = {}
    for name in config.engines:
        if name not in contenders:
            raise InputError(f"engines: expected one of {', '.join(contenders)}; got {name!r}")
        try:
            contenders[name].require()
        except _LEFT_OUT as error:
            skipped[name] = str(error)
    return skipped


def _baseline(config: BenchConfig, names: list[str]) -> str:
    """Return the wanted baseline, or another one that can run if none was asked for."""
    if config.baseline is not None:
        return config.baseline
    return next((name for name in _BASELINES if name in names), names[0])


class _Bench:
    """Runs cases; keeps the network of the one before, which the next often shares."""

    def __init__(
        self, config: BenchConfig, contenders: Mapping[str, Contender], baseline: str
    ) -> None:
        self.config, self.contenders, self.baseline = config, contenders, baseline
        # Read first: a file that does not fit is refused before any timing.
        self._artifacts = {path: _load(path) for path in config.models}
        self._kept: tuple[object, IntegerNetwork] | None = None

    def run(self, case: Case, progress: StageProgress) -> CaseResult:
        """Time every contender in a case."""
        skipped: dict[str, str] = {}
        entries: list[Entry] = []
        with ExitStack() as stack:
            stack.enter_context(blas_threads(case.threads))
            workload = self._workload(case)
            setting = Setting(case, workload, self.config.seed, stack)
            for name, contender in self.contenders.items():
                try:
                    entry = contender.prepare(setting)
                    calibrate(entry, self.config.rules)
                    entries.append(entry)
                except _LEFT_OUT as error:
                    skipped[name] = str(error)
            total, done = sum(entry.turns for entry in entries), 0

            def advance(count: int) -> None:
                nonlocal done
                done += count
                progress(str(case), done, total)

            skipped |= interleave(entries, self.config.seed, advance)
        kept = [entry for entry in entries if entry.name not in skipped]
        return self._result(case, workload, kept, skipped)

    def _result(
        self, case: Case, workload: Workload, entries: list[Entry], skipped: dict[str, str]
    ) -> CaseResult:
        network = workload.network
        return CaseResult(
            topology=network.name,
            model=None if case.model is None else Path(case.model).name,
            latents=_neurons(network),
            pixels=network.input.size,
            batch=case.batch,
            threads=case.threads,
            activity_target=case.activity,
            activity=workload.activity,
            measurements=measurements(entries, self.baseline),
            skipped=skipped,
        )

    def _workload(self, case: Case) -> Workload:
        key = (case.topology, case.latents, case.activity, case.model)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._network(case)
        network = self._kept[1]
        images = self._images(case, network)
        activity = measured_activity(network, images, self.config.seed, self.config.rules.steps)
        return Workload(network, images, activity, self._float_model(case, network, activity))

    def _network(self, case: Case) -> IntegerNetwork:
        if case.model is not None:
            return self._artifacts[case.model].network
        if case.topology is None or case.latents is None or case.activity is None:
            raise InputError(f"case {case}: expected a model or topology, latents and activity")
        seed, pixels = self.config.seed, self.config.pixels
        return pinned_network(case.topology, case.latents, pixels, case.activity, seed)

    def _images(self, case: Case, network: IntegerNetwork) -> NDArray[np.float32]:
        if case.model is None:
            return random_images(network, case.batch, self.config.seed)
        if self.config.images is None:
            golden = self._artifacts[case.model].golden.pixels
            images = golden.astype(np.float64) * 2.0**-network.input.frac_bits
        else:
            images = _read_images(self.config.images, network)
        return np.resize(images, (case.batch, network.input.size)).astype(np.float32)

    def _float_model(self, case: Case, network: IntegerNetwork, activity: float) -> SavedModel:
        size, pixels = _neurons(network), network.input.size
        if case.model is None or self.config.float_model is None:
            return pinned_float_model(size, pixels, activity, self.config.seed)
        from pvae_neuro.saved.model_file import load_model

        model = load_model(self.config.float_model)
        if (model.config.latents, model.config.pixels) != (size, pixels):
            raise InputError(
                f"{self.config.float_model}: expected {size} latents and {pixels} pixels as "
                f"{case.model}, got {model.config.latents} and {model.config.pixels}"
            )
        return model


def measured_activity(
    network: IntegerNetwork, images: NDArray[np.float32], seed: int, steps: int | None = None
) -> float:
    """Share of neurons that fire per iteration, in a run of the fastest engine on few images."""
    few = images[:8]
    steps = steps or max(16, 256 // len(few))
    recording = fastest_engine(network).run(network, few, steps, seed)
    if recording.active is None:
        raise InputError(f"network {network.name!r}: expected one that draws counts")
    return float(recording.active.mean()) / _neurons(network)


def _neurons(network: IntegerNetwork) -> int:
    """Neurons of the population that is read out."""
    if network.latents is None:
        raise InputError(f"network {network.name!r}: expected one that draws counts")
    return network.latents.size


def _load(path: str) -> Artifact:
    from pvae_neuro.artifact import load_artifact

    return load_artifact(path)


def _read_images(path: str, network: IntegerNetwork) -> NDArray[np.float64]:
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a .npy file of images, got {error}") from error
    pixels = network.input.size
    if not isinstance(images, np.ndarray) or images.size == 0 or images.size % pixels:
        raise InputError(f"{path}: expected images of {pixels} pixels")
    return images.reshape(-1, pixels).astype(np.float64)
