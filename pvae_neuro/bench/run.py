"""Benchmarks: contenders side by side in one run, reported as ratios.

Methodology
-----------
* **Cases.** Size, batch, activity, topology and threads; see :class:`BenchConfig`. Synthetic
  networks keep their activity for ever (:mod:`pvae_neuro.bench.networks`), and what they really
  attain is measured and reported with the case. A real artifact runs as it is.
* **Unit.** Microseconds per image and iteration of whole calls: encoding of the images, drive and
  summaries included, imports, compilation and loading not. Engines draw once more than they
  iterate, for the readout; that draw counts against them.
* **Like with like.** ``fast`` and ``torch`` both give reconstruction and error of every iteration;
  ``fast-bare`` and ``torch-bare`` both give the final state alone. What an iteration of each
  contender does is in the result (``engines``). Other frameworks run cells of their own dynamics.
* **Turns.** Each contender is warmed up, then measured in ``repeats`` turns, all contenders within
  a turn, in an order shuffled anew for each turn. Before each measurement the contender runs
  briefly untimed. A measurement lasts at least ``min_seconds``.
* **Figures.** Median and quartiles over the turns; ratios are formed within a turn, then
  summarized, so that a machine that slows down for a while does not tilt them.
* **Threads.** numba, PyTorch, BLAS and ONNX Runtime get the same number; the settings found are in
  the result. Lava takes one thread for each of its processes.
* **Nothing is made up.** A contender that is not installed, fails, or would take longer than
  ``limit_seconds`` has no figure but a reason; what the system does not tell is null.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.bench.config import BenchConfig, Case
from pvae_neuro.bench.contenders import CONTENDERS, Setting, missing, prepare
from pvae_neuro.bench.machine import machine, thread_settings, use_threads, versions
from pvae_neuro.bench.networks import (
    Workload,
    measured_activity,
    pinned_float_model,
    pinned_network,
    random_images,
)
from pvae_neuro.bench.result import BenchResult, CaseResult, Measurement, Spread, measurements
from pvae_neuro.bench.timing import Entry, calibrate, interleave
from pvae_neuro.bench.view import bench_table, figure, save_figure
from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel

__all__ = [
    "BenchConfig",
    "BenchResult",
    "Case",
    "CaseResult",
    "Measurement",
    "Spread",
    "bench_table",
    "figure",
    "run_bench",
    "save_figure",
]

# Told the share that is done, in [0, 1], and what is being timed.
BenchProgress = Callable[[float, str], None]


def run_bench(config: BenchConfig, progress: BenchProgress | None = None) -> BenchResult:
    """Run a benchmark.

    Parameters
    ----------
    config : BenchConfig
    progress : callable, optional
        Told the share done and the case, after every measurement.

    Returns
    -------
    BenchResult

    Raises
    ------
    InputError
        If a file does not fit, or no contender of the list can run here.
    """
    start = time.perf_counter()
    skipped = {name: why for name in config.engines if (why := missing(name)) is not None}
    names = [name for name in config.engines if name not in skipped]
    if not names:
        raise InputError(f"no contender can run here: {skipped}")
    before = machine()
    bench = _Bench(config, names, _baseline(config, names))
    cases = config.cases()
    found = []
    for place, case in enumerate(cases):
        tell = _Teller(progress, place, len(cases), str(case))
        found.append(bench.run(case, tell))
    return BenchResult(
        config=config,
        baseline=bench.baseline,
        machine=before,
        versions=versions(),
        threads=bench.thread_settings,
        engines={name: CONTENDERS[name].about for name in names},
        skipped=skipped,
        cases=tuple(found),
        seconds=time.perf_counter() - start,
    )


def _baseline(config: BenchConfig, names: list[str]) -> str:
    """Return the wanted baseline, or another one that can run if none was asked for."""
    wanted = config.choose_baseline()
    if wanted in names or config.baseline is not None:
        return wanted
    return "reference" if "reference" in names else names[0]


class _Teller:
    """Turns measurements within a case into the share of the whole."""

    def __init__(self, progress: BenchProgress | None, place: int, cases: int, label: str) -> None:
        self._progress, self._place, self._cases, self._label = progress, place, cases, label
        self._done, self._total = 0, 1

    def expect(self, measurements: int) -> None:
        self._total = max(1, measurements)
        self.tick(0)

    def tick(self, count: int = 1) -> None:
        self._done = min(self._done + count, self._total)
        if self._progress is not None:
            share = self._done / self._total
            self._progress((self._place + share) / self._cases, self._label)


class _Bench:
    """Runs cases; keeps the networks of the one before, which the next often shares."""

    def __init__(self, config: BenchConfig, names: list[str], baseline: str) -> None:
        self.config, self.names, self.baseline = config, names, baseline
        self.thread_settings: dict[str, Any] = {}
        self._modules = {module for name in names for module in CONTENDERS[name].needs}
        self._kept: tuple[object, IntegerNetwork] | None = None

    def run(self, case: Case, tell: _Teller) -> CaseResult:
        """Time every contender in a case."""
        skipped: dict[str, str] = {}
        entries: list[Entry] = []
        with ExitStack() as stack:
            stack.enter_context(use_threads(case.threads, self._modules))
            tell.expect(1)
            workload = self._workload(case)
            setting = Setting(case, workload, self.config.seed, stack)
            for name in self.names:
                try:
                    entry = prepare(name, setting)
                    calibrate(entry, self.config)
                    entries.append(entry)
                except (EngineError, EngineUnavailableError) as error:
                    skipped[name] = str(error)
            tell.expect(sum(entry.turns for entry in entries))
            skipped |= interleave(entries, self.config.seed, tell.tick)
            self.thread_settings[str(case.threads)] = thread_settings()
        kept = [entry for entry in entries if entry.name not in skipped]
        return self._result(case, workload, kept, skipped)

    def _result(
        self, case: Case, workload: Workload, entries: list[Entry], skipped: dict[str, str]
    ) -> CaseResult:
        network = workload.network
        return CaseResult(
            topology=network.topology,
            model=None if case.model is None else Path(case.model).name,
            latents=network.latents.size,
            pixels=network.input.pixels,
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
        activity = measured_activity(network, images, self.config.seed, self.config.steps)
        return Workload(network, images, activity, self._float_model(case, network, activity))

    def _network(self, case: Case) -> IntegerNetwork:
        if case.model is not None:
            from pvae_neuro.artifact import load_artifact

            return load_artifact(case.model).network
        if case.topology is None or case.latents is None or case.activity is None:
            raise InputError(f"case {case}: expected a model or topology, latents and activity")
        seed, pixels = self.config.seed, self.config.pixels
        return pinned_network(case.topology, case.latents, pixels, case.activity, seed)

    def _images(self, case: Case, network: IntegerNetwork) -> NDArray[np.float32]:
        if case.model is None:
            return random_images(network, case.batch, self.config.seed)
        if self.config.images is None:
            from pvae_neuro.artifact import load_artifact

            golden = load_artifact(case.model).golden.pixels
            images = golden.astype(np.float64) * 2.0**-network.input.frac_bits
        else:
            images = _read_images(self.config.images, network)
        return np.resize(images, (case.batch, network.input.pixels)).astype(np.float32)

    def _float_model(self, case: Case, network: IntegerNetwork, activity: float) -> SavedModel:
        size, pixels = network.latents.size, network.input.pixels
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


def _read_images(path: str, network: IntegerNetwork) -> NDArray[np.float64]:
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a .npy file of images, got {error}") from error
    pixels = network.input.pixels
    if not isinstance(images, np.ndarray) or images.size == 0 or images.size % pixels:
        raise InputError(f"{path}: expected images of {pixels} pixels")
    return images.reshape(-1, pixels).astype(np.float64)
