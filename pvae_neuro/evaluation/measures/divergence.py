"""What KL divergences by latent say: active latents, and negative evidence lower bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError

Floats = NDArray[np.floating[Any]]


def active_latents(kl: Floats, threshold: float) -> float:
    """Share of latents whose KL divergence [K], averaged over the data, is at least a threshold.

    PoissonVAE ``main/train_vae.py``, ``find_dead_neurons``, whose thresholds are set by hand: .01
    nats for Poisson latents on MNIST, .1 for Gaussian ones with a linear encoder
    (:attr:`~pvae_neuro.models.base.Model.active_threshold`); a gap in the histogram otherwise.

    Raises
    ------
    InputError
        If there are no latents or the threshold is not positive.
    """
    if kl.ndim != 1 or not len(kl) or not threshold > 0:
        raise InputError(
            f"active latents: expected divergences [K] and a threshold above 0, got divergences of "
            f"shape {kl.shape} and {threshold:g}"
        )
    return float((kl >= threshold).mean())


def summed_nelbo(error: ArrayLike, kl: Floats) -> Floats:
    """Squared error summed over pixels [...] plus KL divergence [..., K] summed over latents: nats.

    "Negative ELBO" of the P-VAE (PoissonVAE ``analysis/final.py``, ``analyze_fits``: an observation
    noise of variance one half) and of iterative models (IterativeVAE ``main/train.py``,
    ``Trainer.analysis``, where the prior is the posterior of the iteration before and the learned
    variances are left out).
    """
    return np.asarray(np.asarray(error, np.float64) + kl.sum(axis=-1, dtype=np.float64))


def forward_nelbo(nll: ArrayLike, kl: Floats) -> Floats:
    """Negative log-likelihood summed over pixels [...] plus KL divergence [..., K] *averaged*.

    IterativeVAE ``main/train.py``, ``Trainer.forward``, which training logs: the two terms do not
    add up to a bound. Compare models by :func:`summed_nelbo`.
    """
    return np.asarray(np.asarray(nll, np.float64) + kl.mean(axis=-1, dtype=np.float64))
