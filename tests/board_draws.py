"""Runs a small network on the board that is not there, for many draws of latencies; prints JSON.

    python tests/board_draws.py lateral|predictive DRAWS

All in one process: Lava takes seconds to start. Each line tells a draw's latencies, by connection,
and how many integers differ from the definition.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import toy

from pvae_neuro.sim.engine import encode_frames, get_engine
from pvae_neuro.sim.lava.board.stages import HostStage
from pvae_neuro.sim.lava.board.stand_in.board import StandIn
from pvae_neuro.sim.lava.board.stand_in.delays import Delays

STEPS, SEED = 3, 5


def run_draw(network, board, expected, values):
    """Latencies, and integers that differ, of one draw."""
    from lava.magma.core.run_conditions import RunSteps

    from pvae_neuro.sim.lava.board.links import DelayedLinks
    from pvae_neuro.sim.lava.board.parts import Parts
    from pvae_neuro.sim.lava.board.recorder import Recorder
    from pvae_neuro.sim.lava.board.run_config import BoardConfig
    from pvae_neuro.sim.lava.board.wiring import wire

    board.select()
    parts = Parts(network, Path(), board.accumulator)
    wiring = wire(HostStage(), parts, seed=SEED, first_step=0)
    (process,) = wiring.firsts
    process.run(RunSteps(num_steps=1), BoardConfig(parts, []))
    links = DelayedLinks(wiring, lambda n: process.run(RunSteps(num_steps=n)), None)
    recorder = Recorder(links, network.variables, SEED)
    found = recorder.sample(0, values, STEPS)
    wrong = sum(int((got != expected[variable][0, row]).sum()) for variable, row, got in found)
    process.stop()
    return {"latency": [b.most for b in links.bounds.values()], "wrong": wrong}


def main(kind, draws):
    network = getattr(toy, kind)()
    image = toy.images(network, 1)
    expected = (
        get_engine("reference")
        .run(network, image, STEPS, SEED, record="full", progress=False)
        .variables
    )
    engine = get_engine("reference")
    inputs = engine.encode(network, encode_frames(network, image))
    values = {name: array[0, 0] for name, array in inputs.items()}
    for draw in range(draws):
        board = replace(StandIn(), delays=Delays(1, 5, seed=draw))
        print(json.dumps(run_draw(network, board, expected, values)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
