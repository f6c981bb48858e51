"""What engines do once, such as compiling, is told and is in no run's time."""

from __future__ import annotations

import pytest
from models import random_images, random_model

from pvae_neuro.exporters.quantize import quantize
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification import verify as verification

COMPILING = 1e6


class Clock:
    """A clock that stands still but for what is told it."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


class Compiler(ReferenceEngine):
    """Takes a million seconds before its first run, whenever that is."""

    name = "compiler"

    def __init__(self, clock):
        self.clock, self.compiled_for = clock, None

    def prepare(self, network, record="summary", tell=None):
        tell("engine compiler: compiling once")
        self._compile(record)

    def run_block(self, block):
        if self.compiled_for is None:
            self._compile("a run")
        return super().run_block(block)

    def _compile(self, what):
        self.compiled_for = what
        self.clock.now += COMPILING


@pytest.fixture(scope="module")
def network():
    model = random_model()
    return quantize(model, random_images(model, 10))


def test_compiling_is_told_and_is_not_the_engine_s_time(network, monkeypatch):
    clock, told = Clock(), []
    monkeypatch.setattr(verification, "time", clock)
    engine = Compiler(clock)
    images = random_images(random_model(), 2)
    report = verification.verify(
        network, None, images, steps=3, engines=[engine], progress=lambda *stage: told.append(stage)
    )
    assert engine.compiled_for == "full"
    assert clock.now == COMPILING
    assert report.seconds == {"compiler": 0.0}
    assert told[:2] == [("engine compiler: compiling once", done, 1) for done in (0, 1)]


@pytest.mark.parametrize("name", ["fast", "onnx"])
def test_a_prepared_engine_has_nothing_left_to_compile(network, name, monkeypatch):
    pytest.importorskip({"fast": "llvmlite", "onnx": "onnxruntime"}[name], reason="the engine")
    from pvae_neuro.sim import onnx_runtime
    from pvae_neuro.sim.engine import get_engine

    engine, images = get_engine(name), random_images(random_model(), 2)
    engine.prepare(network, "full")
    if name == "fast":
        from pvae_neuro.sim.fast import machine

        monkeypatch.setattr(machine, "_loaded", None)
    else:
        monkeypatch.setattr(onnx_runtime, "_loaded", None)
    engine.run(network, images, 2, 0, record="full")
