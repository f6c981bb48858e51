"""A network as programs for the cores of a chip. ``docs/spinnaker2.md``."""

from __future__ import annotations

from pvae_neuro.exporters.cores.cut import HOST, WORD, Core, Cut, Link, cut
from pvae_neuro.exporters.cores.messages import KERNEL
from pvae_neuro.exporters.cores.package import (
    COMMON,
    Memory,
    check_cores_folder,
    core_files,
    memory_of,
    write_cores,
)

__all__ = [
    "COMMON",
    "HOST",
    "KERNEL",
    "WORD",
    "Core",
    "Cut",
    "Link",
    "Memory",
    "check_cores_folder",
    "core_files",
    "cut",
    "memory_of",
    "write_cores",
]
