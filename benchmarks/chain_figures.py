"""Every figure of chains of spiking nodes that docs/generalized_integers.md quotes.

    python benchmarks/chain_figures.py --data-root DATA --model chain.safetensors

It trains a chain of Poisson, Bernoulli and categorical nodes on MNIST if the file is not there
(training goes on where it was stopped), measures, and writes the table between the marks of the
page. The gap to an exact softmax is that of the same weights where each group is divided by its sum
at once, and the distance of the log-sums from the exact ones while normalizer neurons run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.data import Images, load_images
from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.network import Population, Sampler, Variable, shared
from pvae_neuro.network.sampler import LOWEST_POTENTIAL
from pvae_neuro.neurons import bernoulli
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.training.train import TrainOptions, checkpoint_path
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.verification.integers import PairCheck

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
ENGINES = ("reference", "fast", "onnx", "torch", "c")
TRAINED, CALIBRATION, TESTED, LOG_SUMS, EXACT, LAVA = 6_000, 64, 200, 50, 8, 2
STEPS, LONG = 32, 512
ARCHITECTURE = {
    "families": ["poisson", "bernoulli", "categorical"], "above": [64, 32], "groups": 4,
}  # fmt: skip
FRAC_BITS = 14
Row = tuple[str, str]


def trained(images: Images, path: Path) -> SavedModel:
    """The chain, from the file or by training."""
    if path.exists():
        return pn.load_model(path)
    sizes = {"latents": 128, "architecture": ARCHITECTURE}
    config = pn.recipe("gpc-chain", epochs=4, batch_size=100, **sizes)
    few = replace(images, pixels=images.pixels[:TRAINED], labels=None)
    return pn.train(few, config, path, TrainOptions(resume=checkpoint_path(path).exists()))


def bernoulli_distance() -> float:
    """Largest distance of the share of firing words from the sigmoid, over all potentials."""
    cells = Population(
        "cells", 1, (Variable("u", shared(0)), Variable("z", shared(0))),
        bernoulli.firing_constants(FRAC_BITS), (bernoulli.FIRE,), Sampler(1, FRAC_BITS),
    )  # fmt: skip
    reach = -LOWEST_POTENTIAL << FRAC_BITS
    return bernoulli.total_variation(cells, -reach, reach)


def exact_softmax(model: SavedModel) -> SavedModel:
    """The same weights, where groups are normalized at once."""
    architecture = {**model.config.architecture, "normalizer": None}
    return replace(model, config=model.config.model_copy(update={"architecture": architecture}))


def log_sum_errors(model: SavedModel, images: np.ndarray) -> dict[str, np.ndarray]:
    """Log-sums of grouped nodes less the exact ones, [T, B, groups], by population."""
    circuit = lowering_of(None, model.config.family).circuit(model)
    words = {
        p.name: population_noise(p, 0, range(LONG + 1), range(len(images))) for p in circuit.drawing
    }
    groups = model.config.architecture["groups"]
    found: dict[str, list[np.ndarray]] = {}
    before = None
    for state in circuit.run(images, words):
        for name in [p.name for p in circuit.populations if p.name.endswith("_sums")]:
            if before is not None:
                # A log-sum follows the parameters of which the last draw was.
                u = before[f"{name.removesuffix('_sums')}.u"]
                exact = np.logaddexp.reduce(u.reshape(len(u), groups, -1), axis=2)
                found.setdefault(name, []).append(state[f"{name}.c"] - exact)
        before = state
    return {name: np.stack(errors) for name, errors in found.items()}


def engine_rows(network: Any, digits: np.ndarray) -> Iterator[Row]:
    """Every variable of every population at every iteration, every pair of engines."""
    for names, samples in ((ENGINES, EXACT), (("reference", "lava"), LAVA)):
        runs = {}
        for name in names:
            try:
                engine = pn.get_engine(name)
            except EngineUnavailableError:
                continue
            runs[name] = engine.run(network, digits[:samples], STEPS, seed=1, record="full")
        pairs = [PairCheck(a, b) for a, b in combinations(runs, 2)]
        for pair in pairs:
            pair.add(network, runs[pair.a], runs[pair.b])
        differing = sum(pair.differing_integers for pair in pairs)
        compared = sum(pair.compared_integers for pair in pairs)
        yield f"integers that differ: {', '.join(runs)}", f"{differing:,} of {compared:,}"


def rows(model: SavedModel, train: Images, test: np.ndarray) -> Iterator[Row]:
    """Figures, in words."""
    yield "Bernoulli neurons, farthest from the sigmoid", f"{bernoulli_distance():.2g}"
    digits = test[:TESTED]
    ours, exact = (pn.infer(each, digits, STEPS) for each in (model, exact_softmax(model)))
    yield "MSE, zeros with normalizer neurons (PyTorch)", figures_of(ours)
    yield "MSE, zeros with an exact softmax, same weights", figures_of(exact)
    for name, errors in log_sum_errors(model, test[:LOG_SUMS]).items():
        late = errors[LONG // 2 :]
        yield f"{name}: log-sum − log Σeᵘ, rms", f"{np.sqrt(np.square(late).mean()):.3f}"
        mean = late.mean(axis=0)
        yield (
            f"{name}: its mean over {len(late)} iterations, rms",
            f"{np.sqrt(np.square(mean).mean()):.3f}",
        )
    network = pn.quantize(model, train.pixels[:CALIBRATION])
    yield from engine_rows(network, test)
    report = pn.verify(network, model, digits, steps=STEPS, engines=["fast"])
    if report.float_result is not None:
        yield (
            "integers against the float circuit",
            ", ".join(str(distance) for distance in report.float_result.distances),
        )


def figures_of(trace: pn.Trace) -> str:
    """MSE and zeros at the end."""
    return f"{trace.mse[-1]:.2f}, {100 * trace.zeros[-1]:.2f} %"


def write_page(found: list[Row], page: Path) -> None:
    """Put the table between the marks of the page."""
    text = page.read_text("utf-8")
    before, rest = text.split(BEGIN)
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in found)]
    with atomic_path(page) as temporary:
        table = "\n".join(lines)
        temporary.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--model", type=Path, required=True, help="trained if it is not there")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/generalized_integers.md")
    options = parser.parse_args()
    train, test = (load_images("mnist", options.data_root, s) for s in ("train", "test"))
    found = []
    for name, value in rows(trained(train, options.model), train, test.pixels):
        print(f"{name}: {value}", flush=True)
        found.append((name, value))
    write_page(found, options.page)


if __name__ == "__main__":
    main()
