"""Process of a population on an embedded processor, and its model's files."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from pvae_neuro.errors import EngineError
from pvae_neuro.sim.lava.board.embedded.source import Embedded

NOTED = {"least": 1, "most": 1, "first": -1, "last": -1, "late": -1, "counted": 0}
"""Vars of each port, and their initial values."""


class EmbeddedNeurons(AbstractProcess):  # type: ignore[misc]
    """A population in C; its Vars are arrays of the program, of 32-bit integers.

    Attributes
    ----------
    unit, tick, pulse, least, most, first, last, late, counted : Var
        As those of ``HostNeurons``.
    step, sample, iterations : Var [1]
        As those of ``Neurons``.
    words : Var [n]
        Random words of the iteration that draws next.
    """

    def __init__(self, embedded: Embedded) -> None:
        super().__init__(name=embedded.population.name)
        self._embedded = embedded
        size, plan = embedded.population.size, embedded.plan
        ports = max(1, len(plan.ports))
        for name in ("unit", "tick", "step", "sample", "iterations"):
            setattr(self, name, Var(shape=(1,), init=0))
        self.pulse = Var(shape=(1,), init=-1)
        for name, initial in NOTED.items():
            setattr(self, name, Var(shape=(ports,), init=initial))
        self.words = Var(shape=(size,), init=0)
        for port in plan.ports:
            setattr(self, port.name, InPort(shape=(size + 1,)))
        for variable in embedded.sent:
            setattr(self, f"{variable}_out", OutPort(shape=(size + 1,)))
        for v in embedded.population.variables:
            values = np.broadcast_to(v.initial, size)
            setattr(self, embedded.value(v.name), Var(shape=(size,), init=values))
        for connection in plan.held:
            setattr(self, embedded.held(connection), Var(shape=(size,), init=0))

    def variable(self, name: str) -> Var:
        """Var of a variable of the population."""
        return getattr(self, self._embedded.value(name))

    def held_input(self, connection: str) -> Var:
        """Var of an input that is held here."""
        return getattr(self, self._embedded.held(connection))


def embedded_model(process: EmbeddedNeurons, folder: Path) -> type:
    """Write the model of a population and its program into a folder; return the class.

    Lava looks for the program beside the file of the class.
    """
    embedded: Embedded = process._embedded
    name = embedded.layout.names.population[embedded.population.name]
    kind = f"Model_{name}"
    members = [
        *(f"    {p.name}: CInPort = LavaCType(cls=CInPort, d_type=INT32)"
          for p in process.in_ports),
        *(f"    {p.name}: COutPort = LavaCType(cls=COutPort, d_type=INT32)"
          for p in process.out_ports),
        *(f"    {v.name}: Any = LavaCType(cls=np.ndarray, d_type=INT32)" for v in process.vars),
    ]  # fmt: skip
    text = _MODEL.format(kind=kind, name=name, members="\n".join(members))
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.c").write_text(embedded.text(f"predefs_{kind}.h"), encoding="utf-8")
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    module_name = f"pvae_neuro_embedded_{name}"
    spec = spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise EngineError(f"loihi2: {path}: expected a file that Python can load")
    module: Any = module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    made: type = getattr(module, kind)
    return made


_MODEL = """\
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.c.model import CLoihiProcessModel
from lava.magma.core.model.c.ports import CInPort, COutPort
from lava.magma.core.model.c.type import LavaCDataType, LavaCType
from lava.magma.core.resources import LMT
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from pvae_neuro.sim.lava.board.embedded.process import EmbeddedNeurons

INT32 = LavaCDataType.INT32


@implements(proc=EmbeddedNeurons, protocol=LoihiProtocol)
@requires(LMT)
class {kind}(CLoihiProcessModel):
{members}

    @property
    def source_file_name(self):
        return "{name}.c"
"""
