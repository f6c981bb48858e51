"""Machine code from LLVM's own language, by llvmlite.

A function is written as text, which takes LLVM some hundredths of a second to compile and a
thousandth to load where its code is kept from an earlier process (:mod:`objects`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import llvmlite
from llvmlite import binding, ir

from pvae_neuro import network
from pvae_neuro.sim.fast.objects import kept
from pvae_neuro.sim.fast.processor import AVX512, has, level, target_features, target_name
from pvae_neuro.utils.digest import digest

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
_one_at_a_time = threading.RLock()


def _renew_lock() -> None:
    """A child process has no thread that would release a lock which its parent held."""
    global _one_at_a_time  # noqa: PLW0603
    _one_at_a_time = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def compile_functions(
    writers: Sequence[Callable[[ir.Module, str], None]], known_as: str | None = None
) -> Machine:
    """Compile functions; the same ones are compiled once in a process.

    Parameters
    ----------
    writers : sequence of callable
        Each adds one function of the given name to a module.
    known_as : str, optional
        Name of functions whose text depends on the source files of the engine and on the processor
        alone. They are not even written where their code is kept.
    """
    with _one_at_a_time:
        names = [f"{_PREFIX}{number}_" for number in range(len(writers))]
        if known_as is None:
            key = text = _text(writers, names)
        else:
            key, text = f"{known_as}\n{level()}\n{_sources()}", ""
        if key not in _machines:
            code = kept(_digest(key), lambda: _compiled(text or _text(writers, names)))
            engine = _loaded(code)
            addresses = tuple(engine.get_function_address(name) for name in names)
            _machines[key] = Machine(addresses, engine)
        return _machines[key]


def _text(writers: Sequence[Callable[[ir.Module, str], None]], names: list[str]) -> str:
    module = ir.Module("pvae_neuro")
    module.triple, module.data_layout = _target().triple, str(_target().target_data)
    for write, name in zip(writers, names, strict=True):
        write(module, name)
    for function in module.functions:
        _use_wide_vectors(function)
    return str(module)


def _digest(key: str) -> str:
    """Digest of all that code depends on."""
    compiler = llvmlite.__version__, str(binding.llvm_version_info)
    return digest("\n".join((key, target_name(), target_features(), _target().triple, *compiler)))


def source_files() -> list[Path]:
    """Source files that functions are written by, and those that their numbers come from."""
    here = Path(__file__).parent
    folders = here, here.parent, Path(*network.__path__)
    return [file for folder in folders for file in sorted(folder.glob("*.py"))]


@cache
def _sources() -> str:
    return digest(*(file.read_text("utf-8") for file in source_files()))


@cache
def _target() -> binding.TargetMachine:
    return _new_target()


def _new_target() -> binding.TargetMachine:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    # Code that is loaded anywhere: addresses of constants and of other functions have 64 bits.
    return target.create_target_machine(
        target_name(), target_features(), opt=3, jit=True, codemodel="jitdefault",
        reloc="static" if target.name.startswith("x86") else "default",
    )  # fmt: skip


def _compiled(text: str) -> bytes:
    """Object code of a module."""
    module = binding.parse_assembly(text)
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    # Takes a fifth of the time to compile, and makes nothing faster.
    options.loop_unrolling = False
    passes = binding.create_pass_builder(_target(), options)
    passes.getModulePassManager().run(module, passes)
    code: bytes = _target().emit_object(module)
    return code


def _loaded(code: bytes) -> binding.ExecutionEngine:
    """Object code in memory; calls of ``memcpy`` and ``memset`` find those of the process."""
    # An engine owns its target machine.
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _new_target())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


class Written:
    """A function in LLVM's language, compiled when it is first used.

    Parameters
    ----------
    write : callable
        Adds the function, under a given name, to a module.
    known_as : str, optional
        See :func:`compile_functions`.
    """

    def __init__(
        self, write: Callable[[ir.Module, str], None], known_as: str | None = None
    ) -> None:
        self._write, self._known_as = write, known_as
        self.__doc__ = write.__doc__

    @cached_property
    def address(self) -> int:
        """Address of its code."""
        return compile_functions([self._write], self._known_as).addresses[0]


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
    found: ir.Function | None = b.module.globals.get(name)
    if found is None:
        found = ir.Function(b.module, ir.FunctionType(result, arguments), name)
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
