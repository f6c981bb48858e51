"""Engines against ``reference`` on random networks; and the search itself, on spoiled engines."""

from __future__ import annotations

import numpy as np
import pytest

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.verification.search import trials

SEED = 2026
# Engines that compile programs spare most of that with several networks of one structure.
STRUCTURES, PER_STRUCTURE = 50, 2
PARTS = 10
LAVA_NETWORKS = 4


def engine_that_works(name):
    engine = get_engine(name)
    try:
        engine.require()
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    return engine


def compared(engine, trial):
    """Whether the engine has all that the network needs; fails at the first difference."""
    if engine.unsupported(trial.network):
        return False
    difference = trial.difference(engine)
    assert difference is None, f"structure {trial.structure}, {trial.number}: {difference}"
    return True


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", ["fast", "onnx", "torch"])
def test_engine_equals_reference(name, part):
    engine = engine_that_works(name)
    size = STRUCTURES // PARTS
    found = [
        compared(engine, trial) for trial in trials(SEED, size, PER_STRUCTURE, first=part * size)
    ]
    # An engine may lack something, but not most of what there is.
    assert sum(found) > len(found) // 2


@pytest.mark.timeout(300)
def test_lava_equals_reference():
    engine = engine_that_works("lava")
    assert all(compared(engine, trial) for trial in trials(SEED + 1, LAVA_NETWORKS))


# ------------------------------------------------------------------------- spoiled engines


def operations_of_reference():
    from pvae_neuro.sim import reference

    return reference.FORMULAS


def operations_of_fast():
    pytest.importorskip("llvmlite", reason="needs llvmlite")
    from pvae_neuro.sim.fast import programs

    return programs.OPERATIONS


def operations_of_onnx():
    pytest.importorskip("onnxruntime", reason="runs the graph in ONNX Runtime")
    from pvae_neuro.exporters.onnx import operations

    return operations.LOWERED


def operations_of_torch():
    pytest.importorskip("torch", reason="needs PyTorch")
    from pvae_neuro.sim.tensors import operations

    return operations.FORMULAS


TABLES = {
    "reference": operations_of_reference,
    "fast": operations_of_fast,
    "onnx": operations_of_onnx,
    "torch": operations_of_torch,
}
# One operation does what another should: differences that show in few words. Not `min` and `max`:
# they keep log-rates within their range, and an engine may read a table at an unclipped place.
SPOILED = [("or", "xor"), ("abs", "neg"), ("sub", "add"), ("shl", "shr")]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("operation", "other"), SPOILED)
def test_a_wrong_operation_is_found(name, operation, other, monkeypatch):
    table = TABLES[name]()
    engine = engine_that_works(name)
    for trial in trials(SEED, 100):
        if operation not in trial.network.operations or engine.unsupported(trial.network):
            continue
        assert trial.difference(engine) is None
        trial.network.compiled.clear()
        with monkeypatch.context() as spoiled:
            spoiled.setitem(table, operation, table[other])
            try:
                found = trial.difference(engine) is not None
            except Exception:  # A spoiled engine may fail altogether.
                found = True
        if found:
            return
    raise AssertionError(f"the search did not find that {name} takes {operation!r} for {other!r}")


def test_a_wrong_draw_is_found(monkeypatch):
    """The comparison is exact: one more count in one place is a difference."""
    engine = get_engine("reference")
    trial = next(t for t in trials(SEED, 50) if t.network.drawing)
    assert trial.difference(engine) is None
    name = trial.network.variables[-1]
    trial.expected.variables[name][0, -1, 0] ^= 1
    assert trial.difference(engine).startswith("reference: ")


def test_a_trial_can_be_made_again():
    *_, a = trials(5, 3)
    (b,) = trials(5, 1, first=2)
    assert a.network == b.network
    assert np.array_equal(a.inputs, b.inputs)
    assert (a.iterations, a.noise_seed) == (b.iterations, b.noise_seed)
