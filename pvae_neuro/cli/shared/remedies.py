"""What to type against an error of the library, which itself knows no command line."""

from __future__ import annotations

# By the ``remedy`` of an error; see the exceptions that have one.
FLAGS = {
    "board": "--board NAME, --limits largest",
    "narrower": "lower --max-count, --frac-bits or --weight-bits",
    "predictive": "--weight-bits 8, or --topology predictive",
    "counts": "a larger --max-count",
    "accept": "--weight-bits 8, other images to --calibrate with, or --accept to write it",
    "clip": "--clip",
    "frames": "run, evaluate and verify take them with --hold N",
    "hard_clamp": "train --clamp hard --clamp-u 3.65",
    "rectifiers": """train --architecture '{"activation": "relu"}'""",
    "input_range": "--input-range LOW HIGH",
    "key": "--key NAME",
    "layout": "--layout AXES",
    "max_memory": "--max-memory GB",
    "scale": "--scale NUMBER",
    "size": "--size HxW",
    "tolerance": "a larger --tolerance",
    "split": "--split PART, or --key NAME",
}


def with_flags(error: Exception) -> str:
    """Message of an error, with the flags that may help where there are any."""
    flags = FLAGS.get(getattr(error, "remedy", None) or "")
    return str(error) if flags is None else f"{error} ({flags})"
