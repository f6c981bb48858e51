"""However a run ends, no process, temporary file or shared memory outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import toy

from pvae_neuro.errors import EngineError
from pvae_neuro.sim.lava import supervisor as supervision
from pvae_neuro.sim.lava.engine import LavaEngine, worker_command
from pvae_neuro.sim.lava.exchange import Job
from pvae_neuro.sim.lava.supervisor import Supervisor
from pvae_neuro.sim.reference import ReferenceEngine

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm"),
    # Each test owns the names that it looks for, but not the machine.
    pytest.mark.timeout(120),
]
needs_lava = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")

LONG_RUN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import toy
from pvae_neuro.sim.lava.engine import LavaEngine
network = toy.predictive()
told = lambda done: print("progress", flush=True)
LavaEngine().run(network, toy.images(network, 1), 10**6, 0, record="last", progress=told)
"""


def processes(token: str) -> list[int]:
    """Processes whose command line bears the token."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if token.encode() in command:
            found.append(int(folder.name))
    return found


def shared_memory() -> set[str]:
    """Every name, so that one that does not bear a token is seen too."""
    return {path.name for path in Path("/dev/shm").iterdir()}


def mapped_memory(token: str) -> set[str]:
    """Shared memory that the processes of a run hold: also what does not bear its token."""
    found = set()
    for process in processes(token):
        try:
            lines = Path(f"/proc/{process}/maps").read_text().splitlines()
        except OSError:
            continue
        # A semaphore is mapped by a name that it had while it was made.
        held = [line.partition("/dev/shm/")[2] for line in lines if not line.endswith("(deleted)")]
        found |= {name for name in held if name}
    return found


def assert_nothing_left(token: str, temporary: Path, within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while True:
        left = {
            "processes": processes(token),
            "shared memory": [name for name in shared_memory() if token in name],
            "files": [p.name for p in temporary.iterdir() if p.name.startswith(token)],
        }
        if not any(left.values()):
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.fixture
def temporary(monkeypatch) -> Iterator[Path]:
    """A temporary folder of the test's own, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def drive_to_the_end(code: str, timeout: float = 20.0) -> tuple[list[str], str]:
    """Run a script as the worker; its report descriptor is the last argument."""
    with Supervisor() as supervisor:
        supervisor.start([sys.executable, "-c", code])
        return list(supervisor.reports(lambda: 0, timeout)), supervisor.token


def test_reports_arrive_and_output_stays_away(temporary, capfd):
    code = (
        "import os, sys\nprint('noise')\nprint('noise', file=sys.stderr)\n"
        "status = int(sys.argv[-1])\nos.write(status, b'ready\\nblo')\nos.write(status, b'ck 0\\n')"
    )
    lines, token = drive_to_the_end(code)
    assert lines == ["ready", "block 0"]
    assert capfd.readouterr() == ("", "")
    assert_nothing_left(token, temporary)


def test_a_failing_worker_is_reported_with_the_end_of_its_log(temporary):
    with pytest.raises(EngineError, match=r"(?s)status 1; it printed last:.*ValueError: broken"):
        drive_to_the_end("raise ValueError('broken')")
    assert list(temporary.iterdir()) == []


def test_a_killed_worker_is_reported(temporary):
    with pytest.raises(EngineError, match="signal 9"):
        drive_to_the_end("import os; os.kill(os.getpid(), 9)")
    assert list(temporary.iterdir()) == []


def test_a_silent_worker_is_given_up(temporary):
    with pytest.raises(EngineError, match=r"no progress for 3 s; it printed last:\n  waiting"):
        drive_to_the_end("import time; print('waiting', flush=True); time.sleep(99)", timeout=3)
    assert list(temporary.iterdir()) == []


def test_a_worker_that_ignores_termination_and_its_children_end(temporary, monkeypatch):
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.fork(); os.fork()\ntime.sleep(99)"
    )
    with Supervisor() as supervisor:
        supervisor.start([sys.executable, "-c", code, supervisor.token])
        with pytest.raises(EngineError, match="no progress"):
            list(supervisor.reports(lambda: 0, 3))
        assert len(processes(supervisor.token)) == 5
    assert processes(supervisor.token) == []
    assert list(temporary.iterdir()) == []


