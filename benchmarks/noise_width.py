"""Cost of the noise against the lateral products, in one compiled kernel (docs/decisions.md).

Usage: python benchmarks/noise_width.py [--latents 512] [--repeats 200]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic

STEPS = 200


MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
WEYL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


@intrinsic
def _wide_product(typing_context: Any, a: Any, b: Any) -> Any:
    """Both halves of a 64 by 64 bit product, high and low: one instruction."""
    signature = UniTuple(types.uint64, 2)(types.uint64, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(value, wide) for value in arguments))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        halves = [high, builder.trunc(product, word)]
        return context.make_tuple(builder, signature.return_type, halves)

    return signature, generate


@nb.njit
def make_noise(raw: np.ndarray, steps: int) -> None:
    """Philox4x64-10, as in ``sim/fast/philox.py``."""
    for step in range(steps):
        for block in range(len(raw) // 4):
            c0, c1, c2, c3 = np.uint64(block + 1), np.uint64(step), np.uint64(3), np.uint64(0)
            k0, k1 = np.uint64(7), np.uint64(0)
            for _ in range(10):
                high_0, low_0 = _wide_product(MULTIPLIERS[0], c0)
                high_1, low_1 = _wide_product(MULTIPLIERS[1], c2)
                c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
                k0 += WEYL[0]
                k1 += WEYL[1]
            raw[4 * block], raw[4 * block + 1] = c0, c1
            raw[4 * block + 2], raw[4 * block + 3] = c2, c3


@nb.njit
def add_rows(counts: np.ndarray, weight: np.ndarray, total: np.ndarray, steps: int) -> None:
    for _ in range(steps):
        total[:] = 0
        for j in range(counts.shape[0]):
            if counts[j]:
                z = np.int16(counts[j])
                for i in range(weight.shape[1]):
                    total[i] += np.int16(z * np.int16(weight[j, i]))


def best_times(tasks: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Shortest time per step in microseconds; the tasks take turns."""
    best = dict.fromkeys(tasks, np.inf)
    for task in tasks.values():
        task()
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            best[name] = min(best[name], (time.perf_counter() - start) / STEPS * 1e6)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    k = options.latents
    rng = np.random.default_rng(0)
    weight = rng.integers(-100, 100, (k, k)).astype(np.int8)
    counts = (rng.random(k) < 0.11).astype(np.uint8)
    total = np.zeros(k, np.int16)
    short, wide = np.zeros(k // 4, np.uint64), np.zeros(k // 2, np.uint64)
    result = best_times(
        {
            "16-bit words": lambda: make_noise(short, STEPS),
            "32-bit words": lambda: make_noise(wide, STEPS),
            "lateral products, 11 % active": lambda: add_rows(counts, weight, total, STEPS),
        },
        options.repeats,
    )
    print(json.dumps({"machine": platform.processor(), "microseconds": result}, indent=2))


if __name__ == "__main__":
    main()
