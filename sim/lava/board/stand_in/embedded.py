"""Stands in for embedded processors: compiles a model's program for this machine, and runs it."""

from __future__ import annotations

import ctypes
import inspect
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType

from pvae_neuro.sim.c_kernel.compiler import compiled, host_compiler

_FLAGS = ("-shared", "-fPIC", "-O1", "-std=c99")
_Pass = ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32))


class CInPort:
    """Kind of a port."""


class COutPort:
    """Kind of a port."""


class LavaCDataType:
    """Types of numbers."""

    INT32 = np.int32


_KINDS = {CInPort: PyInPort.VEC_DENSE, COutPort: PyOutPort.VEC_DENSE}


def LavaCType(cls: Any, d_type: Any) -> LavaPyType:  # noqa: N802 - as lava-loihi has it.
    """Type of a port or Var, as the CPU's runtime has it."""
    return LavaPyType(_KINDS.get(cls, np.ndarray), d_type, precision=24)


class CLoihiProcessModel(PyLoihiProcessModel):  # type: ignore[misc]
    """Runs ``run_spk`` of the program beside the class, with the ports and Vars of the process."""

    source_file_name: str
    """Name of the program's file, beside that of the class."""
    _library: Any = None

    def run_spk(self) -> None:
        """One Lava step."""
        if self._library is None:
            self._load()
        for name, array in self._arrays.items():
            array[:] = getattr(self, name)
        self._library.run_spk(ctypes.byref(self._state))
        for name, array in self._arrays.items():
            getattr(self, name)[:] = array

    def _load(self) -> None:
        kinds = {n: t.cls for n, t in vars(type(self)).items() if isinstance(t, LavaPyType)}
        ports = [name for name, kind in kinds.items() if kind is not np.ndarray]
        sizes = {n: getattr(self, n).size for n, kind in kinds.items() if kind is np.ndarray}
        files = {
            "program.c": (Path(inspect.getfile(type(self))).parent / self.source_file_name)
            .read_text("utf-8"),
            "nxsdk.h": _FRAMEWORK,
            f"predefs_{type(self).__name__}.h": _predefs(ports, sizes),
        }  # fmt: skip
        code = compiled(host_compiler(), _FLAGS, files)
        with tempfile.NamedTemporaryFile(suffix=".so") as file:
            file.write(code)
            file.flush()
            self._library = ctypes.CDLL(file.name)
        self._state = (ctypes.c_int32 * 1)()
        places = (ctypes.POINTER(ctypes.c_int32) * len(sizes)).in_dll(
            self._library, "stand_in_vars"
        )
        self._arrays = {
            name: np.ctypeslib.as_array(place, (size,))
            for (name, size), place in zip(sizes.items(), places, strict=True)
        }
        # What C calls must outlive the library.
        self._passed = {
            "stand_in_receive": _Pass(lambda port, data: self._receive(ports[port], data)),
            "stand_in_send": _Pass(lambda port, data: self._send(ports[port], data)),
        }
        for name, function in self._passed.items():
            place = ctypes.c_void_p.in_dll(self._library, name)
            place.value = ctypes.cast(function, ctypes.c_void_p).value

    def _receive(self, name: str, data: Any) -> None:
        message = np.ascontiguousarray(getattr(self, name).recv(), np.int32)
        np.ctypeslib.as_array(data, message.shape)[:] = message

    def _send(self, name: str, data: Any) -> None:
        port = getattr(self, name)
        port.send(np.ctypeslib.as_array(data, port.shape).copy())


_FRAMEWORK = """\
#include <stdint.h>
typedef struct { int32_t time_step; } runState;
typedef struct { int32_t number; } port;
void (*stand_in_receive)(int32_t, int32_t *);
void (*stand_in_send)(int32_t, int32_t *);
#define recv_vec_dense(rs, p, data) ((void)(rs), stand_in_receive((p)->number, data))
#define send_vec_dense(rs, p, data) ((void)(rs), stand_in_send((p)->number, data))
"""


def _predefs(ports: list[str], sizes: dict[str, int]) -> str:
    lines = [f"static port {name} = {{{number}}};" for number, name in enumerate(ports)]
    lines += [f"static int32_t {name}[{size}];" for name, size in sizes.items()]
    # Their own names could be those of functions of the host.
    lines.append(f"int32_t *stand_in_vars[] = {{{', '.join(sizes)}}};")
    return "\n".join(lines) + "\n"
