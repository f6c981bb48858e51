"""Files are written whole or not at all, and nothing else than the named file changes."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from pvae_neuro.errors import InputError
from pvae_neuro.utils.files import atomic_path, check_folder, check_target
from pvae_neuro.utils.plain_text import PLAIN, printable


def write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ----------------------------------------------------------------------------- what is replaced


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "deep" / "file.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["deep", "link.txt"]
    assert names(target.parent) == ["file.txt"]


def test_a_link_to_nothing_makes_what_it_names(tmp_path: Path) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to("made.txt")
    write(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "made.txt").read_text() == "new"


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    for refuse in (check_target, lambda path: write(path, "new")):
        with pytest.raises(InputError, match="cannot write"):
            refuse(tmp_path / "link")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_permissions_of_an_existing_file_are_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    write(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "new"


def test_a_new_file_has_the_permissions_of_an_ordinary_one(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "file", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_owner_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    write(path, "new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o640)


def test_a_write_protected_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o444)
    for refuse in (check_target, lambda path: write(path, "new")):
        with pytest.raises(InputError, match="write-protected"):
            refuse(path)
    assert path.read_text() == "old"


# --------------------------------------------------------------- what is neither file nor folder


def test_a_fifo_stays_and_gets_the_bytes(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.txt"
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    check_target(fifo)
    write(fifo, "through")
    reader.join(60)
    assert received == [b"through"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert names(tmp_path) == ["fifo.txt"]


def test_the_temporary_file_of_a_fifo_keeps_its_suffix(tmp_path: Path) -> None:
    fifo = tmp_path / "figure.svg"
    os.mkfifo(fifo)
    with pytest.raises(KeyError), atomic_path(fifo) as temporary:
        assert temporary.suffix == ".svg"
        raise KeyError
    assert not temporary.exists()


def test_a_device_stays() -> None:
    before = Path("/dev/null").stat()
    check_target("/dev/null")
    write(Path("/dev/null"), "nothing")
    after = Path("/dev/null").stat()
    assert stat.S_ISCHR(after.st_mode)
    assert (after.st_ino, after.st_rdev) == (before.st_ino, before.st_rdev)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_is_one_error() -> None:
    with pytest.raises(InputError, match="cannot write /dev/full: No space left"):
        write(Path("/dev/full"), "nothing")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Names of sockets are short.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("here")
        for refuse in (check_target, lambda path: write(path, "new")):
            with pytest.raises(InputError, match="socket"):
                refuse(Path("here"))
    assert stat.S_ISSOCK(Path("here").stat().st_mode)


# -------------------------------------------------------------------------- nothing left behind


@pytest.mark.parametrize("length", [100, 250, 255])
def test_names_up_to_the_limit_of_the_file_system(tmp_path: Path, length: int) -> None:
    limit = os.pathconf(tmp_path, "PC_NAME_MAX")
    path = tmp_path / ("x" * (min(length, limit) - 4) + ".txt")
    write(path, "long")
    assert names(tmp_path) == [path.name]
    ending = tmp_path / ("x." + "y" * (min(length, limit) - 2))
    write(ending, "long")
    assert ending.read_text() == "long"
    with pytest.raises(InputError, match="cannot write"):
        check_target(tmp_path / ("x" * (limit + 1)))


def test_folders_of_a_failed_file_go_again(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_path(tmp_path / "a" / "b" / "c.txt") as temporary:
        assert temporary.exists()
        raise KeyError
    assert names(tmp_path) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyError), atomic_path(tmp_path / "a" / "b" / "c.txt"):
        raise KeyError
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == []


def test_checking_changes_nothing(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "b.txt")
    assert names(tmp_path) == []


def test_folders_are_tried_and_not_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    check_folder(tmp_path / "a" / "b")
    for name in ("file", "file/below"):
        with pytest.raises(InputError, match=r"cannot write into .*: Not a directory"):
            check_folder(tmp_path / name)
    assert names(tmp_path) == ["file"]


KILLED = """
import os, signal, sys
from pvae_neuro.utils.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_what_a_kill_left_is_removed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """One temporary file at most, which the next writer of the same path removes."""
    place, spool = tmp_path / "place", tmp_path / "spool"
    place.mkdir()
    spool.mkdir()
    monkeypatch.setenv("TMPDIR", str(spool))
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    path = place / "file.txt"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_text("old")
    folder = spool if kind == "fifo" else place

    def kill() -> None:
        done = subprocess.run([sys.executable, "-c", KILLED, path], timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL

    def left() -> list[str]:
        return [name for name in names(folder) if name.startswith(".pvae-neuro-")]

    kill()
    assert len(left()) == 1
    kill()
    assert len(left()) == 1
    with atomic_path(place / "other.txt"):
        assert len(left()) == (1 if kind == "fifo" else 2)  # Another path removes nothing.
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        assert left() == [temporary.name]
        raise KeyError
    assert left() == []
    if kind == "file":
        assert path.read_text() == "old"


def test_a_temporary_file_that_was_taken_for_dead_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process sees it before it is locked."""
    make, made = tempfile.mkstemp, []

    def seen(**options: Any) -> tuple[int, str]:
        handle, name = make(**options)
        made.append(name)
        if len(made) == 1:
            Path(name).unlink()
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", seen)
    with atomic_path(tmp_path / "file.txt") as temporary:
        assert str(temporary) == made[1]
        assert temporary.exists()
        temporary.write_text("whole")
    assert names(tmp_path) == ["file.txt"]


def test_a_temporary_file_of_a_living_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with atomic_path(path) as first:
        with atomic_path(path) as second:
            second.write_text("second")
        assert first.exists()
        assert path.read_text() == "second"
        first.write_text("first")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["file.txt"]


# ----------------------------------------------------------------------------------------- texts


def test_what_does_not_print_is_escaped() -> None:
    assert printable("plain – text, 数字") == "plain – text, 数字"
    assert printable("\x1b[31mred\x07") == r"\x1b[31mred\x07"
    assert printable("a\u202eb\u2028c\x9bd") == r"a\u202eb\u2028c\x9bd"
    assert printable("two\nlines\t", keep="\n") == "two\nlines\\t"
    assert printable(os.fsdecode(b"\xff.npy")) == r"\udcff.npy"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"a -> b, 3 x 4, \\u6570\\udcff"),
        ("latin-1", b"a -> b, 3 \xd7 4, \\u6570\\udcff"),
        ("utf-8", "a → b, 3 × 4, 数\\udcff".encode()),
    ],
)
def test_what_an_encoding_lacks_is_written_in_ascii(encoding: str, expected: bytes) -> None:
    assert "a → b, 3 × 4, 数\udcff".encode(encoding, PLAIN) == expected