@needs_lava
def test_modules_in_the_current_folder_are_not_taken_for_others(tmp_path, monkeypatch):
    """A clone has a folder of this package's name, and a user may have a file ``random.py``."""
    (tmp_path / "pvae_neuro").mkdir()
    for name in ("random.py", "types.py", "pvae_neuro/__init__.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    # As in an interactive session.
    monkeypatch.syspath_prepend("")
    network = toy.lateral()
    images = toy.images(network, 2)
    recording = LavaEngine().run(network, images, 3, 0, record="full")
    expected = ReferenceEngine().run(network, images, 3, 0, record="full")
    assert (recording["latents.z"] == expected["latents.z"]).all()


def test_shared_memory_of_killed_processes_is_unlinked(temporary):
    code = (
        "import os, sys\n"
        "open(f'/dev/shm/{sys.argv[1]}-a', 'w')\nopen(f'/dev/shm/sem.{sys.argv[1]}-b', 'w')"
    )
    with Supervisor() as supervisor:
        supervisor.start([sys.executable, "-c", code, supervisor.token])
        assert list(supervisor.reports(lambda: 0, 20)) == []
        assert sum(supervisor.token in name for name in shared_memory()) == 2
    assert_nothing_left(supervisor.token, temporary, within=0)


def test_a_killed_guardian_takes_its_worker_along(temporary):
    with Supervisor() as supervisor:
        supervisor.start([*worker_command(), str(supervisor.folder), supervisor.token])
        assert supervisor._guardian is not None
        supervisor._guardian.kill()
        with pytest.raises(EngineError, match="guardian process ended"):
            list(supervisor.reports(lambda: 0, 20))
    assert_nothing_left(supervisor.token, temporary)


def test_a_long_temporary_path_is_not_used(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with Supervisor() as supervisor:
        assert len(str(supervisor.folder)) <= 40 + supervision.LONGEST_TEMPORARY_PATH
    assert not supervisor.folder.exists()


def start_long_run() -> tuple[subprocess.Popen[str], str]:
    """A program that runs Lava for long, once its iterations have begun; and its token."""
    program = subprocess.Popen(
        [sys.executable, "-c", LONG_RUN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "progress\n", program.stderr and program.stderr.read()
    (folder,) = Path(os.environ["TMPDIR"]).glob("pvae-*")
    token = "-".join(folder.name.split("-")[:2])
    # Guardian, worker, Python's shared memory manager, five of Lava's processes and its service.
    assert len(processes(token)) >= 7
    assert mapped_memory(token)
    assert all(token in name for name in mapped_memory(token))
    return program, token


@needs_lava
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_a_program_that_is_stopped(number, temporary):
    program, token = start_long_run()
    program.send_signal(number)
    _, errors = program.communicate(timeout=30)
    assert_nothing_left(token, temporary)
    if number == signal.SIGINT:
        assert "KeyboardInterrupt" in errors
        assert "leaked" not in errors


@needs_lava
def test_the_engine_gives_up_and_leaves_nothing(temporary):
    network = toy.lateral()
    with pytest.raises(EngineError, match=r"no progress for 0\.2 s"):
        LavaEngine(timeout=0.2).run(network, toy.images(network, 1), 5, 0)
    assert list(temporary.iterdir()) == []


def stop_one_process(temporary: Path, number: int) -> None:
    """Send a signal to the youngest of Lava's processes."""
    (folder,) = temporary.glob("pvae-*")
    os.kill(max(processes(folder.name)), number)


@needs_lava
@pytest.mark.parametrize(
    ("number", "message"),
    [(signal.SIGKILL, "a process of Lava ended with status -9"), (signal.SIGSTOP, "no progress")],
)
def test_a_process_of_lava_that_stops_in_mid_run(number, message, temporary):
    network = toy.lateral()
    calls: list[int] = []

    def progress(done: int) -> None:
        if not calls:
            stop_one_process(temporary, number)
        calls.append(done)

    with pytest.raises(EngineError, match=message):
        # Long enough for a busy machine to start Lava.
        LavaEngine(timeout=30 if number == signal.SIGKILL else 12).run(
            network, toy.images(network, 1), 10**6, 0, progress=progress
        )
    assert list(temporary.iterdir()) == []


@needs_lava
def test_an_exception_inside_a_process_model_is_reported(temporary, monkeypatch):
    # One neuron too few, which nothing before the run lets through.
    write = Job.write

    def short(job: Job, inputs) -> None:
        write(job, {name: values[..., :11] for name, values in inputs.items()})

    monkeypatch.setattr(Job, "write", short)
    network = toy.lateral()
    with pytest.raises(EngineError, match=r"(?s)status 3; .*ValueError: could not broadcast"):
        LavaEngine(timeout=60).run(network, toy.images(network, 1), 3, 0)
    assert list(temporary.iterdir()) == []
