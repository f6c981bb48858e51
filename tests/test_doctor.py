"""What is installed, what is missing, the remedy for each; and a ping that finds wrong integers."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from cli_tools import run_cli

from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.sim import checks
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.lava import available
from pvae_neuro.sim.lava.board import board
from pvae_neuro.sim.lava.board.board import Board, Bounds
from pvae_neuro.sim.lava.board.engine import Loihi2Engine
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification.doctor import diagnose, ping, targets

VERSIONS = {"lava-nc": board.LAVA_NC, "lava-loihi": board.LAVA_LOIHI}


@pytest.fixture
def owner(monkeypatch):
    """A machine that has everything; a test takes something away."""
    versions, modules = dict(VERSIONS), dict.fromkeys(board.MODULES, True)
    monkeypatch.setattr(checks, "installed_version", versions.get)
    monkeypatch.setattr(board, "module_found", modules.__getitem__)
    monkeypatch.setattr(available, "module_found", lambda name: True)
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    for name in ("SLURM", "BOARD", "PARTITION", "LOIHI_GEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NXSDKHOST", "192.0.2.7")
    return versions, modules


def failing(found):
    return {check.name: check for check in found if not check.passed}


def test_everything_is_there(owner):
    assert failing(Board().checks()) == {}
    Board().require()
    assert Board().name == "192.0.2.7"


@pytest.mark.parametrize("name", VERSIONS)
@pytest.mark.parametrize("version", ["0.9.0", None])
def test_a_wrong_version_is_refused(owner, name, version):
    owner[0][name] = version
    found = failing(Board().checks())
    assert list(found) == [name]
    assert (version or "not installed") in found[name].found
    assert f"expected {VERSIONS[name]}" in found[name].found and found[name].remedy
    with pytest.raises(EngineUnavailableError, match=f"{name}: .*Engine 'lava' simulates"):
        Loihi2Engine().run(toy.lateral(), np.zeros((1, 20)), 1, 0)


@pytest.mark.parametrize("module", board.MODULES)
def test_a_module_that_is_missing_is_named(owner, module):
    owner[1][module] = False
    found = failing(Board().checks())
    assert list(found) == [module]
    assert "lava-loihi" in found[module].remedy


def test_a_board_has_to_be_selected(owner, monkeypatch):
    monkeypatch.delenv("NXSDKHOST")
    assert list(failing(Board().checks())) == ["board"]
    assert "NXSDKHOST" in failing(Board().checks())["board"].remedy
    assert failing(Board(partition="oheogulch").checks()) == {}
    monkeypatch.setenv("SLURM", "1")
    assert failing(Board().checks()) == {}
    monkeypatch.setenv("LOIHI_GEN", "N9")
    assert list(failing(Board().checks())) == ["LOIHI_GEN"]
    assert failing(Board(generation="N3C1").checks()) == {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"generation": "N9"}, "N3B3"),
        ({"host": "a", "partition": "b"}, "both"),
    ],
)
def test_a_board_that_cannot_be(wrong, said):
    with pytest.raises(InputError, match=said):
        Board(**wrong)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, []),
        ({"host": "192.0.2.9"}, [("ethernet", "192.0.2.9", "N3B3")]),
        ({"partition": "kp", "generation": "N3C1"}, [("slurm", "kp", None, "N3C1")]),
        ({"node": "ncl-1"}, [("slurm", None, "ncl-1", "N3B3")]),
    ],
)
def test_lava_selects_the_board(monkeypatch, given, asked):
    calls = []
    lava = SimpleNamespace(
        ChipGeneration=str,
        use_ethernet_host=lambda host, loihi_gen: calls.append(("ethernet", host, loihi_gen)),
        use_slurm_host=lambda *where, loihi_gen: calls.append(("slurm", *where, loihi_gen)),
    )
    monkeypatch.delenv("LOIHI_GEN", raising=False)
    monkeypatch.setattr(board, "import_module", {"lava.utils.loihi": lava}.__getitem__)
    Board(**given).select()
    assert calls == asked


def test_a_board_that_lava_does_not_find(monkeypatch):
    def fails(*where, loihi_gen):
        raise ValueError("partition kp is not found")

    lava = SimpleNamespace(ChipGeneration=str, use_slurm_host=fails)
    monkeypatch.setattr(board, "import_module", lambda name: lava)
    with pytest.raises(EngineUnavailableError, match="board 'kp': partition kp is not found"):
        Board(partition="kp").select()


@pytest.mark.parametrize("bounds", [(0, 1), (3, 2), (1, 1 << 40)])
def test_bounds_of_a_latency(bounds):
    with pytest.raises(InputError, match="latency: expected"):
        Bounds(*bounds)


def test_a_ping_finds_a_wrong_integer():
    class OneTooMany(ReferenceEngine):
        name = "one_too_many"

        def run_block(self, block):
            result = super().run_block(block)
            result.variables["latents.z"][0, 2, 0] += 1
            return result

    sound, faulty = ping(get_engine("reference")), ping(OneTooMany())
    assert sound.passed and not faulty.passed
    assert sound.found.startswith("0 of ") and faulty.found.startswith("1 of ")
    assert "latents.z differs first in iteration 3, neuron 0" in faulty.remedy


def test_an_unknown_target_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'loihi2'"):
        diagnose(["loihi3"])
    assert {"reference", "loihi2", "spinnaker2"} <= set(targets())


def test_the_command(capsys, tmp_path):
    code, out, err = run_cli(capsys, "doctor", "reference", "--json", tmp_path / "d.json")
    assert code == 0 and "reference: ready" in out and err == "doctor: reference\n"
    (found,) = json.loads((tmp_path / "d.json").read_text())["targets"]
    assert found["passed"] and [c["name"] for c in found["checks"]] == ["installed", "ping"]


def test_what_is_missing_is_exit_code_1_where_it_was_asked_for(capsys, monkeypatch):
    for name in os.environ.keys() & {"NXSDKHOST", "SLURM"}:
        monkeypatch.delenv(name)
    code, out, err = run_cli(capsys, "doctor", "loihi2", "--json", "-", "--quiet")
    assert code == 1 and err == ""
    (found,) = json.loads(out)["targets"]
    assert not found["passed"]
    assert all(c["remedy"] for c in found["checks"] if not c["passed"])
