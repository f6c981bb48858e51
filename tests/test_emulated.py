"""The C library on emulated processors: integers, instructions, and what is missing."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import toy
from cli_tools import run_cli
from language_tools import small_network

from pvae_neuro.artifact import save_artifact
from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError
from pvae_neuro.exporters.c import c_source
from pvae_neuro.sim.c_kernel import processors
from pvae_neuro.sim.c_kernel.emulator import Emulator
from pvae_neuro.sim.c_kernel.processors import PROCESSORS, build, processor_of
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.verification.search import trials

SEED = 586
BOTH = pytest.mark.parametrize("name", list(PROCESSORS))
# The first build of all makes the compiler's own parts.
pytestmark = pytest.mark.timeout(300)
SUM = """
#include <stdint.h>
int32_t add(int32_t a, int32_t b) { return a + b; }
int32_t last(int32_t a, int32_t b, int32_t c, int32_t d, int32_t e, int32_t f) { return e - f; }
int32_t numbers[4] = {1, 2, 3, 4};
int32_t start(void) { int32_t i, s = 0; for (i = 0; i < 4; i++) s = add(s, numbers[i]); return s; }
"""


def emulated(name):
    engine = get_engine("c", processor=name)
    try:
        engine.require()
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    return engine


@BOTH
def test_random_networks_give_the_same_integers(name):
    engine = emulated(name)
    for trial in trials(SEED, 3):
        assert trial.difference(engine) is None


@BOTH
@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_a_whole_neuron_step_within_its_instructions(name, topology):
    """Both circuits, 32 iterations; the benchmark counts at the rates of the shipped model."""
    network = getattr(toy, topology)(3, latents=16, pixels=16)
    images = np.random.default_rng(1).random((1, 16))
    runs = [
        engine.run(network, images, 32, record="full", progress=False).variables
        for engine in (get_engine("reference"), emulated(name))
    ]
    for variable, expected in runs[0].items():
        np.testing.assert_array_equal(runs[1][variable], expected)
    session = emulated(name).session(network)
    session.call("reset")
    with session.emulator.counting(("kernel_latents_integrate",)) as counts:
        session.call("latents_integrate")
    assert 0 < counts["kernel_latents_integrate"] / 16 < 50


@BOTH
def test_functions_memory_and_instructions(name):
    emulated(name)
    emulator = Emulator(build({"sum.c": SUM}, processor_of(name), "start"), processor_of(name))
    assert emulator.call("add", 3, 4) == 7
    assert emulator.call("last", 1, 2, 3, 4, 50, 8) == 42
    assert emulator.call("start") == 10
    where = emulator.address("numbers")
    emulator.write(where, np.array([10, 20, 30, 40], "<i4"))
    assert emulator.call("start") == 100
    assert emulator.read(where, np.dtype("<i4"), (2, 2)).tolist() == [[10, 20], [30, 40]]
    with emulator.counting() as counts:
        emulator.call("add", 1, 2)
    # Add and return; the x86 fetches its arguments from the stack.
    assert counts == {"add": {"cortex-m4": 2, "i586": 3}[name]}
    with emulator.counting(("start",)) as owned:
        emulator.call("start")
    with emulator.counting() as each:
        emulator.call("start")
    assert owned.total() == each.total() > 8
    assert emulator.call("add", 0, 0) == 0
    assert counts.total() < 4


@BOTH
def test_a_program_that_leaves_its_memory_is_an_error(name):
    emulated(name)
    text = "int peek(int address) { return *(volatile int *)address; }"
    emulator = Emulator(build({"peek.c": text}, processor_of(name), "peek"), processor_of(name))
    with pytest.raises(EngineError, match=f"processor {name}: peek fails: .*, in peek"):
        emulator.call("peek", 0x7000_0000)
    with pytest.raises(EngineError, match="expected at most"):
        emulator.place(np.zeros(1 << 24, np.int64))


@BOTH
def test_code_is_small_and_no_operating_system_is_needed(name):
    emulated(name)
    files = c_source(small_network(), "kernel", weights=False)
    image = build(files, processor_of(name), "kernel_iteration")
    assert image.code_bytes < 6000
    assert image.constant_bytes < 600
    assert image.variable_bytes == 0
    assert image.symbols["kernel_iteration"].is_function


def test_an_unknown_processor_is_named():
    with pytest.raises(InputError, match="processor: expected one of cortex-m4, i586; got 'z80'"):
        get_engine("c", processor="z80")


@pytest.mark.parametrize("module", ["unicorn", "ziglang"])
def test_a_missing_emulator_is_one_clear_error(module, monkeypatch):
    monkeypatch.setattr(processors, "find_spec", lambda name: None if name == module else importlib)
    with pytest.raises(EngineUnavailableError, match=rf"{module} .*pvae-neuro\[emulate\]"):
        get_engine("c", processor="i586").run(small_network(), np.zeros((1, 6)), 1, progress=False)


def test_verify_on_an_emulated_processor(tmp_path, capsys):
    emulated("i586")
    save_artifact(small_network(), np.full((1, 6), 0.5), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.full((1, 6), 0.25))
    verify = ("verify", tmp_path / "m.onnx", "-i", tmp_path / "x.npy", "-t", 2, "-e")
    code, out, _ = run_cli(capsys, *verify, "reference,c", "--processor", "i586")
    assert code == 0
    assert "0 of" in out
    code, _, err = run_cli(capsys, *verify, "reference,c", "--processor", "z80")
    assert (code, err.count("\n")) == (2, 1)
    assert "processor: expected one of cortex-m4, i586; got 'z80'" in err
    code, _, err = run_cli(capsys, *verify, "reference", "--processor", "i586")
    assert code == 2
    assert "--processor: not an option of the engine reference" in err
