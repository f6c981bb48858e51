"""A command that must end with one line, and the running of it in a child process."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CPU_SECONDS = 5
MADE = "made"
"""What commands write, but for its ending."""

# A command that waits for something is ended; busy machines take their time.
_WALL_SECONDS = 300
# Longer lines of errors hide what is wrong.
_LONGEST_LINE = 1500


@dataclass(frozen=True)
class Case:
    """One command, and the file that it needs beside the others."""

    kind: str
    """What is bad, as a group of cases."""

    name: str

    command: tuple[str, ...]

    strict: bool = True
    """Whether it must be refused; if not, the value may also happen to be a right one."""

    make: Callable[[Path], None] | None = None
    """Writes its damaged file into the folder of the case."""

    about: tuple[str, ...] = ()
    """The error line must contain one of these, in any case of letters; empty for any text."""

    environment: Mapping[str, str] = field(default_factory=dict)


def stamps(folder: Path) -> dict[str, str]:
    """What tells each file below a folder from a changed or replaced one, links not followed.

    Folders change when something is made in them, and are told by their permissions alone.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        kept = f"{status.st_mode:o}"
        if not stat.S_ISDIR(status.st_mode):
            # The time of the last change of a file's content or status cannot be set back.
            kept += f" {status.st_ino} {status.st_size} {status.st_ctime_ns}"
        found[str(path.relative_to(folder))] = kept
    return found


class Folder:
    """A folder of files that every case finds as they were at first."""

    def __init__(self, path: Path) -> None:
        self.path, self.stamps = path, stamps(path)
        files = (each for each in path.rglob("*") if each.is_file() and not each.is_symlink())
        self._contents = {str(each.relative_to(path)): each.read_bytes() for each in files}
        self._modes = {name: (path / name).stat().st_mode for name in self._contents}

    def restore(self) -> None:
        """Remove what was added, and write files again that were changed."""
        now = stamps(self.path)
        if now == self.stamps:
            return
        for name in sorted(now.keys() - self.stamps.keys(), reverse=True):
            _remove(self.path / name)
        for name, content in self._contents.items():
            if now.get(name) != self.stamps[name]:
                (self.path / name).unlink(missing_ok=True)
                (self.path / name).write_bytes(content)
                (self.path / name).chmod(self._modes[name])
        self.stamps = stamps(self.path)


def run_case(case: Case, files: Folder) -> list[str]:
    """What is wrong with how a case ends; nothing where it is right."""
    folder, known = files.path, files.stamps
    if case.make is not None:
        case.make(folder)
        known = stamps(folder)
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        (outside / "tmp").mkdir()
        code, said, seconds = _in_a_child(case, folder, outside)
        left = sorted(path.name for path in (outside / "tmp").iterdir())
    after = stamps(folder)
    # A run that is resumed and done removes its state.
    changed = sorted(
        name for name in known
        if after.get(name) != known[name] and not (code == 0 and name.startswith(MADE))
    )  # fmt: skip
    # The state of a run that diverged stays, if its error says so.
    new = sorted(
        name
        for name in after.keys() - known.keys()
        if not (name.endswith(".ckpt") and name in said)
    )
    files.restore()
    # A check that failed writes what was asked for.
    done = code == 0 or (code == 1 and not case.strict)
    found = {
        "": _faults(case, code, said),
        "seconds of processor time": [f"{seconds:.1f}"] if seconds > CPU_SECONDS else [],
        "changed": changed,
        "left behind": [] if done else new,
        "left in the folder of temporary files": left,
    }
    return [f"{fault}: {thing}".removeprefix(": ") for fault, things in found.items()
            for thing in things]  # fmt: skip


def _faults(case: Case, code: int, said: str) -> list[str]:
    """What is wrong with an exit code and what was printed."""
    wrong = []
    lines = said.splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    if code == 2:
        if len(errors) != 1 or lines[-1:] != errors:
            wrong.append(f"expected one error: line at the end, got {said[-300:]!r}")
        elif len(errors[0]) > _LONGEST_LINE:
            wrong.append(f"an error of {len(errors[0])} characters")
        elif case.about and not any(word.lower() in errors[0].lower() for word in case.about):
            wrong.append(f"names none of {case.about}: {errors[0][:300]!r}")
    elif case.strict or code not in (0, 1):
        wrong.append(f"exit code {code}: {said[-600:]!r}")
    if "Traceback" in said:
        wrong.append(f"traceback: {said[-900:]}")
    if any(ord(letter) < 32 and letter not in "\n\t\r" for letter in said):
        wrong.append(f"control characters: {said[-300:]!r}")
    return wrong


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _in_a_child(case: Case, folder: Path, outside: Path) -> tuple[int, str, float]:
    """Exit code, what was printed, and seconds of processor time of a command."""
    printed = outside / "printed"
    child = os.fork()
    if child == 0:
        code = 99
        try:
            _prepare(case, folder, outside / "tmp", printed)
            from pvae_neuro.cli.main import run_command

            code = run_command(list(case.command))
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    _, status, usage = os.wait4(child, 0)
    text = printed.read_text("utf-8", errors="replace") if printed.exists() else ""
    return os.waitstatus_to_exitcode(status), text, usage.ru_utime + usage.ru_stime


def _prepare(case: Case, folder: Path, temporary: Path, printed: Path) -> None:
    """Make this process one of its own: folder, limits, streams, environment."""
    os.chdir(folder)
    limit = 4 * CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    signal.alarm(_WALL_SECONDS)
    sink = os.open(printed, os.O_WRONLY | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    # As the command itself sets them up, but in UTF-8, whatever the harness prints to.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    tempfile.tempdir = None
    os.environ["TMPDIR"] = str(temporary)
    os.environ.update(case.environment)
    from pvae_neuro.cli.shared.endings import quiet_libraries

    quiet_libraries()
