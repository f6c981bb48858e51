"""Archives and arrays that are no images, too large, or made to exhaust the reader."""

from __future__ import annotations

import gzip
import io
import os
import random
import re
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.data import load_images
from pvae_neuro.data.archive import open_archive, read_npy
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import memory_limit


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    """The beginning of an ``.npy`` file."""
    body = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(body)) + body


def described(shape: str, descr: str = "'<f4'", fortran: str = "False") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as refused:
        load_images(path, **options)  # type: ignore[arg-type]
    message = str(refused.value)
    assert "\n" not in message
    assert path.name in message
    return message


@contextmanager
def peak_below(size: int) -> Iterator[None]:
    """Check that the block holds fewer bytes at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "i2", ">i4", "f2", ">f4", "<f8", "?"]),
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple),
    fortran=st.booleans(),
    seed=st.integers(0, 9),
)
def test_arrays_are_read_as_numpy_reads_them(
    tmp_path_factory, dtype: str, shape: tuple[int, ...], fortran: bool, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 9, shape).astype(dtype)
    values = np.asfortranarray(values) if fortran else values
    folder = tmp_path_factory.mktemp("arrays")
    np.save(folder / "a.npy", values)
    np.savez(folder / "plain.npz", a=values)
    np.savez_compressed(folder / "compressed.npz", a=values)
    found = [read_npy(folder / "a.npy")]
    for name in ("plain.npz", "compressed.npz"):
        with open_archive(folder / name) as archive:
            assert archive.keys == ["a"]
            assert archive.header("a").shape == shape
            found.append(archive.read("a"))
    for each in found:
        assert each.dtype == values.dtype
        assert each.flags.f_contiguous == values.flags.f_contiguous
        assert np.array_equal(each, values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            described("(" + "9" * 23 + ", 784)"),
            r"needs 6.27e\+17 GB of memory, the limit is .* GB \(half",
        ),
        (described("(1000000000000, 784)"), r"GB of memory, the limit is"),
        (described("(" + "9," * 600 + ")"), r"of 600 axes: needs 10\^564 GB"),
        (described("(0," * 100 + ")" * 100), "plain numbers"),
        (described("(" + "0," * 100 + ")"), "plain numbers"),
        (described("(2, 4)") + bytes(31), "32 bytes .* were written, 31 are there"),
        (described("(2, 4)") + bytes(33), "32 bytes .* were written, 33 are there"),
        (described("(2, -4)") + bytes(32), "-4"),
        (described("(2, 4)", "'|O'"), "plain numbers"),
        (described("(2, 4)", "'<U9'") + bytes(288), "real numbers"),
        (described("(2, 4)", "[('a', '<f4')]") + bytes(32), "real numbers"),
        (described("(2, 4)", "'what'"), "plain numbers"),
        (described("(" * 100 + "2" + ")" * 100), "plain numbers"),
        (header("{}"), "plain numbers"),
        (header("__import__('os').mkdir('made')"), "plain numbers"),
        (header("{}", b"\x03\x00"), "plain numbers"),
        (b"\x93NUMPY\x01\x00\xff\xff", "plain numbers"),
        (b"", "plain numbers"),
    ],
)
def test_arrays_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    for name in ("a.npy", "a.npz"):
        assert re.search(message, refusal(tmp_path / name)), refusal(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "a.npz"]


def test_a_compressed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    # A thousand times smaller than what it holds.
    size = 40_000_000
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as member,
    ):
        member.write(described(f"(1, {size})", "'|u1'"))
        for _ in range(size // 1_000_000):
            member.write(bytes(1_000_000))
    assert path.stat().st_size < 1_000_000
    with peak_below(4_000_000):
        message = refusal(path, max_memory=100_000_000)
    assert "needs 0.2 GB of memory, the limit is 0.1 GB (as asked)" in message
    with memory_limit(100_000_000):
        assert "the limit is 0.1 GB" in refusal(path)


def test_a_member_that_holds_more_than_its_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", described("(2, 4)") + bytes(10_000_000))
    assert "in its array 'images'" in refusal(path)


def test_members_that_are_no_arrays_are_not_offered(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "text")
        archive.writestr("../../up.npy", b"text")
    assert "in its array '../../up'" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "text")
    assert "it holds no arrays" in refusal(path)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.arange(4000.0).reshape(2, 2000) / 4000)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "in its array 'images'" in refusal(path)


def test_archives_with_a_password_or_unknown_compression(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((2, 4)))
    for offset, value in ((6, 1), (8, 99)):  # Flags of a member, and its method.
        content = bytearray(buffer.getvalue())
        central = content.rindex(b"PK\x01\x02")
        content[offset] = content[central + offset + 2] = value
        path = tmp_path / f"{offset}.npz"
        path.write_bytes(content)
        assert "in its array 'images'" in refusal(path)


@pytest.mark.parametrize("ending", [".npy", ".npz", "-idx3-ubyte", ".idx.gz", ".iml", ".bin"])
def test_streams_are_not_waited_for(tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / f"pipe{ending}")
    refusal(tmp_path / f"pipe{ending}")
    (tmp_path / f"zero{ending}").symlink_to("/dev/zero")
    refusal(tmp_path / f"zero{ending}")


def test_names_longer_than_any_file_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_images(tmp_path / ("a" * 300))


def test_devices_are_no_images() -> None:
    for name in ("/dev/zero", "/dev/null"):
        with pytest.raises(InputError, match=f"{name}: is a device; expected a file on a disk"):
            load_images(name)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1), "the limit is"),
        (b"\0\0\x08\x02" + struct.pack(">2I", 2, 3) + bytes(5), "has not the length of"),
        (b"\0\0\x08\x02" + struct.pack(">2I", 2, 3) + bytes(7), "has not the length of"),
        (b"\0\0\x07\x02" + struct.pack(">2I", 2, 3) + bytes(6), "it begins with"),
        (b"\0\0\x08\x00", "it begins with"),
        (b"", "it begins with"),
        (b"text text text", "it begins with"),
    ],
)
def test_idx_files_that_are_none(
    tmp_path: Path, content: bytes, message: str, compressed: bool
) -> None:
    path = tmp_path / ("a-ubyte.gz" if compressed else "a-ubyte")
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert message in refusal(path)


def test_a_damaged_gzip_file(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(b"\0\0\x08\x02" + struct.pack(">2I", 2, 3) + bytes(6)))
    (tmp_path / "a.idx.gz").write_bytes(content[:-9])
    assert "damaged" in refusal(tmp_path / "a.idx.gz")
    content[-8] ^= 1  # The checksum.
    (tmp_path / "a.idx.gz").write_bytes(content)
    assert "damaged" in refusal(tmp_path / "a.idx.gz")


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.idx.gz"
    start = b"\0\0\x08\x02" + struct.pack(">2I", 2, 3) + bytes(6)
    packer = zlib.compressobj(wbits=31)
    with path.open("wb") as file:
        file.write(packer.compress(start))
        for _ in range(40):
            file.write(packer.compress(bytes(1_000_000)))
        file.write(packer.flush())
    with peak_below(4_000_000):
        assert "has not the length of [2, 3]" in refusal(path, max_memory=1_000_000)


def _saved(save: Callable[..., object], *args: object, **arrays: object) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *args, **arrays)
    return buffer.getvalue()


BYTES = np.arange(4 * 36, dtype=np.uint8).reshape(4, 6, 6)
LABELS = np.arange(4)
IDX = b"\0\0\x08\x03" + struct.pack(">3I", 4, 6, 6) + BYTES.tobytes()
MAT = (
    bytes(124) + b"\x00\x01IM" + struct.pack("<II", 14, 56 + 144)
    + struct.pack("<4I", 6, 8, 9, 0) + struct.pack("<2I3iI", 5, 12, 6, 6, 4, 0)
    + struct.pack("<I", 1 << 16 | 1) + b"X\0\0\0" + struct.pack("<2I", 2, 144) + BYTES.tobytes()
)  # fmt: skip
PACKED = zlib.compress(MAT[128:])
WHOLE = {
    "a.npy": _saved(np.save, BYTES),
    "a.npz": _saved(np.savez, train=BYTES, test=BYTES, labels=LABELS),
    "compressed.npz": _saved(np.savez_compressed, x_test=BYTES, y_test=LABELS[:, None]),
    "a-ubyte": IDX,
    "a.idx.gz": gzip.compress(IDX),
    "a.mat": MAT,
    "packed.mat": MAT[:128] + struct.pack("<2I", 15, len(PACKED)) + PACKED,
    "a.bin": bytes([3, 5, 128, 0, 1]) * 9,
}


@pytest.mark.parametrize("name", WHOLE)
def test_files_that_are_changed_anywhere_are_read_or_one_line(tmp_path: Path, name: str) -> None:
    path, rng = tmp_path / name, random.Random(name)
    path.write_bytes(WHOLE[name])
    assert load_images(path, split=None, scale=255).pixels.size > 0
    for _ in range(300):
        content = bytearray(WHOLE[name])
        for _ in range(rng.choice((1, 1, 2, 8))):
            place = rng.randrange(len(content))
            change = rng.choice((
                bytes([rng.randrange(256)]), bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"",
            ))  # fmt: skip
            content[place : place + max(1, len(change))] = change
        path.write_bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])
        try:
            load_images(path, split=None, scale=255, max_memory=10**9)
        except InputError as error:
            assert "\n" not in str(error)
            assert name in str(error)
