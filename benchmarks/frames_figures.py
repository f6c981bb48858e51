"""Rotating digits, tracked with the state carried over: integers of all engines, and float.

For each circuit of the shipped model: integers that differ between the engines, every variable at
every step; and the tracking error, the mean over frames of the squared error after the last
iteration on each, of the integers against the float circuit under the same random words.

    python benchmarks/frames_figures.py --samples 100 --frames 100 --hold 4
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec

import numpy as np
from machine import processor, versions

import pvae_neuro as pn
from pvae_neuro.data import load_images, make_feeder

DEGREES_PER_FRAME = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--model", default="mnist")
    parser.add_argument("--samples", type=int, default=100, help="for the tracking error")
    parser.add_argument("--compared", type=int, default=16, help="for the engines")
    parser.add_argument("--lava", type=int, default=2, help="for the engine lava; 0 leaves it out")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--hold", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    model = pn.load_model(arguments.model)
    calibration, _ = pn.sample_digits()
    digits = load_images("mnist", arguments.data_root, "test", limit=arguments.samples)
    feeder = make_feeder(
        "rotating", digits, degrees_per_frame=DEGREES_PER_FRAME, frames=arguments.frames
    )
    frames = np.stack(list(feeder), axis=1)
    print(f"{processor()}; {', '.join(f'{name} {v}' for name, v in versions().items() if v)}")
    print(
        f"{arguments.model}, {arguments.frames} frames of digits that rotate by "
        f"{DEGREES_PER_FRAME:g} degrees a frame, {arguments.hold} iterations on each, state "
        f"carried over, seed {arguments.seed}"
    )
    trials = [(("reference", "fast", "onnx"), arguments.compared)]
    if arguments.lava and find_spec("lava"):
        trials.append((("reference", "lava"), arguments.lava))
    print("| circuit | engines | samples | integers compared | differing |\n|---|---|---|---|---|")
    networks = {}
    for topology in ("lateral", "predictive"):
        network = pn.quantize(model, calibration, pn.QuantizeConfig(topology=topology))
        networks[topology] = network
        for engines, samples in trials:
            report = pn.verify(
                network, None, frames[:samples], steps=arguments.hold, seed=arguments.seed,
                engines=engines,
            )  # fmt: skip
            compared = sum(pair.compared_integers for pair in report.pairs)
            differing = sum(pair.differing_integers for pair in report.pairs)
            names = ", ".join(engines)
            print(f"| {topology} | {names} | {samples} | {compared:,} | {differing} |", flush=True)
    print(
        "\n| circuit | samples | seeds | tracking error, float | integers | distance, % | "
        "zeros, points |\n|---|---|---|---|---|---|---|"
    )
    for topology, network in networks.items():
        report = pn.verify(
            network, model, frames, steps=arguments.hold, seed=arguments.seed, engines=["fast"]
        )
        result = report.float_result
        assert result is not None
        by_float, by_integer = result.by_float.final()["mse"], result.by_integer.final()["mse"]
        print(
            f"| {topology} | {len(frames)} | {result.seeds} | {by_float:.4f} | {by_integer:.4f} | "
            f"{result.mse.value:+.3f} ± {result.mse.margin:.3f} | "
            f"{result.zeros.value:+.3f} ± {result.zeros.margin:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
