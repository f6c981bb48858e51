"""Write a library into a folder of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pvae_neuro.exporters.c.golden import GoldenRun, files_of_test
from pvae_neuro.exporters.c.layout import layout_of
from pvae_neuro.exporters.c.library import MARK, c_source
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.utils.folders import check_folder_target, write_folder
from pvae_neuro.utils.paths import user_path

_MAKEFILE = """\
# {mark}. `make` builds a shared library, `make test` runs the golden vector.

CC ?= cc
CFLAGS ?= -O2
STRICT = -std=c99 -Wall -Wextra -pedantic
FILES = {prefix}.c {prefix}_weights.c

lib{prefix}.so: $(FILES) {prefix}.h
\t$(CC) $(CFLAGS) $(STRICT) -shared -fPIC -o $@ $(FILES)

{prefix}_test: {prefix}_test.c {prefix}_golden.h $(FILES) {prefix}.h
\t$(CC) $(CFLAGS) $(STRICT) -o $@ {prefix}_test.c $(FILES)

test: {prefix}_test
\t./{prefix}_test

clean:
\trm -f lib{prefix}.so {prefix}_test

.PHONY: test clean
"""


def library_files(
    network: IntegerNetwork, run: GoldenRun, name: str | None = None
) -> Mapping[str, str]:
    """All files of a library with its test, by name."""
    layout = layout_of(network, name)
    makefile = _MAKEFILE.format(mark=MARK, prefix=layout.names.prefix)
    tests = files_of_test(layout, run)
    return {**c_source(network, name), **tests, "Makefile": makefile}


def write_library(
    network: IntegerNetwork,
    folder: str | os.PathLike[str],
    run: GoldenRun,
    name: str | None = None,
) -> Path:
    """Write a library with its test into a folder, whole or not at all; the folder's path.

    Raises
    ------
    InputError
        If the folder holds anything but an earlier library, or cannot be written.
    NetworkError
        If a word of the network could leave its width.
    """
    return write_folder(folder, library_files(network, run, name), _earlier(folder))


def check_library_folder(folder: str | os.PathLike[str]) -> None:
    """Raise :class:`InputError` where :func:`write_library` would lose something."""
    check_folder_target(folder, _earlier(folder))


def _earlier(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the files of the library that lies in a folder; none where there is none."""
    try:
        makefile = Path(user_path(folder), "Makefile").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ()
    named = re.search(r"^lib(\w+)\.so:", makefile, re.MULTILINE)
    if not makefile.startswith(f"# {MARK}") or named is None:
        return ()
    name = named[1]
    endings = (".h", ".c", ".txt", "_weights.c", "_golden.h", "_test.c", "_test")
    return ("Makefile", f"lib{name}.so", *(name + ending for ending in endings))
