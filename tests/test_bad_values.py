"""Generated bad values end with one line: a sample of them; and the harness finds faults.

Commands run in children of a process that has imported everything, and has no threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("bad_values.py")


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_a_sample_of_bad_values_ends_with_one_line_each() -> None:
    for package in ("torch", "scipy", "PIL", "onnx"):
        pytest.importorskip(package, reason="the harness writes files of every kind")
    ended = run_python(str(HARNESS), "--cases", "80", "--seed", "7")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("80 cases: 80 end as they should, 0 do not\n")


FAULTY = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, {folder!r})
import bad_case
from bad_case import Case, Folder, run_case
from pvae_neuro.cli import models
from pvae_neuro.cli.shared.support import guarded
from pvae_neuro.errors import InputError


bad_case.CPU_SECONDS = 1


def faulty():
    {body}


models.models = guarded(faulty)
with TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "x.npy").write_bytes(b"as it was")
    files = Folder(folder)
    case = Case("kind", "name", ("models",), True, None, ("--side",))
    print(*run_case(case, files), sep="\\n")
    assert not run_case(Case("kind", "name", ("models", "--no"), True, None, ("--no",)), files)
    assert (folder / "x.npy").read_bytes() == b"as it was", "the folder is not restored"
"""

REFUSED = "raise InputError('--side: expected another one')"
FAULTS = {
    "nothing": (REFUSED, ""),
    "an exception": ("raise ZeroDivisionError('by zero')", "exit code 70: "),
    "an exit code": ("print('all is well')", "exit code 0: "),
    "a check that failed": ("raise SystemExit(1)", "exit code 99: "),
    "a traceback": (
        f"__import__('traceback').print_stack(); print('Traceback', file=sys.stderr); {REFUSED}",
        "traceback: ",
    ),
    "two errors": (f"print('error: one', file=sys.stderr); {REFUSED}", "expected one error: line"),
    "a line behind": (
        f"sys.stdout.write('later'); {REFUSED}",
        "expected one error: line",
    ),
    "another name": ("raise InputError('something is wrong')", "names none of ('--side',)"),
    "an escape": (f"print(chr(27) + '[31m', file=sys.stderr); {REFUSED}", "control characters: "),
    "a changed file": (f"Path('x.npy').write_bytes(b'new'); {REFUSED}", "changed: x.npy"),
    "other permissions": (f"Path('x.npy').chmod(0o444); {REFUSED}", "changed: x.npy"),
    "a removed file": (f"Path('x.npy').unlink(); {REFUSED}", "changed: x.npy"),
    "a new file": (f"Path('new').touch(); {REFUSED}", "left behind: new"),
    "a temporary file": (
        f"__import__('tempfile').mkdtemp(prefix='left-'); {REFUSED}",
        "left in the folder of temporary files: left-",
    ),
    "a death": ("__import__('os').abort()", "exit code -6: "),
    "a loop": ("exec('while True: pass')", "seconds of processor time: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_harness_finds(fault: str) -> None:
    body, found = FAULTS[fault]
    program = FAULTY.format(folder=str(HARNESS.parent), body=body)
    ended = run_python("-c", program)
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line]
    assert any(line.startswith(found) for line in lines) if found else not lines
