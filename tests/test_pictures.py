"""Single pictures: every mode, depth and orientation is read exactly, or refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import png, tiff

from pvae_neuro.data.pictures import Picture, picture_suffixes, read_picture
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import memory_limit

Image = pytest.importorskip("PIL.Image")

ORIENTATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.rot90(np.fliplr(a), 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.fliplr(a), -1),
    8: lambda a: np.rot90(a, 1),
}


def whole_numbers(bits: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Random samples that include black and white."""
    samples = np.random.default_rng(seed).integers(2**bits, size=shape, dtype=np.int64)
    samples.ravel()[:2] = 0, 2**bits - 1
    return samples


def expected(samples: np.ndarray, white: int) -> np.ndarray:
    """What reading should give: [H, W] or [3, H, W], divided by white in float32."""
    planes = np.moveaxis(samples, -1, 0) if samples.ndim == 3 else samples
    return planes.astype(np.float32) / np.float32(white)


def read(tmp_path: Path, data: bytes, ending: str = "png") -> Picture:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(data)
    return read_picture(path)


def saved(samples: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, kind, **options)
    return buffer.getvalue()


def test_orientations_are_those_of_the_standard() -> None:
    # The row and the column that pixel (0, 0) of the upright picture is stored at: the first row
    # and column of the table of EXIF 2.3, tag 274.
    stored = np.arange(6).reshape(2, 3)
    corners = {k: turn(stored)[0, 0] for k, turn in ORIENTATIONS.items()}
    assert corners == {1: 0, 2: 2, 3: 5, 4: 3, 5: 0, 6: 3, 7: 5, 8: 2}
    shapes = {k: turn(stored).shape for k, turn in ORIENTATIONS.items()}
    assert [k for k, shape in shapes.items() if shape == (3, 2)] == [5, 6, 7, 8]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png_of_every_depth(tmp_path: Path, bits: int) -> None:
    samples = whole_numbers(bits, 5, 7)
    found = read(tmp_path, png(samples, bits))
    white = 65535 if bits == 16 else 255
    scaled = samples if bits == 16 else samples * (255 // (2**bits - 1))
    assert np.array_equal(found.values, expected(scaled, white))
    assert found.notes == ()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_colour_png_keeps_every_bit(tmp_path: Path, bits: int, alpha: bool) -> None:
    samples = whole_numbers(bits, 5, 7, 3)
    opaque = np.full((5, 7, 1), 2**bits - 1)
    data = png(np.concatenate([samples, opaque], axis=2) if alpha else samples, bits)
    assert np.array_equal(read(tmp_path, data).values, expected(samples, 2**bits - 1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_grey_tiff_of_every_depth(
    tmp_path: Path, bits: int, photometric: int, deflate: bool, order: str
) -> None:
    samples = whole_numbers(bits, 6, 8)
    data = tiff(samples, bits, photometric=photometric, deflate=deflate, order=order)
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    white = 2**bits - 1
    upright = white - samples if photometric == 0 else samples
    scale = 255 // white if bits < 8 else 1
    try:
        found = read_picture(path)
    except InputError as error:
        assert (bits, photometric, order) in UNREAD
        assert "a.tif: cannot be read as an image (none that Pillow can decode)" in str(error)
        return
    assert np.array_equal(found.values, expected(upright * scale, white * scale))


# Pillow 12 has no decoder for these.
UNREAD = {(12, 0, "<"), (12, 0, ">"), (12, 1, ">"), (16, 0, ">")}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extra", [None, 0, 1, 2])
def test_colour_tiff_keeps_every_bit(
    tmp_path: Path, bits: int, deflate: bool, order: str, extra: int | None
) -> None:
    samples = whole_numbers(bits, 5, 7, 3)
    # A channel of unknown meaning may hold anything, an alpha channel is opaque.
    fourth = whole_numbers(bits, 5, 7, 1, seed=1) if extra == 0 else np.full((5, 7, 1), 2**bits - 1)
    given = samples if extra is None else np.concatenate([samples, fourth], axis=2)
    data = tiff(given, bits, deflate=deflate, order=order, extra=extra)
    if (bits, extra) == (16, 1):
        with pytest.raises(InputError, match="holds 16-bit samples that Pillow reads with 8 bits"):
            read(tmp_path, data, "tif")
    else:
        found = read(tmp_path, data, "tif").values
        assert np.array_equal(found, expected(samples, 2**bits - 1))


def test_planes_of_tiff_are_read_or_refused(tmp_path: Path) -> None:
    for deflate in (False, True):
        samples = whole_numbers(8, 5, 7, 3)
        found = read(tmp_path, tiff(samples, 8, planar=True, deflate=deflate), "tif").values
        assert np.array_equal(found, expected(samples, 255))
        data = tiff(whole_numbers(16, 5, 7, 3), 16, planar=True, deflate=deflate)
        with pytest.raises(InputError, match="planes of 16 bits one after the other; save it as"):
            read(tmp_path, data, "tif")


def test_float_tiff_is_read_as_it_is(tmp_path: Path) -> None:
    samples = np.array([[-1.5, 2.25, 3e7], [0, 1e-30, 1]])
    for order in "<>":
        found = read(tmp_path, tiff(samples, 32, sample_format=3, order=order), "tif")
        assert np.array_equal(found.values, samples.astype(np.float32))
        assert (found.depth, found.brightness) == ("floats, as they are", 1.0)
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match=r"a\.tif: expected finite values"):
            read(tmp_path, tiff(np.array([[bad, 1.0]]), 32, sample_format=3), "tif")


@pytest.mark.parametrize(
    ("bits", "options", "message"),
    [
        (8, {"sample_format": 2}, "holds signed integers"),
        (16, {"sample_format": 2}, "holds signed integers"),
        (32, {}, "holds 32-bit integers, whose white is not known"),
        (32, {"sample_format": 2}, "holds signed integers"),
        (8, {"photometric": 5}, "is stored in CMYK"),
        (8, {"photometric": 8}, "is stored in LAB"),
        (8, {"photometric": 6}, "holds YCbCr without JPEG"),
    ],
)
def test_samples_of_unknown_meaning_are_refused(
    tmp_path: Path, bits: int, options: dict[str, int], message: str
) -> None:
    channels = {5: (4,), 6: (3,), 8: (3,)}.get(options.get("photometric", 1), ())
    samples = whole_numbers(min(bits, 31), 4, 6, *channels)
    # Older versions of Pillow do not decode some of them.
    with pytest.raises(InputError, match=rf"a\.tif: ({message}|.*none that Pillow can decode)"):
        read(tmp_path, tiff(samples, bits, **options), "tif")
    negative = tiff(np.ones((2, 2)), 32, sample_format=3, photometric=0)
    with pytest.raises(InputError, match="floating-point numbers and says that white is zero"):
        read(tmp_path, negative, "tif")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_colours_of_inks_are_refused(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (4, 4)).save(buffer, kind)
    with pytest.raises(InputError, match="is stored in CMYK, whose colours depend on"):
        read(tmp_path, buffer.getvalue())


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("grey", [False, True])
def test_palettes_become_their_colours(tmp_path: Path, bits: int, grey: bool) -> None:
    indices = whole_numbers(bits, 5, 7)
    palette = whole_numbers(8, 2**bits, 3, seed=2)
    if grey:
        palette = np.repeat(palette[:, :1], 3, axis=1)
    colours = palette[indices]
    for data in (png(indices, bits, palette), tiff(indices, bits, photometric=3, palette=palette)):
        found = read(tmp_path, data)
        assert np.array_equal(found.values, expected(colours[..., 0] if grey else colours, 255))
        assert found.notes == (("three equal channels taken as grey",) if grey else ())


def test_transparency_is_refused_where_it_hides_something(tmp_path: Path) -> None:
    message = r"a\.png: has transparent pixels, whose brightness depends on what lies behind"
    grey, colour = whole_numbers(8, 4, 4), whole_numbers(8, 4, 4, 3)
    for bits in (8, 16):
        alpha = np.full((4, 4, 1), 2**bits - 1)
        alpha[2, 2] -= 1
        with pytest.raises(InputError, match=message):
            read(tmp_path, png(np.concatenate([colour, alpha], axis=2), bits))
    with pytest.raises(InputError, match=message):
        read(tmp_path, png(np.stack([grey, 0 * grey], axis=2), 8))
    opaque = png(np.stack([grey, 0 * grey + 255], axis=2), 8)
    assert np.array_equal(read(tmp_path, opaque).values, expected(grey, 255))
    with pytest.raises(InputError, match="holds 16-bit samples that Pillow reads with 8 bits"):
        read(tmp_path, png(np.stack([grey, grey], axis=2), 16))
    palette = whole_numbers(8, 4, 3)
    indices = np.array([[0, 1, 3], [3, 1, 0]])
    with pytest.raises(InputError, match=message):
        read(tmp_path, png(indices, 2, palette, transparent=b"\xff\x00"))
    unused = read(tmp_path, png(indices, 2, palette, transparent=b"\xff\xff\x00\xff"))
    assert np.array_equal(unused.values, expected(palette[indices], 255))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_heeded_at_every_depth(tmp_path: Path, bits: int) -> None:
    samples = whole_numbers(bits, 4, 5)
    key = int(samples[2, 3])
    others = np.where(samples == key, (key + 1) % 2**bits, samples)
    with pytest.raises(InputError, match="has transparent pixels"):
        read(tmp_path, png(samples, bits, transparent=struct.pack(">H", key)))
    read(tmp_path, png(others, bits, transparent=struct.pack(">H", key)))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_is_heeded(tmp_path: Path, bits: int) -> None:
    samples = whole_numbers(bits, 4, 5, 3)
    key = samples[2, 3].copy()
    with pytest.raises(InputError, match="has transparent pixels"):
        read(tmp_path, png(samples, bits, transparent=struct.pack(">3H", *key)))
    key[1] ^= 1
    data = png(samples, bits, transparent=struct.pack(">3H", *key))
    assert np.array_equal(read(tmp_path, data).values, expected(samples, 2**bits - 1))


@given(
    kind=st.sampled_from(["png", "tiff", "tiff deflate", "tiff >", "tiff white is zero"]),
    bits=st.sampled_from([8, 16]),
    colour=st.booleans(),
    orientation=st.integers(1, 8),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_generated_pictures_come_back_upright(
    tmp_path: Path,
    kind: str,
    bits: int,
    colour: bool,
    orientation: int,
    height: int,
    width: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    channels = (3,) if colour and kind != "tiff white is zero" else ()
    samples = rng.integers(2**bits, size=(height, width, *channels))
    options: dict[str, object] = {
        "png": {},
        "tiff": {},
        "tiff deflate": {"deflate": True},
        "tiff >": {"order": ">"},
        "tiff white is zero": {"photometric": 0},
    }[kind]
    write = png if kind == "png" else tiff
    data = write(samples, bits, orientation=orientation, **options)  # type: ignore[operator]
    shown = 2**bits - 1 - samples if kind == "tiff white is zero" else samples
    if channels and (shown == shown[..., :1]).all():
        shown = shown[..., 0]
    found = read(tmp_path, data, "tif" if write is tiff else "png")
    upright = ORIENTATIONS[orientation](shown)
    assert np.array_equal(found.values, expected(upright, 2**bits - 1))
    assert ("turned upright by EXIF" in found.notes) == (orientation != 1)


@pytest.mark.parametrize("kind", ["BMP", "DIB", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF"])
def test_formats_without_loss_are_read_exactly(tmp_path: Path, kind: str) -> None:
    for shape in ((5, 7), (5, 7, 3)):
        samples = whole_numbers(8, *shape).astype(np.uint8)
        found = read(tmp_path, saved(samples, kind)).values
        assert np.array_equal(found, expected(samples, 255))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG2000", {"irreversible": False}),
        ("JPEG", {"quality": 95}),
        ("AVIF", {"quality": 95}),
    ],
)
def test_grey_of_other_formats_stays_grey(
    tmp_path: Path, kind: str, options: dict[str, object]
) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"Pillow is built without {kind}")
    smooth = (np.add.outer(np.arange(16), np.arange(16)) * 8).astype(np.uint8)
    found = read(tmp_path, saved(smooth, kind, **options)).values
    assert found.shape == (16, 16)
    # JPEG and AVIF lose some of it.
    tolerance = 0.03 if kind in ("JPEG", "AVIF") else 0.0
    assert np.abs(found - expected(smooth, 255)).max() <= tolerance


def test_sun_rasters_are_read(tmp_path: Path) -> None:
    samples = whole_numbers(8, 4, 6)
    header = struct.pack(">8I", 0x59A66A95, 6, 4, 8, 24, 1, 0, 0)
    found = read(tmp_path, header + samples.astype(np.uint8).tobytes(), "ras")
    assert np.array_equal(found.values, expected(samples, 255))


def test_qoi_is_read(tmp_path: Path) -> None:
    Image.init()
    if "QOI" not in Image.OPEN:
        pytest.skip("this version of Pillow has no QOI")
    colours = whole_numbers(8, 2, 3, 3)
    pixels = b"".join(b"\xfe" + bytes(colour.tolist()) for colour in colours.reshape(-1, 3))
    data = b"qoif" + struct.pack(">IIBB", 3, 2, 3, 0) + pixels + b"\0" * 7 + b"\1"
    assert np.array_equal(read(tmp_path, data, "qoi").values, expected(colours, 255))


@pytest.mark.parametrize("highest", [1, 15, 255, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_portable_maps_are_scaled_by_their_own_white(
    tmp_path: Path, highest: int, plain: bool
) -> None:
    samples = np.random.default_rng(0).integers(highest + 1, size=(4, 5))
    samples[0, :2] = 0, highest
    body = packed(samples, highest, plain)
    data = f"P{2 if plain else 5}\n# made here\n5 4\n{highest}\n".encode() + body
    found = read(tmp_path, data, "pgm").values
    # Pillow rounds to 8 or 16 bits.
    step = 1 / 255 if highest <= 255 else 1 / 65535
    assert np.abs(found - samples / highest).max() <= step / 2 + 1e-7
    colours = np.stack([samples, samples[::-1], samples], axis=2)
    body = packed(colours, highest, plain)
    data = f"P{3 if plain else 6} 5 4 {highest}\n".encode() + body
    if highest > 255:
        with pytest.raises(InputError, match=f"holds colours up to {highest}, which Pillow reads"):
            read(tmp_path, data, "ppm")
    else:
        found = read(tmp_path, data, "ppm").values
        assert np.abs(found - np.moveaxis(colours, 2, 0) / highest).max() <= step / 2 + 1e-7


def packed(samples: np.ndarray, highest: int, plain: bool) -> bytes:
    if plain:
        return " ".join(map(str, samples.ravel())).encode() + b"\n"
    return samples.astype(">u2" if highest > 255 else np.uint8).tobytes()


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
def test_jpeg_2000_is_scaled_by_its_own_white(tmp_path: Path, bits: int) -> None:
    Image.init()
    if "JPEG2000" not in Image.SAVE:
        pytest.skip("Pillow is built without JPEG2000")
    samples = whole_numbers(bits, 8, 8)
    # Pillow writes 8 or 16 bits. A sample is stored minus half of the range that byte 42 declares:
    # where that byte is changed, the samples that come out are shifted by the difference.
    whole, dtype = (8, np.uint8) if bits <= 8 else (16, np.uint16)
    shifted = (samples - 2 ** (bits - 1) + 2 ** (whole - 1)).astype(dtype)
    data = bytearray(saved(shifted, "JPEG2000", irreversible=False, no_jp2=True))
    assert data[42] == whole - 1
    data[42] = bits - 1
    white = (2**bits - 1) << (whole - bits)
    wanted = expected(samples << (whole - bits), white)
    assert np.array_equal(read(tmp_path, bytes(data), "j2k").values, wanted)
    data[42] |= 0x80
    with pytest.raises(InputError, match=f"holds signed samples of {bits} bits"):
        read(tmp_path, bytes(data), "j2k")


def test_jpeg_2000_in_colour_of_more_than_8_bits_is_refused(tmp_path: Path) -> None:
    Image.init()
    if "JPEG2000" not in Image.SAVE:
        pytest.skip("Pillow is built without JPEG2000")
    samples = whole_numbers(8, 8, 8, 3).astype(np.uint8)
    data = bytearray(saved(samples, "JPEG2000", irreversible=False, no_jp2=True))
    assert np.array_equal(read(tmp_path, bytes(data), "j2k").values, expected(samples, 255))
    for component in range(3):
        data[42 + 3 * component] = 11
    with pytest.raises(InputError, match="holds samples of 12 bits, which Pillow reads with 8"):
        read(tmp_path, bytes(data), "j2k")


def test_sgi_of_16_bits_is_refused(tmp_path: Path) -> None:
    # Magic, uncompressed, 2 bytes, 2 dimensions, then width, height and channels.
    header = struct.pack(">HBBHHHHII", 474, 0, 2, 2, 3, 2, 1, 0, 65535).ljust(512, b"\0")
    with pytest.raises(InputError, match="holds 16-bit samples that Pillow reads with 8 bits"):
        read(tmp_path, header + bytes(12), "sgi")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP", "AVIF"])
def test_films_and_stacks_of_pages_are_refused(tmp_path: Path, kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE_ALL:
        pytest.skip(f"Pillow is built without {kind}")
    pages = [Image.fromarray(whole_numbers(8, 8, 8, seed=n).astype(np.uint8)) for n in range(2)]
    path = tmp_path / "a.bin"
    pages[0].save(path, kind, save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"a\.bin: holds 2 pages or frames; expected one picture"):
        read_picture(path)


def test_the_first_picture_of_an_mpo_is_taken(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 8), 60 * n, np.uint8)) for n in (1, 2)]
    pages[0].save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=pages[1:])
    found = read_picture(tmp_path / "a.mpo")
    assert np.array_equal(found.values, np.full((8, 8), np.float32(60) / np.float32(255)))
    assert found.notes == ("first of several in an MPO file",)


def test_size_crops_and_resizes_at_every_depth(tmp_path: Path) -> None:
    for bits in (8, 16):
        samples = np.zeros((4, 12), np.int64)
        samples[:, 4:8] = 2**bits - 1
        (tmp_path / "a.png").write_bytes(png(samples, bits))
        for size in ((4, 4), (2, 2)):
            found = read_picture(tmp_path / "a.png", size)
            assert np.array_equal(found.values, np.ones(size))
        assert read_picture(tmp_path / "a.png", (8, 8)).notes == ("enlarged",)
        coloured = whole_numbers(bits, 6, 6, 3)
        (tmp_path / "a.png").write_bytes(png(coloured, bits))
        found = read_picture(tmp_path / "a.png", (6, 6))
        assert np.array_equal(found.values, expected(coloured, 2**bits - 1))
        # The kernel is a triangle of two output pixels, not a box of one.
        small = read_picture(tmp_path / "a.png", (3, 3)).values
        assert np.array_equal(small.shape, (3, 3, 3))
        kernel = triangle(6, 3)
        wanted = np.einsum("ij,jkc,lk->cil", kernel, coloured, kernel) / (2**bits - 1)
        # Bytes are rounded after each of the two passes.
        assert np.abs(small - wanted).max() <= (1.01 / 255 if bits == 8 else 1e-5)


def triangle(length: int, count: int) -> np.ndarray:
    """Weights [count, length] of the bilinear kernel, as wide as two of the output's pixels."""
    scale = length / count
    centres = (np.arange(count)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(length) + 0.5 - centres) / scale)
    return weights / weights.sum(axis=1, keepdims=True)


def test_a_scale_replaces_white(tmp_path: Path) -> None:
    samples = np.array([[0, 1, 1], [1, 0, 1]])
    (tmp_path / "a.png").write_bytes(png(samples, 8))
    found = read_picture(tmp_path / "a.png", scale=1.0)
    assert np.array_equal(found.values, samples)
    assert found.depth == "8 bits, as they are"
    assert found.brightness == 1 / 255
    (tmp_path / "a.png").write_bytes(png(samples * 4095, 16))
    assert np.array_equal(read_picture(tmp_path / "a.png", scale=4095).values, samples)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"II*\0\x08\0\0\0\xff\xff", b"GIF89a", b"P5"]
)
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp", "webp"])
def test_damaged_pictures_are_named(tmp_path: Path, ending: str, content: bytes) -> None:
    with pytest.raises(InputError, match=rf"a\.{ending}: cannot be read as an image"):
        read(tmp_path, content, ending)


