"""How a network lies in memory: its state, and the arrays that its code is given.

Both are structures of C and the same structures of NumPy, so that a caller reads and writes the
memory of a library by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.c.connections import stored_weight
from pvae_neuro.exporters.c.names import Names, names_of
from pvae_neuro.network import Circuit

Path = tuple[str, ...]
_C_TYPES = {"i1": "int8_t", "i4": "int32_t", "u2": "uint16_t"}
Tree = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Layout:
    """Structures of a network.

    Attributes
    ----------
    names : Names
    state : dict of tuple to (str, int)
        Type and length of each array of the state: ``("latents", "u")``. The words of a population
        that draws are its ``word``.
    data : dict of tuple to int8 or int32 [n]
        Arrays that the code reads: ``("weights", connection)``, ``("constants", population, name)``
        and ``("initial", population, variable)``. What all neurons share stands in the code.
    """

    names: Names
    state: Mapping[Path, tuple[str, int]]
    data: Mapping[Path, NDArray[Any]]

    @cached_property
    def state_dtype(self) -> np.dtype[Any]:
        """The state as a structured type of NumPy, laid out as C does."""
        return _dtype(_tree({path: (f"<{k}", (n,)) for path, (k, n) in self.state.items()}))

    def data_dtype(self, pointer: str) -> np.dtype[Any]:
        """The structure of pointers to the arrays; ``pointer`` is ``<u4`` or ``<u8``."""
        return _dtype(_tree(dict.fromkeys(self.data or [("none",)], (pointer, ()))))

    def declarations(self) -> str:
        """Both structures in C."""
        state = {path: f"{_C_TYPES[k]} %s[{n}];" for path, (k, n) in self.state.items()}
        data = {
            path: f"const {_C_TYPES[array.dtype.str[1:]]} *%s;  /* [{array.size}] */"
            for path, array in self.data.items()
        } or {("none",): "const void *%s;"}
        prefix = self.names.prefix
        return (
            f"typedef struct {{\n{_members(_tree(state), 1)}}} {prefix}_state;\n\n"
            f"typedef struct {{\n{_members(_tree(data), 1)}}} {prefix}_data;\n"
        )


def layout_of(network: Circuit, name: str | None = None) -> Layout:
    """Structures of a network whose global names begin with ``name``."""
    names = names_of(network, name)
    state: dict[Path, tuple[str, int]] = {}
    weights: dict[Path, NDArray[Any]] = {
        ("weights", names.connection[c.name]): stored_weight(c)
        for c in network.connections
        if c.shared is None
    }
    constants: dict[Path, NDArray[Any]] = {}
    initial: dict[Path, NDArray[Any]] = {}
    for p in network.populations:
        own = names.population[p.name]
        read = {r for q in p.programs for r in q.reads}
        received = (r for q in p.programs for r in p.received_names(q))
        for name_ in dict.fromkeys([*(v.name for v in p.variables), *received]):
            state[own, names.member[p.name, name_]] = ("i4", p.size)
        if p in network.drawing:
            state[own, "word"] = ("u2", p.size)
        for constant in p.constants:
            if len(constant.values) > 1 and constant.name in read:
                path = ("constants", own, names.member[p.name, constant.name])
                constants[path] = constant.values
        for variable in p.variables:
            if len(variable.initial) > 1:
                initial["initial", own, names.member[p.name, variable.name]] = variable.initial
    return Layout(names, state, {**weights, **constants, **initial})


def _tree(flat: Mapping[Path, Any]) -> Tree:
    tree: Tree = {}
    for path, value in flat.items():
        branch = tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = value
    return tree


def _dtype(tree: Tree) -> np.dtype[Any]:
    fields: list[Any] = []
    for name, value in tree.items():
        fields.append((name, _dtype(value)) if isinstance(value, dict) else (name, *value))
    return np.dtype(fields, align=True)


def _members(tree: Tree, depth: int) -> str:
    pad, text = "    " * depth, ""
    for name, value in tree.items():
        if isinstance(value, dict):
            text += f"{pad}struct {{\n{_members(value, depth + 1)}{pad}}} {name};\n"
        else:
            text += f"{pad}{value % name}\n"
    return text
