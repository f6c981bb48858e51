"""The language of compiled functions, and the code that is kept of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite", reason="the fast engine needs llvmlite")

from pvae_neuro.errors import PvaeNeuroWarning
from pvae_neuro.sim.fast import language, machine, objects
from pvae_neuro.sim.fast.language import (
    float64_at,
    function,
    int8_at,
    int16_at,
    int32_at,
    int64_at,
    larger,
    select,
    smaller,
    uint8_at,
    uint16_at,
)
from pvae_neuro.sim.fast.machine import I32, I64
from pvae_neuro.sim.fast.memory import address

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


# ------------------------------------------------------------------------------ the language


@function(3)
def compute(code, out_at, x, y):
    out = int64_at(out_at)
    results = [
        x + y, x - y, x * y, 3 - x, -x, x & y, x | y, x << 3, x >> 3, smaller(x, y), larger(x, y),
        x < y, x <= y, x > y, x >= y, x == y, x != y, ~(x < y), (x < y) | (y < 5), 1 << (x & 31),
        select(x > y, 7, x), x.to(I32), x.to(I32) + y, x.to(I32) * 2,
    ]  # fmt: skip
    for place, result in enumerate(results):
        out[place] = result
    return len(results)


def wrapped(value, bits):
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


@settings(deadline=None)
@given(x=INT32, y=INT32)
def test_numbers_behave_as_in_c(x, y):
    out = np.zeros(32, np.int64)
    count = compute(address(out), x, y)
    expected = [
        x + y, x - y, x * y, 3 - x, -x, x & y, x | y, x << 3, x >> 3, min(x, y), max(x, y),
        x < y, x <= y, x > y, x >= y, x == y, x != y, not x < y, x < y or y < 5, 1 << (x & 31),
        7 if x > y else x, x, x + y, wrapped(2 * x, 32),
    ]  # fmt: skip
    assert out[:count].tolist() == [wrapped(int(value), 64) for value in expected]


@function(1)
def divide(code, x):
    return x // 7 * 1000 + x % 7


def test_division_of_what_is_not_negative():
    assert [divide(x) for x in (0, 6, 7, 100)] == [0, 6, 1000, 14002]


@function(2)
def read_all(code, values_at, out_at):
    out = int64_at(out_at)
    for place, kind_at in enumerate((int8_at, uint8_at, int16_at, uint16_at, int32_at, int64_at)):
        array = kind_at(values_at)
        out[place] = array[0]
        array[1] = array[0] + 1
    return 0


def test_small_numbers_are_widened_and_cut():
    """Of -1 in all its bytes: signed or not as the array is; what is stored is cut."""
    values, out = np.full(16, 255, np.uint8), np.zeros(6, np.int64)
    read_all(address(values), address(out))
    # The arrays overlap: each one's second number is 0 or 256 ** n, of which what fits is stored.
    assert out.tolist()[:2] == [-1, 255]
    assert values[1] == 0
    assert out.tolist()[2] == 255
    assert uint16_read(np.array([65535, 0], np.uint16)) == [65535, 0]


def uint16_read(values):
    @function(1)
    def more(code, at):
        array = uint16_at(at)
        array[1] = array[0] + 1
        return array[0]

    return [more(address(values)), int(values[1])]


@function(3)
def collatz(code, n, most, steps_at):
    """Steps until 1, but at most so many; how often the number was odd is written."""
    steps, odd, value = code.variable(0), code.variable(0), code.variable(n)
    with code.loop_while(lambda: (value != 1) & (steps < most)):
        with code.cases((value & 1) == 1) as (is_odd, is_even):
            with is_odd:
                value.set(3 * value + 1)
                odd += 1
            with is_even:
                value.set(value >> 1)
        steps += 1
    with code.when(steps == most):
        odd -= 1000
    int64_at(steps_at)[0] = odd
    return steps


def test_loops_and_conditions():
    odd = np.zeros(1, np.int64)
    assert collatz(6, 100, address(odd)) == 8
    assert odd[0] == 2
    assert collatz(6, 3, address(odd)) == 3
    assert odd[0] == 1 - 1000


@function(4)
def strided(code, values_at, first, last, out_at):
    values, total = int32_at(values_at), code.variable(0)
    with code.loop(first, last, 3) as i:
        total += values[i]
    sums = code.variable(0, language.ir.VectorType(I64, 4))
    for start in (0, 4):
        sums.set(sums + values.line(start, 4).to(I64) * 2)
    int64_at(out_at).set_line(0, sums)
    return total - sums.added_up()


def test_ranges_and_vectors():
    values, out = np.arange(-3, 20, dtype=np.int32), np.zeros(4, np.int64)
    found = strided(address(values), 2, 18, address(out))
    assert out.tolist() == (2 * (values[:4] + values[4:8])).tolist()
    assert found == values[2:18:3].sum() - out.sum()


@function(3)
def masked(code, values_at, out_at, count):
    mask = code.lane_numbers(16) < count.to(I32)
    line = int32_at(values_at).line(0, 16, mask)
    int32_at(out_at).set_line(0, line.picked(reversed(range(16))), mask)
    return line.to(I64).added_up()


@pytest.mark.parametrize("count", [0, 1, 7, 16])
def test_masked_lanes_are_neither_read_nor_written(count):
    values, out = np.arange(1, 17, dtype=np.int32), np.full(16, -5, np.int32)
    assert masked(address(values), address(out), count) == values[:count].sum()
    seen = np.where(np.arange(16) < count, values, 0)[::-1]
    assert out.tolist() == [*seen[:count].tolist(), *[-5] * (16 - count)]


@function(2)
def halved(code, at, n):
    values = float64_at(at)
    with code.loop(n) as i:
        values[i] = values[i] * 0.5 + i.to(language.FLOAT64)
    return values[0].to(I64)


def test_floats():
    values = np.array([9.0, 4.0])
    assert halved(address(values), 2) == 4
    assert values.tolist() == [4.5, 3.0]


@function(3)
def call_twice(code, target, n, out_at):
    int64_at(out_at)[0] = code.call(target, n)
    code.copy(out_at, out_at + 8, code.value(8))
    return 0


def test_calls_by_address_and_copies():
    out = np.zeros(2, np.int64)
    call_twice(divide.address, 100, address(out))
    assert out.tolist() == [14002, 14002]


def test_a_value_is_no_condition_of_python_s():
    @function(1)
    def wrong(code, x):
        return 1 if x > 0 else 0

    with pytest.raises(TypeError, match="when"):
        wrong(3)


# ------------------------------------------------------------------------------ what is kept


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for compiled code, and functions that are compiled anew."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(machine, "_machines", {})
    return tmp_path / "pvae-neuro"


def twice():
    return function(1)(lambda code, value: 2 * value)


def compile_anew(monkeypatch):
    """Forget what this process has; count what is compiled."""
    compiled = []
    original = machine._compiled
    monkeypatch.setattr(machine, "_machines", {})
    monkeypatch.setattr(machine, "_compiled", lambda text: compiled.append(1) or original(text))
    return compiled


def test_code_is_kept(place, monkeypatch):
    assert twice()(21) == 42
    (kept,) = place.iterdir()
    compiled = compile_anew(monkeypatch)
    assert twice()(21) == 42
    assert compiled == []
    assert list(place.iterdir()) == [kept]


@pytest.mark.parametrize("part", [slice(-9), slice(0), slice(9, None)])
def test_damaged_code_is_made_anew(place, monkeypatch, part):
    twice()(21)
    (kept,) = place.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(content[part])
    compiled = compile_anew(monkeypatch)
    assert twice()(21) == 42
    assert compiled == [1]
    assert kept.read_bytes() == content


def test_code_of_another_processor_is_another_file(place, monkeypatch):
    twice()(21)
    compiled = compile_anew(monkeypatch)
    monkeypatch.setattr(machine, "target_features", lambda: "+other")
    assert twice()(21) == 42
    assert compiled == [1]
    assert len(list(place.iterdir())) == 2


def test_the_oldest_code_goes(place, monkeypatch):
    monkeypatch.setattr(objects, "MOST_FILES", 4)
    for factor in range(5):
        assert function(1)(lambda code, value, by=factor: by * value + 1)(2) == 2 * factor + 1
        newest = max(place.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    left = list(place.iterdir())
    assert len(left) == 3
    assert newest in left


@pytest.mark.parametrize("named", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
def test_where_code_is_kept(named, tmp_path, monkeypatch):
    for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "relative/folder")
    monkeypatch.setenv(named, str(tmp_path))
    below = ".cache/pvae-neuro" if named == "HOME" else "pvae-neuro"
    assert objects.folder() == tmp_path / below
    # Of a user without a home Python knows no more than the tilde.
    monkeypatch.setenv(named, "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert objects.folder() is None


@pytest.mark.parametrize("there", [False, True])
def test_without_a_place_it_compiles_and_says_so_once(there, tmp_path, monkeypatch):
    """A read-only installation without a home folder: slower to start, but it runs."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(objects, "folder", lambda: tmp_path / "file" / "x" if there else None)
    monkeypatch.setattr(machine, "_machines", {})
    objects._warn_once.cache_clear()
    with pytest.warns(PvaeNeuroWarning, match="NUMBA_CACHE_DIR") as said:
        assert twice()(21) == 42
        assert function(1)(lambda code, value: 3 * value)(21) == 63
    assert len(said) == 1


def test_what_functions_are_known_by_covers_what_they_import():
    """Code that is found by its sources is found by all of them."""
    code = (
        "import sys, pvae_neuro.sim.fast.plan\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('pvae_neuro.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    names = {Path(file) for file in done.stdout.split()}
    known = set(machine.source_files())
    unknown = {file.parent.name for file in names - known}
    # None of these has a number that a compiled function depends on.
    assert unknown <= {"errors", "utils", "pvae_neuro"}, names - known
    assert Path(language.__file__) in known


def test_a_child_compiles_where_another_thread_of_its_parent_did():
    code = """
import os, sys, threading
from pvae_neuro.sim.fast import machine
from pvae_neuro.sim.fast.language import function
held = threading.Event()
def hold():
    with machine._one_at_a_time:
        held.set()
        threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(function(1)(lambda code, value: 2 * value)(21))
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 42)
"""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_threads_compile_a_function_once(place, monkeypatch):
    compiled, found = compile_anew(monkeypatch), []
    threads = [threading.Thread(target=lambda: found.append(twice()(21))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [42] * 4
    assert compiled == [1]