@given(st.data())
@settings(
    max_examples=200, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_bytes_changed_at_random_give_a_picture_or_one_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    samples = whole_numbers(8, 6, 5)
    small = samples.astype(np.uint8)
    kinds = ["GIF", "BMP", "SGI", "TGA", "PCX", "JPEG", "WEBP"]
    whole = data.draw(
        st.sampled_from([png(samples, 8), tiff(samples, 16), *(saved(small, k) for k in kinds)])
    )
    changed = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with memory_limit(10**9):
        try:
            found = read(tmp_path, bytes(changed), "bin")
        except InputError as error:
            assert str(error).startswith(str(tmp_path))
            assert "\n" not in str(error)
        else:
            assert np.isfinite(found.values).all()


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    data = png(np.zeros((1, 1), np.int64), 8)
    huge = data.replace(struct.pack(">II", 1, 1), struct.pack(">II", 60_000, 60_000), 1)
    header = huge[12:29]
    huge = huge[:29] + struct.pack(">I", zlib.crc32(header)) + huge[33:]
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image \(Image size"):
        read(tmp_path, huge)
    with memory_limit(10**6), pytest.raises(InputError, match=r"a\.png: needs .* the limit is"):
        read(tmp_path, png(whole_numbers(8, 300, 300), 8))


def test_other_programs_are_never_started(tmp_path: Path) -> None:
    suffixes = picture_suffixes()
    assert {".png", ".jpg", ".tiff", ".gif", ".webp", ".pgm"} <= set(suffixes)
    assert not {".eps", ".ps", ".wmf", ".emf", ".pdf", ".mpg"} & set(suffixes)
    with pytest.raises(InputError, match="cannot be read as an image"):
        read(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "eps")


def test_errors_of_the_file_system_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.png: no such file; expected a picture"):
        read_picture(tmp_path / "b.png")


def test_photographs_of_van_hateren_are_pictures(tmp_path: Path) -> None:
    stored = whole_numbers(13, 1024, 1536)
    (tmp_path / "imk00001.IML").write_bytes(stored.astype(">u2").tobytes())
    found = read_picture(tmp_path / "imk00001.IML")
    assert np.array_equal(found.values, stored)
    assert (found.depth, found.brightness) == ("16 bits, as they are", 1.0)
    scaled = read_picture(tmp_path / "imk00001.IML", size=(8, 12), scale=8191)
    blocks = stored.reshape(8, 128, 12, 128).mean(axis=(1, 3)) / 8191
    # The kernel is twice as wide as a block: both average thousands of independent samples.
    assert np.abs(scaled.values - blocks).max() < 0.02
    (tmp_path / "short.imc").write_bytes(b"\0" * 10)
    with pytest.raises(InputError, match=r"short\.imc: expected a photograph of van Hateren's"):
        read_picture(tmp_path / "short.imc")
