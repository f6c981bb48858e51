"""Write a file whole or not at all, whatever its name stands for."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pvae_neuro.errors import InputError
from pvae_neuro.utils.paths import user_path

# A longer ending is no format's, and would not fit into the longest names.
_LONGEST_SUFFIX = 20


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file; what the block writes there becomes ``path``.

    The temporary file lies beside the target and keeps its suffix, for writers that choose their
    format by it. If the block succeeds it is renamed, which is atomic: a reader, or a process
    killed at any moment, finds the old file or the new one, never a part. Missing folders are
    created.

    * A symbolic link stays, and the file that it names is replaced.
    * An existing file's permissions are kept, and its owner where that is allowed.
    * A character device or a FIFO stays: the file is written elsewhere and copied into it.
    * A process that is killed leaves at most its temporary file. The next call with the same
      ``path`` removes it, unless its owner is still at work.

    Raises
    ------
    InputError
        If the file cannot be written: no permission, disk full, write-protected, or the name of a
        folder, a socket or a block device. Any other exception of the block passes through.
        Either way nothing is left behind, neither the temporary file nor a new folder.
    """
    target = user_path(path)
    try:
        if _is_stream(_status(target)):
            with _reserved(Path(tempfile.gettempdir()), target) as temporary:
                yield temporary
                _copy_into(temporary, target)
        else:
            with _replaced(Path(os.path.realpath(target))) as temporary:
                yield temporary
    except OSError as error:
        raise _cannot_write(target, error) from error


def check_target(path: str | os.PathLike[str]) -> None:
    """Refuse a path that :func:`atomic_path` could not write; nothing is changed.

    Raises
    ------
    InputError
        See :func:`atomic_path`.
    """
    target = user_path(path)
    try:
        if _is_stream(_status(target)):
            return
        _try(Path(os.path.realpath(target)).parent)
    except OSError as error:
        raise _cannot_write(target, error) from error


def check_folder(folder: Path) -> None:
    """Refuse, with :class:`InputError`, a folder that files cannot be written into or made as."""
    try:
        _try(folder)
    except OSError as error:
        raise InputError(
            f"cannot write into {folder}: {error.strerror or error}; choose a folder that you may "
            f"write to"
        ) from error


def _try(folder: Path) -> None:
    """Make a file in a folder, or in the nearest one above that is there, and remove it."""
    # A link to nothing is in the way of a folder; a name that is too long raises.
    while folder != folder.parent:
        try:
            folder.lstat()
            break
        except (FileNotFoundError, NotADirectoryError):
            folder = folder.parent
    # Permission bits do not tell (root, read-only mounts).
    with tempfile.TemporaryFile(dir=folder):
        pass


def _status(target: Path) -> os.stat_result | None:
    """What lies at the target, links followed; None if nothing does. Refuses what is no file."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{target}: is a folder; expected the name of a file to write")
    if not stat.S_ISREG(found.st_mode) and not _is_stream(found):
        raise InputError(
            f"{target}: is a socket or a block device; expected the name of a file to write"
        )
    # Root may write to any file, but its permissions say that it is to be kept.
    if not found.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise InputError(
            f"cannot write {target}: it exists and is write-protected; choose another name, or "
            f"allow writing with chmod u+w"
        )
    return found


def _is_stream(found: os.stat_result | None) -> bool:
    """Whether this is a character device or a FIFO, which take bytes one after the other."""
    return found is not None and (stat.S_ISCHR(found.st_mode) or stat.S_ISFIFO(found.st_mode))


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """A temporary file beside ``target``, a real path, that replaces it in the end."""
    before = _status(target)
    missing = [folder for folder in target.parents if not folder.exists()]
    done = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _reserved(target.parent, target) as temporary:
            yield temporary
            _sync(temporary)
            _take_over(temporary, before)
            temporary.replace(target)
            done = True
        # Some file systems cannot do this to a folder; the file is there all the same.
        with suppress(OSError):
            _sync(target.parent)
    finally:
        for folder in () if done else missing:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _reserved(folder: Path, target: Path) -> Iterator[Path]:
    """An empty temporary file in ``folder``, locked while this process lives, removed after use.

    The name tells the target of which it is a part, so that the next run finds what was left.
    """
    digest = hashlib.sha256(os.fsencode(os.path.realpath(target))).hexdigest()[:12]
    prefix = f".pvae-neuro-{digest}-"
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= _LONGEST_SUFFIX else ""
    for left in folder.glob(f"{prefix}*"):
        _remove_if_dead(left)
    handle, temporary = _locked(prefix, suffix, folder)
    try:
        yield temporary
    finally:
        os.close(handle)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _locked(prefix: str, suffix: str, folder: Path) -> tuple[int, Path]:
    """Make a temporary file and lock it; handle and path."""
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
        # Where a file system has no locks, nobody gets one, and nothing is taken for dead.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Another process may have seen it before it was locked, and removed it.
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _remove_if_dead(temporary: Path) -> None:
    """Remove a temporary file that nobody holds a lock on: its owner was killed."""
    with suppress(OSError):
        handle = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
        finally:
            os.close(handle)


def _take_over(temporary: Path, before: os.stat_result | None) -> None:
    """Give a file the permissions, and if possible the owner, of the one that it replaces."""
    if before is None:
        temporary.chmod(0o666 & ~_umask())
        return
    # The owner first: a change of owner may reset permissions.
    with suppress(OSError):
        os.chown(temporary, before.st_uid, before.st_gid)
    temporary.chmod(stat.S_IMODE(before.st_mode) & 0o777)


def _copy_into(temporary: Path, target: Path) -> None:
    """Write a file's bytes to a device or a FIFO, which is neither created nor replaced."""
    with (
        temporary.open("rb") as source,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_NOCTTY), "wb") as sink,
    ):
        shutil.copyfileobj(source, sink)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(target: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(
        f"cannot write {target}: {reason}; nothing was left behind. "
        f"Free some space, or choose a folder that you may write to"
    )
