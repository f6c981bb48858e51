"""All measures of a model at once, after some number of iterations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.figures import variance_within
from pvae_neuro.evaluation.measures.calibration import coverage, places_in_samples
from pvae_neuro.evaluation.measures.classification import logistic_accuracy, shattering_dimension
from pvae_neuro.evaluation.measures.divergence import active_latents, summed_nelbo
from pvae_neuro.evaluation.measures.integer_codes import Codes, codes_of_network
from pvae_neuro.evaluation.measures.neighbours import LABELS, neighbour_accuracies
from pvae_neuro.evaluation.measures.sparsity import lifetime_sparsity, population_sparsity
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import Float32, SavedModel
from pvae_neuro.sim.engine import Engine
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import Advance, shown_advance

DRAWS = 10
"""Draws of labelled images for nearest neighbours; the papers' tables take 100."""
COVERED_IMAGES, COVERED_SAMPLES = 250, 32
"""Images that coverage is taken over, and samples of the posterior of each."""


@dataclass(frozen=True)
class Measured:
    """Measures of the papers; ``docs/science/measures.md`` defines each.

    Attributes
    ----------
    samples, steps, seed : int
    fitted : int
        Training images that classifiers were fitted to.
    figures : dict of str to float
        By name: ``mse``, ``r2``, ``zeros``, ``lifetime``, ``population``; with a KL divergence
        ``kl`` and ``nelbo``; where an encoder infers in one pass ``active``; of a float model
        ``coverage_LEVEL``, and ``coverage_observed_LEVEL`` with the variance of the observation;
        with labels ``neighbours_COUNT``; with training images ``accuracy``, and ``shattering``
        where the number of classes is even.
    """

    samples: int
    steps: int
    seed: int
    fitted: int
    figures: dict[str, float]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        return f"<Measured on {self.samples} images after {self.steps} iterations: {shown}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "seed": self.seed,
            "fitted": self.fitted,
            **self.figures,
        }


@checked
def measure(
    subject: SavedModel | IntegerNetwork,
    images: Images,
    train: Images | None = None,
    *,
    steps: int = 128,
    seed: int = 0,
    engine: str | Engine | None = None,
    progress: Advance | bool | None = None,
) -> Measured:
    """Measure a model of any family, or an integer network, on still images.

    Parameters
    ----------
    subject : SavedModel or IntegerNetwork
    images : Images
        In the declared range; with labels also for nearest neighbours and classifiers.
    train : Images, optional
        With labels, to fit classifiers to.
    steps : int
    seed : int
    engine : str or Engine, optional
        For an integer network; by default the fastest that works here.
    progress : callable, True or False, optional
        Told image-iterations done since the last call; True shows a bar, False nothing. By default
        a terminal shows a bar and a notebook a line now and then.

    Raises
    ------
    InputError
        If images do not fit, or training images or those that classifiers judge have no labels.
    MissingDependencyError
        If scikit-learn, SciPy or torch is missing and needed.
    """
    if train is not None and (train.labels is None or images.labels is None):
        unlabelled = images if images.labels is None else train
        raise InputError(f"{unlabelled.name}: expected labels for classifiers, got none")
    total = steps * (len(images.pixels) + (0 if train is None else len(train.pixels)))
    with shown_advance(progress, "measure", total) as tell:
        tested = _codes(subject, images.pixels, steps, seed, engine, tell)
        seen = None if train is None else _codes(subject, train.pixels, steps, seed, engine, tell)
    found = {**figures_of(tested, images.pixels), "population": population_sparsity(tested.z)}
    if isinstance(subject, SavedModel):
        found.update(_of_model(subject, tested, images.pixels, steps, seed))
    labels = images.labels
    if labels is not None:
        few = tuple(count for count in LABELS if count <= len(labels) // 2)
        near = neighbour_accuracies(tested.code, labels, counts=few, draws=DRAWS, seed=seed)
        found.update({f"neighbours_{count}": float(np.mean(v)) for count, v in near.items()})
    if seen is not None and train is not None and train.labels is not None and labels is not None:
        split = seen.code, train.labels, tested.code, labels
        found["accuracy"] = logistic_accuracy(*split)
        if len(np.unique(train.labels)) % 2 == 0:
            found["shattering"] = shattering_dimension(*split)
    fitted = 0 if train is None else len(train.pixels)
    return Measured(len(images.pixels), steps, seed, fitted, found)


def figures_of(codes: Codes, pixels: Float32) -> dict[str, float]:
    """``mse``, ``r2`` within images, ``zeros``, ``lifetime`` of samples; ``kl`` and ``nelbo``."""
    within = variance_within(pixels)
    textured = within > 0
    found = {
        "mse": float(codes.error.mean()),
        "r2": float((1.0 - codes.error[textured] / within[textured]).mean())
        if textured.any()
        else float("nan"),
        "zeros": float((codes.z == 0).mean()),
        "lifetime": lifetime_sparsity(codes.z),
    }
    if codes.kl is not None:
        found["kl"] = float(codes.kl.sum())
        found["nelbo"] = float(summed_nelbo(found["mse"], codes.kl))
    return found


def _codes(
    subject: SavedModel | IntegerNetwork,
    pixels: Float32,
    steps: int,
    seed: int,
    engine: str | Engine | None,
    tell: Advance,
) -> Codes:
    if isinstance(subject, IntegerNetwork):
        return codes_of_network(subject, pixels, steps, seed, engine=engine, progress=tell)
    from pvae_neuro.evaluation.measures.codes import codes_along

    return codes_along(subject, pixels, (steps,), seed, progress=tell)[steps]


def _of_model(
    saved: SavedModel, codes: Codes, pixels: Float32, steps: int, seed: int
) -> dict[str, float]:
    """What a float model alone knows of itself: divergences by latent, variances of pixels."""
    model = model_from_saved(saved)
    from pvae_neuro.evaluation.measures.codes import posterior_reconstructions

    found = {}
    if codes.kl is not None and model.one_pass:
        found["active"] = active_latents(codes.kl, model.active_threshold)
    covered = pixels[:COVERED_IMAGES]
    samples = posterior_reconstructions(model, covered, steps, COVERED_SAMPLES, seed)
    for name, variance in (
        ("coverage", 0.0),
        ("coverage_observed", model.observation_variance.numpy()),
    ):
        covers = coverage(places_in_samples(samples, covered, variance))
        found.update({f"{name}_{level:g}": share for level, share in covers.items()})
    return found
