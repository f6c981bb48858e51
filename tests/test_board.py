"""The path to Loihi 2, on Lava's own runtime with stand-ins for what is closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from stand_in_models import BooleanMessages, LaterFrom, NoModelOfSums

from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError
from pvae_neuro.network import Activation
from pvae_neuro.sim.c_kernel.compiler import ZIG, compiled
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.lava.board.board import Bounds
from pvae_neuro.sim.lava.board.costs import Costs
from pvae_neuro.sim.lava.board.embedded.source import Embedded
from pvae_neuro.sim.lava.board.engine import Loihi2Engine
from pvae_neuro.sim.lava.board.links import PATIENCE, DelayedLinks
from pvae_neuro.sim.lava.board.readable import unreadable
from pvae_neuro.sim.lava.board.stages import stage_of
from pvae_neuro.sim.lava.board.stand_in.board import StandIn
from pvae_neuro.sim.lava.board.stand_in.delays import Delays
from pvae_neuro.sim.lava.plan import plan_network
from pvae_neuro.verification.draws import check_draws

pytestmark = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")
FOLDER = Path(__file__).parent
MICROCODE = "stand_in_models:Microcode"
LATE = r"of lateral to 'latents' was missing in Lava step \d+, or came outside|took"


def differing(engine, network, samples=1, steps=3, **options):
    """Integers of a run that differ from the definition."""
    images = toy.images(network, samples)
    options = {"record": "full", "progress": False, "first_sample": 3, **options}
    runs = [e.run(network, images, steps, 9, **options) for e in (engine, get_engine("reference"))]
    found, right = (run.variables for run in runs)
    assert list(found) == list(right)
    return sum(int((found[name] != right[name]).sum()) for name in right)


@pytest.mark.parametrize("kind", ["lateral", "predictive"])
def test_latencies_of_adapters_change_no_integer(kind):
    command = [sys.executable, "-W", "ignore", "board_draws.py", kind, "10"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    draws = [json.loads(line) for line in done.stdout.splitlines()]
    assert [draw["wrong"] for draw in draws] == [0] * 10
    latencies = {tuple(draw["latency"]) for draw in draws}
    assert len(latencies) > 4 and {3 <= n <= 11 for each in latencies for n in each} == {True}


def test_samples_follow_each_other_and_everything_is_told():
    engine = Loihi2Engine(board=StandIn(delays=Delays(1, 3, seed=1)), cost_steps=50)
    # With every frame a run of its own, the noise of the second one begins later.
    assert differing(engine, toy.predictive(), samples=2) == 0
    found = engine.found
    assert found["board"] == "stand-in, no chip" and found["stage"] == "S1"
    assert found["versions"]["lava-nc"] == "0.10.0"
    assert found["steps_per_message"] == max(most for _, most in found["latency"].values())
    assert (
        found["models"]
        | {
            "latents": "HostNeuronsModel (HostNeurons, host)",
            "feedback": "NcModelDense (Dense, cores)",
            "errors_prediction_in_sum": "NcModelGradedVec (DelayedSums, cores)",
        }
        == found["models"]
    )
    # Two populations, connections, sums and adapters of each direction.
    assert len(found["models"]) == 10
    assert found["costs"]["dynamic_watts"] == 0.0
    assert found["costs"]["static_watts"] == found["costs"]["total_watts"] == 0.25


def test_frames_that_begin_anew_have_words_of_their_own():
    engine = Loihi2Engine(board=StandIn())
    network = toy.lateral()
    frames = toy.images(network, 2)[None]
    runs = [
        e.run(network, frames, 2, 1, record="full", reset=True, progress=False)
        for e in (engine, get_engine("reference"))
    ]
    for name, right in runs[1].variables.items():
        np.testing.assert_array_equal(runs[0].variables[name], right)
    with pytest.raises(EngineError, match="does not run frames that change in time"):
        engine.run(network, frames, 2, 1, progress=False)


def test_messages_may_overtake_each_other_within_declared_bounds():
    delays = Delays(1, 5, seed=2, jitter=True)
    engine = Loihi2Engine(board=StandIn(delays=delays, latency=Bounds(3, 11)))
    assert differing(engine, toy.predictive()) == 0


@pytest.mark.parametrize("declared", [None, Bounds(3, 7)])
def test_a_late_message_is_an_error(declared):
    delays = Delays(1, 5, seed=5, jitter=True)
    engine = Loihi2Engine(board=StandIn(delays=delays, latency=declared))
    with pytest.raises(EngineError, match=LATE):
        differing(engine, toy.lateral(), steps=8)


@pytest.mark.parametrize(("stage", "delayed"), [("S1", "delays"), ("S2", "sums")])
def test_messages_that_are_late_by_a_whole_unit_are_not_taken_for_the_next(stage, delayed):
    unit = {"S1": 3, "S2": 2}[stage]
    later = LaterFrom(step=PATIENCE + 3 * unit, more=unit)
    engine = Loihi2Engine(stage, StandIn(**{delayed: later}))
    with pytest.raises(EngineError, match=LATE):
        differing(engine, toy.lateral(), steps=8)


class Var:
    def __init__(self, *values):
        self.values = np.array(values)

    def get(self):
        return self.values

    def set(self, values):
        self.values = values


def test_what_a_drain_does_not_bring_is_an_error():
    names = ("unit", "tick", "pulse", "least", "most", "late", "counted")
    process = SimpleNamespace(first=Var(2), last=Var(3), **{name: Var(0) for name in names})
    plans = {"a": SimpleNamespace(ports=(SimpleNamespace(connections=("c",)),))}
    path = {"connection": "c", "source": "a", "target": "a", "variable": 0, "port": 0}
    wiring = SimpleNamespace(
        plans=plans, populations={"a": process}, paths=(SimpleNamespace(**path),)
    )
    ran = []
    links = DelayedLinks(wiring, ran.append, None)
    assert (links.bounds, links.unit) == ({"c": Bounds(2, 3)}, 3)
    assert ran == [PATIENCE, 3]
    links.begin()
    with pytest.raises(EngineError, match="0 instead of 1 messages of c reached 'a' within 3 ste"):
        links.drain()
    process.counted.set(np.array([1]))
    links.drain()
    with pytest.raises(EngineError, match="1 instead of 0 messages of c"):
        links.drain()


def test_a_pulse_that_does_not_come_back():
    engine = Loihi2Engine(board=StandIn(delays=Delays(40, 40)))
    with pytest.raises(EngineError, match="'lateral': a pulse of 'latents' did not"):
        differing(engine, toy.lateral())


def test_no_model_falls_back_unseen():
    engine = Loihi2Engine(board=NoModelOfSums())
    said = "GradedVec 'latents_lateral_in_sum' would run on the host by PyGradedVecModelFixed; "
    with pytest.raises(EngineError, match=said + "expected a model for the cores"):
        differing(engine, toy.lateral())


def test_a_board_at_fault_is_found():
    assert differing(Loihi2Engine(board=BooleanMessages()), toy.lateral(), steps=6) > 0


@pytest.mark.parametrize("network", [toy.lateral(), toy.predictive()], ids=lambda n: n.name)
def test_neurons_in_c_on_embedded_processors(network):
    engine = Loihi2Engine("S2", StandIn(sums=Delays(1, 5, seed=1)))
    assert differing(engine, network, samples=2) == 0
    assert engine.found["steps_per_message"] > 2
    model = "Model_latents (EmbeddedNeurons, embedded processors)"
    assert engine.found["models"]["latents"] == model and engine.found["stage"] == "S2"


def test_a_late_message_is_an_error_in_c_too():
    delays = Delays(1, 5, seed=5, jitter=True)
    engine = Loihi2Engine("S2", StandIn(sums=delays, latency=Bounds(2, 4)))
    with pytest.raises(EngineError, match=LATE):
        differing(engine, toy.lateral(), steps=8)


def test_the_program_of_an_embedded_processor_has_no_floats_heap_or_weights():
    network = toy.predictive()
    for name, plan in plan_network(network).items():
        text = Embedded(network, network.population_of[name], plan).text("predefs_Model.h")
        assert "float" not in text and "double" not in text and "malloc" not in text
        assert "int8_t array" not in text
        assert text.startswith('#include "nxsdk.h"\n#include "predefs_Model.h"\n')


_FRAMEWORK = """\
#include <stdint.h>
typedef struct { int32_t time_step; } runState;
typedef const struct { int32_t number; } port;
void recv_vec_dense(runState *, port *, int32_t *);
void send_vec_dense(runState *, port *, int32_t *);
"""


@pytest.mark.skipif(find_spec("ziglang") is None, reason="ziglang is not installed")
@pytest.mark.parametrize("name", ["latents", "errors"])
def test_it_is_built_for_a_processor_of_that_class_without_a_warning(name):
    network = toy.predictive()
    population, plan = network.population_of[name], plan_network(network)[name]
    embedded = Embedded(network, population, plan)
    names = ["unit", "tick", "step", "sample", "iterations", "pulse", "words"]
    names += ["least", "most", "first", "last", "late", "counted"]
    names += [embedded.value(v.name) for v in population.variables]
    names += [embedded.held(connection) for connection in plan.held]
    lines = [f"extern int32_t {each}[];" for each in names]
    ports = [p.name for p in plan.ports] + [f"{each}_out" for each in embedded.sent]
    lines += [f"static port {each} = {{0}};" for each in ports]
    files = {
        "program.c": embedded.text("predefs.h"),
        "nxsdk.h": _FRAMEWORK,
        "predefs.h": "\n".join(lines) + "\n",
    }
    # Of the class of the embedded processors: 32 bits, no floating-point unit.
    flags = "-target x86-freestanding -mcpu=i586 -msoft-float -c -Os -std=c99 -Wall -Wextra -Werror"
    assert compiled(ZIG, tuple(flags.split()), files)


def test_microcode_of_an_owner():
    engine = Loihi2Engine("S3", StandIn(), MICROCODE)
    assert differing(engine, toy.predictive(), samples=2) == 0
    assert engine.found["models"] == {
        "latents": "Microcode (CoreNeurons, cores)",
        "errors": "Microcode (CoreNeurons, cores)",
        "prediction": "NcModelDense (Dense, cores)",
        "feedback": "NcModelDense (Dense, cores)",
    }


def test_words_of_the_chip_itself_give_the_same_distribution():
    network = toy.lateral(latents=64)
    engine = Loihi2Engine("S3", StandIn(), MICROCODE, noise="chip")
    images = toy.images(network, 1)
    run = engine.run(network, images, 64, 0, record="full", progress=False)
    (found,) = check_draws(network, run)
    assert found.passed and found.draws == 64 * 64
    assert engine.found["noise"] == "chip"


@pytest.mark.parametrize(
    ("microcode", "said"),
    [
        ({"errors": MICROCODE}, "no microcode for population 'latents'"),
        ("stand_in_models:Nothing", "expected a class as module:Class"),
        ("pvae_neuro.sim.lava.processes.neurons.models:NeuronsModel", "expected a model for the c"),
    ],
)
def test_microcode_that_cannot_be(microcode, said):
    with pytest.raises(EngineError, match=said):
        differing(Loihi2Engine("S3", StandIn(), microcode), toy.predictive())


@pytest.mark.parametrize(
    ("stage", "microcode", "noise", "said"),
    [
        ("S4", None, "injected", "expected one of S1, S2, S3"),
        ("S1", MICROCODE, "injected", "expects no microcode"),
        ("S3", None, "injected", "expects the owner's models"),
        ("S3", "module", "injected", "expected module:Class for"),
        ("S1", None, "chip", "noise: expected injected, or chip where neurons are on cores"),
        ("S3", MICROCODE, "philox", "noise: expected injected, or chip"),
    ],
)
def test_stages(stage, microcode, noise, said):
    with pytest.raises(InputError, match=said):
        stage_of(stage, microcode, noise)


def test_options_and_what_is_missing():
    with pytest.raises(InputError, match="board: expected a Board"):
        Loihi2Engine(board="oheogulch")
    with pytest.raises(InputError, match="cost_steps"):
        Loihi2Engine(cost_steps=-1)
    with pytest.raises(InputError, match="delays: expected"):
        Delays(0, 3)
    with pytest.raises(EngineUnavailableError, match="lava-loihi"):
        Loihi2Engine().run(toy.lateral(), np.zeros((1, 20)), 1, 0)


def test_what_two_iterations_set_in_one_step_cannot_be_read():
    assert unreadable(toy.lateral()) == unreadable(toy.predictive()) == []
    network = toy.lateral()
    # The potential is set by the first activation of an iteration and by the last one.
    twice = replace(network, iteration=(network.iteration[1], *network.iteration))
    (said,) = unreadable(twice)
    assert said == "engine loihi2 cannot read latents.u: two iterations set it in one step"
    assert Activation("latents", "fire") in network.iteration


def test_costs_without_a_meter():
    assert Costs(10, None, 0.2, None).dynamic_watts is None
    assert Costs(10, 0.28, 0.27, None).to_dict()["dynamic_watts"] == pytest.approx(-0.01)
