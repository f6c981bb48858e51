"""Machine code from LLVM's own language, for what numba's types cannot name, and quickly.

A function of numba's takes some tenths of a second to compile, since Python is parsed and typed;
one that is written in LLVM's language takes some milliseconds, so nothing of it is kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from pvae_neuro.sim.fast.processor import AVX512, has

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
POINTER = I8.as_pointer()
_PREFIX = "pvae_neuro_function_"


@dataclass(frozen=True)
class Machine:
    """Compiled functions.

    Attributes
    ----------
    addresses : tuple of int
        Where the code of each function is, in order.
    library : object
        What keeps the code in memory.
    """

    addresses: tuple[int, ...]
    library: Any


_machines: dict[str, Machine] = {}


def compile_functions(writers: Sequence[Callable[[ir.Module, str], None]]) -> Machine:
    """Compile functions; those of the same text are compiled once in a process.

    Each writer adds one function of the given name to a module.
    """
    codegen = cpu_target.target_context.codegen()
    library = codegen.create_library("pvae_neuro")
    module = library.create_ir_module("functions")
    for number, write in enumerate(writers):
        write(module, f"{_PREFIX}{number}_")
    for function in module.functions:
        _use_wide_vectors(function)
    text = str(module)
    if text not in _machines:
        prefix = f"pvae_neuro_{sha256(text.encode()).hexdigest()[:24]}_"
        with global_compiler_lock:
            library.add_llvm_module(binding.parse_assembly(text.replace(_PREFIX, prefix)))
            library.finalize()
            addresses = [
                library.get_pointer_to_function(f"{prefix}{number}_")
                for number in range(len(writers))
            ]
        _machines[text] = Machine(tuple(addresses), library)
    return _machines[text]


class Written:
    """A function in LLVM's language, compiled when it is first used.

    Parameters
    ----------
    write : callable
        Adds the function, under a given name, to a module.
    """

    def __init__(self, write: Callable[[ir.Module, str], None]) -> None:
        self._write = write
        self.__doc__ = write.__doc__

    @cached_property
    def address(self) -> int:
        """Address of its code."""
        return compile_functions([self._write]).addresses[0]


def _use_wide_vectors(function: ir.Function) -> None:
    """Let the compiler use registers of 512 bits, which it avoids by itself."""
    if has(*AVX512) and function.blocks:
        for attribute in ('"prefer-vector-width"="512"', '"min-legal-vector-width"="512"'):
            # llvmlite knows attributes of one word only.
            set.add(function.attributes, attribute)


# ------------------------------------------------------------------------- pieces of functions


def number(value: int, kind: ir.IntType = I64) -> ir.Constant:
    """A constant."""
    return ir.Constant(kind, value)


def intrinsic(
    b: ir.IRBuilder, name: str, result: ir.Type, arguments: Sequence[ir.Type]
) -> ir.Function:
    """An instruction of the processor that LLVM has under a name."""
    found: ir.Function = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(result, arguments), name
    )
    return found


@contextmanager
def counted(b: ir.IRBuilder, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
    """``for i in range(start, stop, step)``, of int64; the body is written inside."""
    head, body, end = (b.append_basic_block() for _ in range(3))
    entry = b.block
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(I64)
    index.add_incoming(start, entry)
    b.cbranch(b.icmp_signed("<", index, stop), body, end)
    b.position_at_end(body)
    yield index
    index.add_incoming(b.add(index, number(step)), b.block)
    b.branch(head)
    b.position_at_end(end)


def pointer_to(b: ir.IRBuilder, address: Any, bytes_: Any = None) -> Any:
    """A pointer made of an address in an int64, some bytes further."""
    pointer = b.inttoptr(address, POINTER)
    return pointer if bytes_ is None else b.gep(pointer, [bytes_])


def load(b: ir.IRBuilder, pointer: Any, kind: ir.Type, align: int = 1) -> Any:
    """Load a value, at any address."""
    loaded = b.load(b.bitcast(pointer, kind.as_pointer()))
    loaded.align = align
    return loaded


def store(b: ir.IRBuilder, value: Any, pointer: Any, align: int = 1) -> None:
    """Store a value, at any address."""
    b.store(value, b.bitcast(pointer, value.type.as_pointer())).align = align


def splat(b: ir.IRBuilder, value: Any, lanes: int) -> Any:
    """A vector of one value."""
    kind = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    single = b.insert_element(undefined, value, number(0, I32))
    return b.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(I32, lanes), None))
