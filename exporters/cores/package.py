"""A SpiNNaker2 application: sources for each core, how they fit its memory, who sends to whom."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pvae_neuro.errors import PlacementError
from pvae_neuro.exporters.c import Layout, circuit_source, layout_of
from pvae_neuro.exporters.cores.cut import HOST, Core, Cut, cut
from pvae_neuro.exporters.cores.messages import (
    HEADER,
    KERNEL,
    MAIN,
    MARK,
    messages_source,
    outbox_size,
)
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.folders import check_folder_target, write_folder
from pvae_neuro.utils.paths import user_path

CORE_BYTES = 128_000
"""Memory of a core for code and data: 128 kB, of 1,000 bytes where the sources leave it open."""
CODE_BYTES, STACK_BYTES = 8 << 10, 2 << 10
"""Reserved, also for the platform's part; ``docs/spinnaker2.md`` has what the code takes of it."""
MESSAGE_BYTES = 8
_MANIFEST, _GOLDEN = "package.json", "golden.json"
_MAKEFILE = """\
# {mark}. `make` builds an object for each core: its neurons, its messages and main.
# To be linked with the platform's start code and its platform_exchange.

CC = arm-none-eabi-gcc
TARGET = -mcpu=cortex-m4 -mthumb
CFLAGS = -std=c99 -O2 -ffreestanding
ITERATIONS = 32
CORES = {cores}

all: $(CORES:=/core.o)

%/core.o: %/kernel.c %/kernel_weights.c %/messages.c %/kernel.h main.c cores.h
\t$(CC) $(TARGET) $(CFLAGS) -DITERATIONS=$(ITERATIONS) -I. -I$* -nostdlib -r -o $@ \\
\t    $*/kernel.c $*/kernel_weights.c $*/messages.c main.c

clean:
\trm -f $(CORES:=/core.o)

.PHONY: all clean
"""


@dataclass(frozen=True)
class Memory:
    """Bytes of one core.

    Attributes
    ----------
    weights, constants : int
        Arrays that the code reads; ``constants`` are those of neurons, and the pointers to all.
    state : int
        Variables, received sums and random words of the core's own neurons.
    buffers : int
        Copies of what other cores and the host send.
    outbox : int
    code, stack : int
        Reserved.
    """

    weights: int
    constants: int
    state: int
    buffers: int
    outbox: int
    code: int = CODE_BYTES
    stack: int = STACK_BYTES

    @property
    def total(self) -> int:
        """All of it."""
        return sum(vars(self).values())

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in vars(self).items())


def memory_of(network: Cut, core: Core, layout: Layout) -> Memory:
    """How a core's program fills its memory."""
    sizes = {path: a.nbytes for path, a in layout.data.items()}
    weights = sum(size for path, size in sizes.items() if path[0] == "weights")
    state = layout.state_dtype
    own = {layout.names.population[name] for name in core.populations}
    fields = {name: state[name].itemsize for name in state.names or ()}
    here = sum(size for name, size in fields.items() if name in own)
    return Memory(
        weights=weights,
        constants=sum(sizes.values()) - weights + layout.data_dtype("<u4").itemsize,
        state=here,
        buffers=sum(fields.values()) - here,
        outbox=MESSAGE_BYTES * max(1, outbox_size(network, core)),
    )


def core_files(network: Cut, core: Core) -> dict[str, str]:
    """C texts of one core by name, without what all cores have in common."""
    layout = layout_of(core.circuit, KERNEL)
    return {
        **circuit_source(core.circuit, KERNEL),
        "messages.c": messages_source(network, core, layout),
    }


COMMON = {"cores.h": HEADER, "main.c": MAIN}
"""C texts that all cores have in common, by name."""


@checked
def write_cores(
    network: IntegerNetwork,
    folder: str | os.PathLike[str],
    cores: Sequence[Sequence[str]] | None = None,
    core_bytes: int = CORE_BYTES,
    golden: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network as C sources for the cores of a SpiNNaker2 chip, whole or not at all.

    Parameters
    ----------
    network : IntegerNetwork
        Its populations are no larger than a core holds; ``placement.network`` is such a one.
    folder : path-like
        New, empty, or an earlier package, which is replaced (``docs/spinnaker2.md``).
    cores : sequence of sequences of str, optional
        Names of the populations of each core; by default every population has a core of its own.
    core_bytes : int
        Memory of a core.
    golden : mapping, optional
        A short run with all messages, as :func:`~pvae_neuro.sim.c_kernel.cores.golden_run` makes
        it of the same network and cores; written as ``golden.json``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    PlacementError
        If a core's program does not fit its memory; says what takes how much.
    NetworkError
        If a word of the network is not proved to fit its width, or a population has no core or
        several.
    InputError
        If the folder holds anything else, or cannot be written.
    """
    check_cores_folder(folder)
    network.require_proof()
    made = cut(network, cores)
    names = [f"core_{core.number:0{len(str(len(made.cores) - 1))}}" for core in made.cores]
    maps = [memory_of(made, core, layout_of(core.circuit, KERNEL)) for core in made.cores]
    for core, memory in zip(made.cores, maps, strict=True):
        if memory.total > core_bytes:
            short = (
                f"core {core.number}, {', '.join(core.populations)}: expected at most "
                f"{core_bytes:,} bytes, got {memory.total:,} ({memory})"
            )
            remedy = "split its populations over more cores"
            raise PlacementError(f"{short}; {remedy}", (short,), (remedy,))
    files = {**COMMON, _MANIFEST: _manifest(network, made, names, maps, core_bytes)}
    if golden is not None:
        files[_GOLDEN] = json.dumps(golden) + "\n"
    files["Makefile"] = _MAKEFILE.format(mark=MARK, cores=" ".join(names))
    for core, name in zip(made.cores, names, strict=True):
        files |= {f"{name}/{file}": text for file, text in core_files(made, core).items()}
    return write_folder(folder, files, _earlier(folder))


def check_cores_folder(folder: str | os.PathLike[str]) -> None:
    """Raise :class:`InputError` where :func:`write_cores` would lose something of the folder."""
    check_folder_target(folder, _earlier(folder))


def _earlier(folder: str | os.PathLike[str]) -> set[str]:
    """Files of an earlier package, and what its Makefile builds, by path within the folder."""
    own = {*COMMON, _MANIFEST, _GOLDEN, "Makefile"}
    parts = ("kernel.h", "kernel.c", "kernel_weights.c", "kernel.txt", "messages.c", "core.o")
    cores = user_path(folder).glob("core_*")
    return own | {f"{path.name}/{part}" for path in cores for part in parts}


def _manifest(
    network: IntegerNetwork, made: Cut, names: list[str], maps: list[Memory], core_bytes: int
) -> str:
    def party(core: int) -> int | str:
        return "host" if core == HOST else core

    found = {
        "network": network.name,
        "iteration_phases": made.iteration_phases,
        "phases": made.phases,
        "core_bytes": core_bytes,
        "cores": [
            {
                "core": core.number,
                "folder": name,
                "populations": {p: network.population_of[p].size for p in core.populations},
                "bytes": {**vars(memory), "total": memory.total},
            }
            for core, name, memory in zip(made.cores, names, maps, strict=True)
        ],
        "messages": [
            {
                "number": link.number,
                "variable": f"{link.population}.{link.variable}",
                "size": link.size,
                "from": party(link.source),
                "to": [party(core) for core in link.targets],
                "after_phases": list(link.phases),
            }
            for link in made.links
        ],
    }
    return json.dumps(found, indent=2) + "\n"
