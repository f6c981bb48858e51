"""Where Lava or a chip is missing, the message says what, and what to do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import toy

import pvae_neuro.sim.lava as lava_package
from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.sim.lava import available
from pvae_neuro.sim.lava.board.engine import Loihi2Engine
from pvae_neuro.sim.lava.engine import LavaEngine


def test_looking_an_engine_up_does_not_import_lava():
    code = (
        "import sys; from pvae_neuro.sim.engine import get_engine; get_engine('lava');"
        "get_engine('loihi2');"
        "sys.exit(any(m == 'lava' or m.startswith('lava.') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("engine", [LavaEngine(), Loihi2Engine()])
def test_without_lava(engine, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    monkeypatch.setattr(available, "module_found", lambda name: False)
    with pytest.raises(EngineUnavailableError, match=r"pip install 'pvae-neuro\[lava\]'"):
        engine.run(toy.lateral(), np.zeros((1, 20)), 1, 0)


def test_build_lava_without_lava(monkeypatch):
    monkeypatch.setattr(available, "module_found", lambda name: False)
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    with pytest.raises(EngineUnavailableError, match="not installed"):
        _ = lava_package.build_lava
    with pytest.raises(AttributeError, match="nothing"):
        _ = lava_package.nothing


def test_on_a_newer_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    with pytest.raises(EngineUnavailableError, match=r"needs Python 3\.10; this is Python 3\.12"):
        available.require_lava()
    with pytest.raises(EngineUnavailableError, match="reference") as caught:
        available.require_lava()
    assert "loihi2" not in str(caught.value)
