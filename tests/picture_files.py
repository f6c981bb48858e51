"""PNG and TIFF files of any depth, written byte by byte: Pillow is not its own reference."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def png(
    samples: np.ndarray,
    bits: int,
    palette: np.ndarray | None = None,
    transparent: bytes = b"",
    orientation: int = 1,
) -> bytes:
    """A PNG of [H, W] or [H, W, C] whole numbers of 1 to 16 bits, C 2 to 4; indices of a palette
    [N, 3] if there is one. ``transparent`` is the content of the chunk tRNS."""
    height, width = samples.shape[:2]
    kinds = {1: 0, 2: 4, 3: 2, 4: 6}
    channels = samples.shape[2] if samples.ndim == 3 else 1
    kind = kinds[channels] if palette is None else 3
    rows = b"".join(b"\0" + row for row in packed_rows(samples, bits, ">"))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    if palette is not None:
        chunks.append((b"PLTE", palette.astype(np.uint8).tobytes()))
    if transparent:
        chunks.append((b"tRNS", transparent))
    if orientation != 1:
        chunks.append(
            (b"eXIf", b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0))
        )
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def tiff(
    samples: np.ndarray,
    bits: int,
    *,
    photometric: int | None = None,
    order: str = "<",
    deflate: bool = False,
    planar: bool = False,
    sample_format: int = 1,
    orientation: int = 1,
    extra: int | None = None,
    palette: np.ndarray | None = None,
) -> bytes:
    """A TIFF of one strip (one for each plane if planar) of samples [H, W] or [H, W, C]."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    planes = [samples[..., c] for c in range(channels)] if planar else [samples]
    strips = [b"".join(packed_rows(plane, bits, order)) for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    if photometric is None:
        photometric = 1 if channels < 3 else 2
    offsets = [8 + sum(map(len, strips[:place])) for place in range(len(strips))]
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels),
        259: (3, [8 if deflate else 1]), 262: (3, [photometric]), 273: (4, offsets),
        274: (3, [orientation]), 277: (3, [channels]), 278: (4, [height]),
        279: (4, [len(strip) for strip in strips]), 284: (3, [2 if planar else 1]),
        339: (3, [sample_format] * channels),
    }  # fmt: skip
    if extra is not None:
        tags[338] = (3, [extra])
    if palette is not None:
        tags[320] = (3, (palette.astype(int) * 257).T.ravel().tolist())
    body = b"".join(strips)
    body += b"\0" * (len(body) % 2)
    directory, heap = b"", b""
    heap_at = 8 + len(body) + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(data) > 4:
            place = struct.pack(f"{order}I", heap_at + len(heap))
            heap += data
        else:
            place = data.ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + place
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return (
        mark + struct.pack(f"{order}I", 8 + len(body)) + body
        + struct.pack(f"{order}H", len(tags)) + directory + bytes(4) + heap
    )  # fmt: skip


def packed_rows(samples: np.ndarray, bits: int, order: str) -> list[bytes]:
    """Rows of samples of so many bits, each padded to whole bytes; 32 and 64 bits are floats."""
    rows = samples.reshape(len(samples), -1)
    if samples.dtype.kind == "f":
        return [row.astype(f"{order}f{bits // 8}").tobytes() for row in rows]
    if bits in (8, 16, 32):
        return [row.astype(f"{order}u{bits // 8}").tobytes() for row in rows]
    # The highest bit of each sample comes first.
    places = np.arange(bits)[::-1]
    return [
        np.packbits((row[:, None] >> places & 1).astype(np.uint8).ravel()).tobytes() for row in rows
    ]
