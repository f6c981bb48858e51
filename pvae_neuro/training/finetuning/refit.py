"""What is fitted to integers without slopes: leaks by activity, a readout by least squares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.compensation import settled
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel
from pvae_neuro.sim.engine import fastest_engine

Lower = Callable[[SavedModel], IntegerNetwork]

TRIALS, FIRST_TRIAL = 4, 0.1
# Beyond these factors of the logarithm a leak is another model's.
LARGEST_SHIFT = 1.0
# Weight of the dictionary against the counts, as a share of their mean squares.
RIDGE = 0.1
AT_ONCE, SAMPLED_EVERY = 500, 8
SWEEPS = 6


def match_activity(
    model: SavedModel,
    leaks: tuple[str, ...],
    lower: Lower,
    images: NDArray[np.float32],
    wanted: float,
    iterations: int,
    seed: int,
) -> SavedModel:
    """Scale all leaks alike until the share of zeros is the one wanted, by the secant's rule.

    Of the scales that were tried, that which comes nearest.
    """

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
    found = {before: missing(before)}
    for _ in range(TRIALS):
        found[now] = missing(now)
        slope = (found[now] - found[before]) / (now - before)
        if slope >= 0.0:
            break
        step = float(np.clip(now - found[now] / slope, -LARGEST_SHIFT, LARGEST_SHIFT))
        if step in found:
            break
        before, now = now, step
    return shifted(min(found, key=lambda by: abs(found[by])))


def counts_of(
    network: IntegerNetwork,
    images: NDArray[np.float32],
    iterations: int,
    seed: int,
    tell: Callable[[int], None],
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Some images and their counts, at some of the second half of the iterations."""
    engine, code = fastest_engine(network), network.code or ""
    for first in range(0, len(images), AT_ONCE):
        some = images[first : first + AT_ONCE]
        run = engine.run(
            network, some, iterations, seed, record=[code], first_sample=first, progress=False
        )
        for step in range(iterations, iterations // 2, -SAMPLED_EVERY):
            yield some, run[code][:, step].astype(np.float32)
        tell(first + len(some))


def round_together(
    dictionary: NDArray[np.float64],
    unit: NDArray[np.float64],
    mantissa_max: int,
    network: IntegerNetwork,
    images: NDArray[np.float32],
    iterations: int,
    seed: int,
    damping: float,
    tell: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float64]:
    """Mantissas of a dictionary whose errors cancel in what is predicted.

    Parameters
    ----------
    dictionary : float64 [M, K]
    unit : float64 [K]
        Of the mantissas of each latent.
    mantissa_max : int
    network : IntegerNetwork
        Of finer weights: its counts are those whose predictions are to stay.
    images, iterations, seed
        What it runs on.
    damping : float
        Weight of a mantissa's own error beside that of predictions, as a share of the mean square
        of its latent's counts: what is sent back goes through each mantissa by itself.
    """
    moments, number = np.zeros((len(unit), len(unit))), 0
    for _, counts in counts_of(network, images, iterations, seed, tell):
        moments += counts.T @ counts
        number += len(counts)
    inputs = unit[:, None] * (moments / number) * unit
    metric = inputs + np.diag(damping * np.diag(inputs) + 1e-12)
    # From the nearest mantissas on, in the order of the moments: errors that are passed on to
    # columns not yet rounded would shorten rare ones, and more would fire.
    order = np.argsort(-np.diag(metric), kind="stable")
    weight = (dictionary / unit)[:, order]
    nearest = np.clip(np.rint(weight), -mantissa_max, mantissa_max)
    found = np.empty_like(nearest)
    found[:, order] = settled(nearest, weight, mantissa_max, metric[np.ix_(order, order)], SWEEPS)
    return found


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
    pixels, latents = model.dictionary.shape
    moments, products, number = np.zeros((latents, latents)), np.zeros((pixels, latents)), 0
    for some, counts in counts_of(network, images, iterations, seed, tell):
        moments += counts.T @ counts
        products += some.T @ counts
        number += len(some)
    ridge = RIDGE * np.diag(moments) + 1e-6 * number
    towards = products + model.dictionary.astype(np.float64) * ridge
    readout = np.linalg.solve(moments + np.diag(ridge), towards.T).T.astype(np.float32)
    architecture = {**model.config.architecture, "readout": True}
    config = model.config.model_copy(update={"architecture": architecture})
    return SavedModel(config, {**model.arrays, "readout": readout})
