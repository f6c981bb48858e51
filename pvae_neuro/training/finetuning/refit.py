"""What is fitted to integers without slopes: leaks by activity, a readout by least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel
from pvae_neuro.sim.engine import fastest_engine

Lower = Callable[[SavedModel], IntegerNetwork]

TRIALS, FIRST_TRIAL = 3, 0.1
# Beyond these factors of the logarithm a leak is another model's.
LARGEST_SHIFT = 1.0
# Weight of the dictionary against the counts, as a share of their mean squares.
RIDGE = 0.1
AT_ONCE, SAMPLED_EVERY = 500, 8


def match_activity(
    model: SavedModel,
    leaks: tuple[str, ...],
    lower: Lower,
    images: NDArray[np.float32],
    wanted: float,
    iterations: int,
    seed: int,
) -> SavedModel:
    """Scale all leaks alike until the share of zeros is the one wanted, by the secant's rule."""

    def shifted(by: float) -> SavedModel:
        arrays = {name: (model.arrays[name] + np.float32(by)) for name in leaks}
        return replace(model, arrays={**model.arrays, **arrays})

    def missing(by: float) -> float:
        network = lower(shifted(by))
        code = network.code or ""
        run = fastest_engine(network).run(
            network, images, iterations, seed, record=[code], progress=False
        )
        return wanted - float((run.last[code] == 0).mean())

    before, now = 0.0, FIRST_TRIAL
    first = missing(before)
    for _ in range(TRIALS):
        second = missing(now)
        slope = (second - first) / (now - before)
        if slope >= 0.0:
            break
        step = float(np.clip(now - second / slope, -LARGEST_SHIFT, LARGEST_SHIFT))
        before, first, now = now, second, step
    return shifted(now)


def fit_readout(
    model: SavedModel,
    network: IntegerNetwork,
    images: NDArray[np.float32],
    iterations: int,
    seed: int,
    tell: Callable[[int], None] = lambda done: None,
) -> SavedModel:
    """Give a linear model the readout that explains images best by the integers' counts.

    Ridge regression of the images on counts of the second half of the iterations, towards the
    dictionary. Returns a model of any other family as it is.
    """
    if model.config.family != LINEAR_FAMILY or network.code is None:
        return model
    engine, code = fastest_engine(network), network.code
    latents, pixels = model.dictionary.shape[1], model.dictionary.shape[0]
    moments, products, number = np.zeros((latents, latents)), np.zeros((pixels, latents)), 0
    for first in range(0, len(images), AT_ONCE):
        some = images[first : first + AT_ONCE]
        run = engine.run(
            network, some, iterations, seed, record=[code], first_sample=first, progress=False
        )
        for step in range(iterations, iterations // 2, -SAMPLED_EVERY):
            counts = run[code][:, step].astype(np.float32)
            moments += counts.T @ counts
            products += some.T @ counts
            number += len(some)
        tell(first + len(some))
    ridge = RIDGE * np.diag(moments) + 1e-6 * number
    towards = products + model.dictionary.astype(np.float64) * ridge
    readout = np.linalg.solve(moments + np.diag(ridge), towards.T).T.astype(np.float32)
    architecture = {**model.config.architecture, "readout": True}
    config = model.config.model_copy(update={"architecture": architecture})
    return SavedModel(config, {**model.arrays, "readout": readout})
