"""The model of natural patches that ``features`` and ``tuning`` look into.

In full it is the linear iterative Poisson VAE of ``convergence``. Dictionaries need thousands of
updates to become Gabor-like from random ones, which a quick version cannot wait for: it takes
fewer latents, smaller batches and larger steps.
"""

from __future__ import annotations

from typing import Any

from pvae_neuro.experiments.context import Context
from pvae_neuro.experiments.trainings import patches_model
from pvae_neuro.saved.model_file import SavedModel

FAMILY = "ipvae-linear"
STEPS, BETA = 16, 24.0
"""T and β, arXiv:2410.19315, figure 4: the published model nearest to perfection."""

QUICK: dict[str, Any] = {
    "latents": 64, "batch_size": 50, "windows": 2, "epochs": 16, "learning_rate": 1e-2,
    "dictionary_rate": 1.0, "clamp_u": 4.0, "clamp_du": 4.0, "isotropic": False,
}  # fmt: skip
"""Where the quick training departs from the shared recipe."""


def natural_model(context: Context) -> SavedModel:
    """Train the linear iterative Poisson VAE on whitened natural patches, or take the kept one.

    Parameters
    ----------
    context : Context

    Returns
    -------
    SavedModel

    Raises
    ------
    InputError
        If the patches are absent.
    """
    changes = context.choose(QUICK, {})
    return patches_model(context, FAMILY, beta=BETA, steps=STEPS, **changes)
