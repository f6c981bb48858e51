"""Limits of the instructions that compiled code and libraries may use.

Usage: python benchmarks/limits.py avx2 [--samples 4] [--steps 16] [--json out.json]

Run so, it compares ``fast`` with ``reference`` under a limit: all variables of all shipped models,
in all their circuits, at every iteration. ``none`` is this processor as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_SSE4 = ("sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16", "sahf")
_AVX2 = (*_SSE4, "avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe", "xsave")
_NUMPY_AVX512 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"


def _environment(name: str, features: tuple[str, ...], **libraries: str) -> dict[str, str]:
    written = ",".join(f"+{feature}" for feature in features)
    return {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": written, **libraries}


# What LLVM makes code for; then BLAS, MKL, oneDNN, PyTorch and NumPy. ONNX Runtime has no such
# switch, and is no part of the engine.
LIMITS = {
    "avx2": _environment(
        "haswell", _AVX2, OPENBLAS_CORETYPE="Haswell", MKL_ENABLE_INSTRUCTIONS="AVX2",
        ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2",
        NPY_DISABLE_CPU_FEATURES=_NUMPY_AVX512,
    ),
    "sse4": _environment(
        "nehalem", _SSE4, OPENBLAS_CORETYPE="Nehalem", MKL_ENABLE_INSTRUCTIONS="SSE4_2",
        ONEDNN_MAX_CPU_ISA="SSE41", ATEN_CPU_CAPABILITY="default",
        NPY_DISABLE_CPU_FEATURES=f"AVX F16C FMA3 AVX2 {_NUMPY_AVX512}",
    ),
}  # fmt: skip


def limited(name: str) -> dict[str, str]:
    """Variables of the environment that make a limit."""
    return LIMITS[name]


def differing_integers(
    environment: dict[str, str], samples: int = 4, steps: int = 16
) -> list[dict[str, Any]]:
    """Compare ``fast`` with ``reference`` in a process that has this environment."""
    words = [sys.executable, __file__, "--compare", str(samples), str(steps)]
    done = subprocess.run(
        words, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    for row in found:
        print(
            f"{row['model']:20} {row['circuit']:12} {row['compared']:9} integers compared, "
            f"{row['differing']} differ"
        )
    print(f"{sum(row['differing'] for row in found)} differing integers (expected 0)")
    return found


def _compare(samples: int, steps: int) -> list[dict[str, Any]]:
    import numpy as np

    import pvae_neuro as pn
    from pvae_neuro.exporters.lowerings import topologies
    from pvae_neuro.saved.shipped import SHIPPED

    digits, _ = pn.sample_digits()
    flat = digits.reshape(len(digits), -1)
    rows = []
    for name in SHIPPED:
        model = pn.load_model(name)
        for circuit in topologies(model.config.family):
            network = pn.quantize(model, flat[:64], pn.QuantizeConfig(topology=circuit))
            runs = [
                pn.get_engine(engine).run(
                    network, flat[:samples], steps, 0, record="full", progress=False
                )
                for engine in ("reference", "fast")
            ]
            pairs = [tuple(run[variable] for run in runs) for variable in network.variables]
            rows.append(
                {
                    "model": name,
                    "circuit": circuit,
                    "compared": sum(a.size for a, _ in pairs),
                    "differing": sum(int(np.count_nonzero(a != b)) for a, b in pairs),
                }
            )
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--compare"]:
        print(json.dumps(_compare(*map(int, sys.argv[2:]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("limit", choices=[*LIMITS, "none"])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        environment = {**LIMITS.get(chosen.limit, {}), "NUMBA_CACHE_DIR": cache}
        found = differing_integers(environment, chosen.samples, chosen.steps)
    if chosen.json:
        chosen.json.write_text(json.dumps({"limit": chosen.limit, "models": found}, indent=1))


if __name__ == "__main__":
    main()
