"""The files of a library: header, source and weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.c import programs
from pvae_neuro.exporters.c.layout import Layout, layout_of
from pvae_neuro.exporters.c.operations import helpers
from pvae_neuro.exporters.c.programs import signature
from pvae_neuro.exporters.c.sampler import draw_functions
from pvae_neuro.network import Circuit, IntegerNetwork, listing
from pvae_neuro.utils.arguments import checked

MARK = "Written by pvae-neuro"
_NUMBERS_IN_A_LINE = 20
_MAIN = {
    "reset": "Every variable at the start of a run.",
    "iteration": "One iteration: all activations in their order.",
    "final": "Once after the last iteration, with words of its own step.",
}


@checked
def c_source(
    network: IntegerNetwork, name: str | None = None, weights: bool = True
) -> dict[str, str]:
    """A network as a C99 library: text by name of file.

    Parameters
    ----------
    network : IntegerNetwork
    name : str, optional
        Of the files, and of all that is global in them; by default the network's.
    weights : bool
        Whether to write ``NAME_weights.c`` too, which holds every array. The other files do not
        depend on the values in them.

    Raises
    ------
    NetworkError
        If a word of the network could leave its width.
    """
    network.require_proof()
    return circuit_source(network, name, weights)


def circuit_source(
    circuit: Circuit, name: str | None = None, weights: bool = True
) -> dict[str, str]:
    """The same for integers whose proof the caller has, such as a part of a network."""
    layout = layout_of(circuit, name)
    prefix = layout.names.prefix
    files = {f"{prefix}.h": _header(circuit, layout), f"{prefix}.c": _source(circuit, layout)}
    if weights:
        files[f"{prefix}_weights.c"] = _weights(layout)
        files[f"{prefix}.txt"] = listing(circuit)
    return files


def _header(network: Circuit, layout: Layout) -> str:
    prefix = layout.names.prefix
    main = "\n".join(
        f"/* {what} */\n{signature(layout.names, f'{prefix}_{name}')};"
        for name, what in _MAIN.items()
    )
    parts = "\n".join(
        f"{signature(layout.names, name)};"
        for name in dict.fromkeys([*layout.names.receive.values(), *layout.names.program.values()])
    )
    words = ", ".join(f"state->{layout.names.population[p.name]}.word" for p in network.drawing)
    inputs = ", ".join(
        f"state->{layout.names.population[e.population]}."
        f"{layout.names.member[e.population, e.variable]}"
        for e in network.encodings
    )
    guard = f"PVAE_NEURO_{prefix.upper()}_H"
    return f"""\
/* {MARK}: network {network.name} in C99 integers. The listing is in {prefix}.txt.

   A run: {prefix}_reset; set the input ({inputs or "none"}), once for each frame; before each
   step set the random words ({words or "none"}); call {prefix}_iteration for each
   iteration, and {prefix}_final once after the last one. */

#ifndef {guard}
#define {guard}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{layout.declarations()}
/* All arrays, in {prefix}_weights.c; any other data of this type may take their place. */
extern const {prefix}_data {prefix}_values;

{main}

/* The parts of an iteration. */
{parts}

#ifdef __cplusplus
}}
#endif

#endif
"""


def _source(network: Circuit, layout: Layout) -> str:
    names = layout.names
    functions, needed = [], dict[str, None]()
    for p in network.populations:
        functions += [programs.program_function(names, p, q) for q in p.programs]
    for activation in names.receive:
        text, calls = programs.receive_function(network, names, activation)
        functions.append(text)
        needed |= {f: None for call in calls for f in call.functions}
    functions += [
        programs.reset_function(network, names),
        programs.schedule_function(names, f"{names.prefix}_iteration", network.iteration),
        programs.schedule_function(names, f"{names.prefix}_final", network.final),
    ]
    body = "\n".join(functions)
    samplers = [
        p.sampler
        for p in network.populations
        if p.sampler and any("draw" in q.operations for q in p.programs)
    ]
    parts = [draw_functions(samplers)]
    parts += [programs.CLEAR] if names.receive else []
    parts += [programs.SHIFT] if " shift(" in body else []
    parts += needed
    text = "\n".join(part for part in [*parts, body] if part)
    words = helpers(text)
    return f'/* {MARK}; see {names.prefix}.h. */\n\n#include "{names.prefix}.h"\n\n{words}\n{text}'


def _weights(layout: Layout) -> str:
    prefix, arrays, members = layout.names.prefix, [], []
    for number, (path, array) in enumerate(layout.data.items()):
        kind = "int8_t" if array.dtype == np.int8 else "int32_t"
        arrays.append(f"/* {'.'.join(path)} */\n{c_array(f'array_{number}', kind, array)}")
        members.append(f"    .{'.'.join(path)} = array_{number},")
    members = members or ["    .none = 0,"]
    return (
        f"/* {MARK}: all arrays of {prefix}.h. Weights of dense connections lie by source. */\n\n"
        f'#include "{prefix}.h"\n\n'
        + "\n".join(arrays)
        + f"\nconst {prefix}_data {prefix}_values = {{\n"
        + "\n".join(members)
        + "\n};\n"
    )


def c_array(name: str, kind: str, values: NDArray[Any]) -> str:
    """An array of numbers that nothing changes."""
    return f"static const {kind} {name}[{values.size}] = {{\n{_numbers(values.ravel())}\n}};\n"


def _numbers(values: Iterable[Any]) -> str:
    texts = [str(value) for value in np.asarray(values).tolist()]
    return ",\n".join(
        ",".join(texts[k : k + _NUMBERS_IN_A_LINE])
        for k in range(0, len(texts), _NUMBERS_IN_A_LINE)
    )
