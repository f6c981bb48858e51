"""Memory and time of ``pvae-neuro evaluate`` as the number of images grows.

Usage::

    python benchmarks/memory_of_evaluate.py MODEL.onnx [--counts 10000 100000 1000000]
        [--steps 2] [--engine fast] [--digits digits.npy] [--json memory.json]

Files of bytes ``.npy`` [N, 28, 28] are made in a temporary folder, of the shipped digits moved
about, or of those of a file. Each is evaluated by a process of its own, whose memory is read while
it runs: what it holds itself (``RssAnon``), and the pages of files that it has mapped, which the
system takes back when it needs them (``RssFile``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, versions
from numpy.typing import NDArray

from pvae_neuro.zoo import sample_digits

POLL_SECONDS = 0.05
FIELDS = ("RssAnon", "RssFile")


def digits_of(path: Path | None) -> NDArray[np.uint8]:
    """Digits as bytes [n, 28, 28]."""
    if path is not None:
        given: NDArray[np.uint8] = np.load(path)
        return given.reshape(-1, 28, 28)
    return np.rint(255 * sample_digits()[0]).astype(np.uint8).reshape(-1, 28, 28)


def make(path: Path, count: int, digits: NDArray[np.uint8]) -> None:
    """Write so many images: the digits, moved by a few pixels."""
    images: Any = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=(count, *digits.shape[1:])
    )
    for number, first in enumerate(range(0, count, len(digits))):
        moved = np.roll(digits, (number // 5 % 5 - 2, number % 5 - 2), axis=(1, 2))
        images[first : first + len(digits)] = moved[: count - first]
    images.flush()


def memory(process: int) -> dict[str, int]:
    """Bytes that a process holds, by kind."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    found = (line.split() for line in lines if line.startswith(FIELDS))
    return {name.rstrip(":"): 1024 * int(size) for name, size, _ in found}


def peaks(words: list[str]) -> dict[str, Any]:
    """Run a command; most memory of each kind, seconds by the clock, and what it printed."""
    start = time.perf_counter()
    most = dict.fromkeys(FIELDS, 0)
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(words, stdout=printed)
        while process.poll() is None:
            for name, size in _seen(process.pid):
                most[name] = max(most[name], size)
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - start
        printed.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(words)}: ended with {process.returncode}")
        return {**most, "seconds": seconds, "result": json.load(printed)}


def _seen(process: int) -> Iterator[tuple[str, int]]:
    try:
        yield from memory(process).items()
    except (OSError, ValueError):  # It has just ended.
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--engine", default="fast")
    parser.add_argument("--digits", type=Path, help=".npy of bytes [n, 28, 28]")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rows = []
    for count in chosen.counts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x.npy")
            make(path, count, digits_of(chosen.digits))
            words = [
                sys.executable, "-m", "pvae_neuro", "evaluate", chosen.model, "-i", str(path),
                "--steps", str(chosen.steps), "-e", chosen.engine, "--quiet", "--json", "-",
            ]  # fmt: skip
            found = peaks(words)
            mse = found.pop("result")["final"]["mse"]
            row = {"images": count, "file_bytes": path.stat().st_size, "mse": mse, **found}
        rows.append(row)
        print(
            f"{count:>9,} images: own memory {row['RssAnon'] / 1e6:.1f} MB, mapped files "
            f"{row['RssFile'] / 1e6:.1f} MB (the images are {row['file_bytes'] / 1e6:.1f} MB), "
            f"{row['seconds']:.1f} s, mse {mse:.4f}",
            flush=True,
        )
    if len(rows) > 1:
        few, many = rows[0], rows[-1]
        grown = (many["RssAnon"] - few["RssAnon"]) / (many["images"] - few["images"])
        print(f"own memory grows by {grown:.2f} bytes for each further image")
    if chosen.json:
        content = {"machine": machine(), "versions": versions(), "rows": rows}
        chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
