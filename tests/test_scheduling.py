"""Blocks on other processes: the same integers, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from models import random_images, random_model

distributed = pytest.importorskip(
    "distributed", reason="needs dask: pip install 'pvae-neuro[cluster]'"
)

import scheduled_engines  # noqa: E402

from pvae_neuro.cluster import dask as cluster_dask  # noqa: E402
from pvae_neuro.cluster.dask import _result  # noqa: E402
from pvae_neuro.cluster.engine import ScheduledEngine, engine_for  # noqa: E402
from pvae_neuro.cluster.worker import call  # noqa: E402
from pvae_neuro.errors import EngineError, InputError, MissingDependencyError  # noqa: E402
from pvae_neuro.evaluation.evaluate import evaluate  # noqa: E402
from pvae_neuro.sim.engine import Engine, get_engine  # noqa: E402
from pvae_neuro.sim.recording import Recording  # noqa: E402
from pvae_neuro.sim.reference import ReferenceEngine  # noqa: E402
from pvae_neuro.verification.verify import verify  # noqa: E402

pytestmark = [
    pytest.mark.cluster,
    # Sockets that dask leaves to the garbage collector when a worker or scheduler goes away.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in.*socket:pytest.PytestUnraisableExceptionWarning"
    ),
    # Busy machines start workers slowly, which dask remarks upon.
    pytest.mark.filterwarnings("ignore:Creating scratch directories:UserWarning"),
]
NETWORK = toy.lateral()
IMAGES = toy.images(NETWORK, 40)
STEPS = 5


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Scheduler with two workers, each a process of one thread."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


def scheduled(address: str, engine: Any = "reference", **options: Any) -> ScheduledEngine:
    return ScheduledEngine(engine, address, **{"block": 3, **options})


def assert_equal(first: Recording, second: Recording) -> None:
    for field in fields(Recording):
        a, b = (getattr(recording, field.name) for recording in (first, second))
        if isinstance(a, dict):
            assert a.keys() == b.keys()
        pairs = zip(a.values(), b.values(), strict=True) if isinstance(a, dict) else [(a, b)]
        for one, other in pairs:
            assert_same(one, other, field.name)


def assert_same(a: Any, b: Any, name: str) -> None:
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, name)
    else:
        assert a == b, name


@pytest.mark.parametrize("record", ["last", "summary", "full", ["latents.u"]], ids=str)
@pytest.mark.parametrize("make", [toy.lateral, toy.predictive])
def test_same_integers_as_one_process(address: str, make: Any, record: Any) -> None:
    network = make()
    images = toy.images(network, 40)
    told: list[int] = []
    with scheduled(address) as engine:
        got = engine.run(
            network, images, STEPS, 3, record=record, first_sample=7, progress=told.append
        )
    expected = ReferenceEngine().run(network, images, STEPS, 3, record=record, first_sample=7)
    assert_equal(got, expected)
    assert sorted(told) == [STEPS] + 13 * [3 * STEPS]


@pytest.mark.parametrize("block", [1, 40, None])
def test_blocks_change_no_integer(address: str, block: int | None) -> None:
    expected = ReferenceEngine().run(NETWORK, IMAGES[:17], STEPS, 3)
    with scheduled(address, block=block) as engine:
        assert_equal(engine.run(NETWORK, IMAGES[:17], STEPS, 3), expected)


def test_the_fast_engine_runs_on_workers(address: str) -> None:
    pytest.importorskip("llvmlite", reason="engine fast needs llvmlite")
    with scheduled(address, "fast", block=13) as engine:
        got = engine.run(NETWORK, IMAGES, STEPS, 3)
    assert_equal(got, ReferenceEngine().run(NETWORK, IMAGES, STEPS, 3))


@pytest.mark.parametrize("reset", [False, True])
def test_frames_run_on_workers(address: str, reset: bool) -> None:
    frames = IMAGES[:12].reshape(4, 3, -1)
    with scheduled(address, block=1) as engine:
        got = engine.run(NETWORK, frames, STEPS, 3, record="full", reset=reset)
    assert got.frames == 3
    assert_equal(got, ReferenceEngine().run(NETWORK, frames, STEPS, 3, record="full", reset=reset))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("everyone", [True, False])
def test_a_killed_worker_loses_nothing(address: str, everyone: bool) -> None:
    images = np.tile(IMAGES, (3, 1))
    told: list[int] = []
    killed: set[int] = set()
    with scheduled(address) as engine, distributed.Client(address) as client:
        workers = client.run(os.getpid)

        def kill(done: int) -> None:
            told.append(done)
            if len(told) == 5:
                kept = [who for key, who in client.who_has().items() if "pvae-neuro" in str(key)]
                for worker in workers if everyone else kept[0][:1]:
                    os.kill(workers[worker], signal.SIGKILL)
                    killed.add(workers[worker])

        got = engine.run(NETWORK, images, STEPS, 3, record="full", progress=kill)
        assert not killed & set(client.run(os.getpid, on_error="ignore").values())
    assert len(killed) == (len(workers) if everyone else 1)
    assert sum(told) == len(images) * STEPS
    assert_equal(got, ReferenceEngine().run(NETWORK, images, STEPS, 3, record="full"))


def test_the_network_travels_once(address: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with scheduled(address, scheduled_engines.Unpacked(log), block=1) as engine:
        for _ in range(2):
            engine.run(NETWORK, IMAGES, STEPS, 3)
    assert 1 <= log.read_text().count("arrived") <= 3  # to one worker, and from there to the other


def test_evaluate_and_verify_take_a_scheduled_engine(address: str) -> None:
    model = random_model()
    inputs = random_images(model, 12)
    with scheduled(address) as engine:
        here = evaluate(NETWORK, IMAGES, steps=STEPS, engine="reference")
        there = evaluate(NETWORK, IMAGES, steps=STEPS, engine=engine)
        assert there.engine == f"reference@{address}"
        for name in ("mse", "r2", "zeros"):
            np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
        here = evaluate(model, inputs, steps=STEPS)
        told: list[int] = []
        there = evaluate(model, inputs, steps=STEPS, engine=engine, progress=told.append)
        assert there.engine == "float"
        assert sum(told) == len(inputs) * STEPS
        np.testing.assert_allclose(there.mse, here.mse, rtol=1e-6)
        report = verify(NETWORK, None, IMAGES, steps=STEPS, engines=["reference", engine])
    assert report.passed
    assert [pair.compared_integers > 0 for pair in report.pairs] == [True]


def test_workers_start_before_the_run_is_timed() -> None:
    with engine_for("reference", "local", workers=1) as engine:
        assert isinstance(engine, ScheduledEngine)
        assert engine._connection._client is None
        engine.prepare(NETWORK)
        client = engine._connection._client
        assert client is not None
        got = engine.run(NETWORK, IMAGES, STEPS, 3)
        assert engine._connection._client is client
    assert_equal(got, ReferenceEngine().run(NETWORK, IMAGES, STEPS, 3))


def test_errors_of_a_block_reach_the_caller(address: str) -> None:
    failing = scheduled_engines.Failing(scheduled_engines.FAILURES["engine"])
    with scheduled(address, failing) as engine, pytest.raises(EngineError, match=r"^out of order$"):
        engine.run(NETWORK, IMAGES, STEPS, 3)
    failing = scheduled_engines.Failing(scheduled_engines.FAILURES["other"])
    with (
        scheduled(address, failing) as engine,
        pytest.raises(EngineError, match=r"^a worker failed: ZeroDivisionError: 1 / 0$"),
    ):
        engine.run(NETWORK, IMAGES, STEPS, 3)


def test_frames_travel_too(address: str) -> None:
    frames = IMAGES[:30].reshape(10, 3, -1)
    told: list[int] = []
    with scheduled(address) as engine:
        got = engine.run(NETWORK, frames, STEPS, 3, record="full", progress=told.append)
    assert_equal(got, ReferenceEngine().run(NETWORK, frames, STEPS, 3, record="full"))
    assert sum(told) == 10 * 3 * STEPS


def test_is_an_engine_that_lacks_what_its_workers_lack() -> None:
    engine = ScheduledEngine("reference", "tcp://127.0.0.1:1")
    assert isinstance(engine, Engine) and engine.name == "reference@tcp://127.0.0.1:1"
    assert engine.unsupported(NETWORK) == []
    small = ScheduledEngine(scheduled_engines.Small(), "tcp://127.0.0.1:1")
    with pytest.raises(EngineError, match="engine small does not have the connection kind"):
        small.run(NETWORK, IMAGES, STEPS, 3)


def test_inputs_are_refused_before_anything_travels() -> None:
    nowhere = ScheduledEngine("reference", "tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="expected shape"):
        nowhere.run(NETWORK, IMAGES[:, 1:], STEPS, 3)
    with pytest.raises(InputError, match="steps: expected 1 to"):
        nowhere.run(NETWORK, IMAGES, 0, 3)
    with pytest.raises(InputError, match="record"):
        nowhere.run(NETWORK, IMAGES, STEPS, 3, record="all")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("engine", "scheduler", "options", "message"),
    [
        ("abacus", "local", {}, "engine: expected one of reference"),
        ("reference", "elsewhere", {}, "expected local, or an address .* got 'elsewhere'"),
        ("reference", "tcp://host", {}, "expected local, or an address"),
        ("reference", "local", {"workers": 0}, "workers: expected at least 1, got 0"),
        ("reference", "local", {"threads": 0}, "threads: expected at least 1, got 0"),
        ("reference", "tcp://host:1", {"workers": 2}, "only the scheduler local starts workers"),
        ("reference", "local", {"block": 0}, "block: expected at least 1 sample, got 0"),
        ("reference", "local", {"timeout": 0.0}, "timeout: expected a positive number"),
        ("reference", None, {"block": 3}, "block: expected a scheduler with it, got none"),
    ],
)
def test_options_that_cannot_be_meant(
    engine: str, scheduler: str | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        engine_for(engine, scheduler, **options)


def test_a_scheduler_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        engine = scheduled(address, timeout=1.0)
        with pytest.raises(EngineError, match=rf"scheduler {address}: no answer within 1 s"):
            engine.run(NETWORK, IMAGES, STEPS, 3)


def test_a_scheduler_without_workers() -> None:
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster:
        engine = scheduled(cluster.scheduler_address, patience=0.5)
        with engine, pytest.raises(EngineError, match=r"no worker for 0\.5 s; start some"):
            engine.run(NETWORK, IMAGES, STEPS, 3)


def test_workers_of_another_version_are_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = cluster_dask.own_version()
    monkeypatch.setattr(cluster_dask, "own_version", lambda: "99.0")
    with pytest.raises(EngineError, match=rf"expected pvae-neuro 99\.0, as here, got {ours};"):
        scheduled(address).run(NETWORK, IMAGES, STEPS, 3)
    monkeypatch.undo()
    with pytest.raises(EngineError, match=rf"joined with pvae-neuro {ours}, expected 99\.0;"):
        call("99.0", len, ())


def test_a_block_that_kills_its_workers_is_an_error() -> None:
    class Future:
        def result(self) -> None:
            raise distributed.KilledWorker("block", "worker", 3)

    with pytest.raises(EngineError, match="killed every worker that tried it"):
        _result(Future())  # type: ignore[arg-type]


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pvae-neuro\[cluster\]'"):
        ScheduledEngine("reference", "tcp://host:2")


def test_engine_for_without_a_scheduler() -> None:
    assert isinstance(engine_for("reference"), ReferenceEngine)
    engine = get_engine("reference")
    assert engine_for(engine) is engine


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups on this system")
def test_interrupt_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    # A terminal sends Ctrl-C to the whole group: workers must leave the decision to the first.
    with subprocess.Popen(
        [sys.executable, "-W", "error", scheduled_engines.__file__],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "going\n"
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=100)
            assert out.replace("going\n", "") == "interrupted\n"
            assert err == ""
            assert process.returncode == 130
            assert not list(tmp_path.iterdir())
            assert not group_after(process.pid, seconds=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def group_after(group: int, seconds: float) -> list[str]:
    """Living processes of a group, given some time to end."""
    deadline = time.monotonic() + seconds
    while True:
        lines = subprocess.run(
            ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        rows = [line.split(maxsplit=2) for line in lines]
        alive = [" ".join(row) for row in rows if row[0] == str(group) and row[1][0] != "Z"]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.2)
