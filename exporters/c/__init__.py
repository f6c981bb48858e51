"""A network as a C99 library: no floats, no heap, no table but its weights. ``docs/c.md``."""

from __future__ import annotations

from pvae_neuro.exporters.c.folder import check_library_folder, write_library
from pvae_neuro.exporters.c.golden import GoldenRun
from pvae_neuro.exporters.c.layout import Layout, layout_of
from pvae_neuro.exporters.c.library import c_source, circuit_source

__all__ = [
    "GoldenRun",
    "Layout",
    "c_source",
    "check_library_folder",
    "circuit_source",
    "layout_of",
    "write_library",
]
