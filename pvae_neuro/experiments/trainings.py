"""Trainings that experiments share: one recipe a family and data set, quick and full.

Models are told apart by their data and settings, so experiments that ask for the same one train it
once. Full recipes are the papers' where they are known (arXiv:2410.19315, configuration of the
released code; arXiv:2405.14473); quick ones take seconds on two cores.
"""

from __future__ import annotations

from typing import Any

from pvae_neuro.experiments.context import Context
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel
from pvae_neuro.training.train import recipe

PATCHES = "natural16_whitened.npz"
"""Whitened patches of natural photographs, below the data folder; ``pvae-neuro patches`` makes
such a file."""

EXACT: dict[str, Any] = {
    "estimator": "exact", "clamp": "hard", "clamp_u": 4.0, "clamp_du": 4.0,
}  # fmt: skip
"""Of the linear iterative Poisson VAE: exact counts and hard clamps have compiled windows, several
times faster than relaxed ones; e^4 = 55 bounds the rates."""

ISOTROPIC: dict[str, Any] = {"isotropic": True}
"""One variance for all pixels: a short training cannot find those of pixels that hardly vary."""

Settings = dict[str, Any]

_QUICK_MNIST: Settings = {"epochs": 2, "batch_size": 100}
_QUICK_MNIST_OF: dict[str, Settings] = {
    "ipvae-linear": {"steps": 16, "beta": 8.0, "windows": 4, "epochs": 1, **ISOTROPIC},
    "ipvae-mlp": {"epochs": 1, "batch_size": 50, "windows": 4, **ISOTROPIC},
    "ipvae-conv": {"epochs": 1, "batch_size": 25, "windows": 4, **ISOTROPIC},
    "ipvae-hierarchical": {
        "epochs": 1,
        "batch_size": 50,
        "windows": 6,
        "beta": 1.0,
        **ISOTROPIC,
    },
    "igvae": {"epochs": 1, "batch_size": 50, "dictionary_rate": 1.0},
    "igvae-relu": {"epochs": 1, "batch_size": 50, "dictionary_rate": 1.0},
    "pvae-conv": {"epochs": 1},
    "gvae-conv": {"epochs": 1},
    "pc": {"epochs": 1},
    "ipc": {"epochs": 1},
    "lca": {"epochs": 1},
    "savae": {"epochs": 1, "batch_size": 50},
    "iavae": {"epochs": 1, "batch_size": 50},
}
_QUICK_IMAGES = 20_000
_QUICK_IMAGES_OF = {
    "ipvae-linear": 12_000, "ipvae-mlp": 4_000, "ipvae-conv": 1_500, "ipvae-hierarchical": 2_500,
    "igvae": 12_000, "igvae-relu": 12_000, "ipc": 5_000, "savae": 5_000, "iavae": 5_000,
}  # fmt: skip
_FULL_MNIST: Settings = {"epochs": 400, "batch_size": 100}
_FULL_MNIST_OF: dict[str, Settings] = {
    "ipvae-linear": {"steps": 128, "beta": 128.0, "learning_rate": 2e-3, "gradient_clip": 3000.0},
    "igvae": {"steps": 64, "beta": 64.0, "learning_rate": 2e-3, "gradient_clip": 3000.0},
    "igvae-relu": {"steps": 32, "beta": 32.0, "learning_rate": 2e-3, "gradient_clip": 3000.0},
}

_QUICK_PATCHES: Settings = {
    "latents": 256, "batch_size": 50, "epochs": 5, "learning_rate": 1e-2, "dictionary_rate": 1.0,
}  # fmt: skip
_QUICK_PATCHES_OF: dict[str, Settings] = {
    "ipvae-linear": {
        "epochs": 2, "batch_size": 100, "learning_rate": 3e-3, "dictionary_rate": 0.25, **ISOTROPIC,
    },
    # Rates are exponentials of patches of heavy tails: larger steps do not learn.
    "pvae-linear": {
        "epochs": 12, "batch_size": 100, "learning_rate": 3e-3,
        "architecture": {"estimator": "exact"},
    },
    "lca": {"epochs": 8, "steps": 30},
}  # fmt: skip
_FULL_PATCHES: Settings = {"epochs": 300, "batch_size": 200, "learning_rate": 5e-3}
_FULL_PATCHES_OF: dict[str, Settings] = {
    "pvae-linear": {"learning_rate": 2e-3},
    "pvae-conv": {"learning_rate": 2e-3},
    "lca": {"epochs": 60, "learning_rate": 2e-3},
}
QUICK_PATCHES = 10_000
_QUICK_ITERATIONS = 128
"""That quick trainings of the iterative Poisson VAE show a patch for: shorter ones teach it to
begin, not to arrive."""


def mnist_model(context: Context, name: str, **changes: Any) -> SavedModel:
    """Train a family on MNIST, or take the model trained before.

    Parameters
    ----------
    context : Context
    name : str
        Family.
    **changes : Any
        Settings of :class:`~pvae_neuro.training.config.TrainConfig` that differ from the shared
        recipe, for instance ``latents``.

    Returns
    -------
    SavedModel

    Raises
    ------
    InputError
        If there is no such family, or MNIST is absent.
    """
    common = context.choose(_QUICK_MNIST, _FULL_MNIST)
    own = context.choose(_QUICK_MNIST_OF, _FULL_MNIST_OF).get(name, {})
    settings = {**common, **_exact(name), **own, **changes}
    count = context.choose(_QUICK_IMAGES_OF.get(name, _QUICK_IMAGES), None)
    images = context.images("mnist", "train", count)
    config = recipe(name, seed=context.seed, **settings)
    return context.trained(f"mnist-{name}", images, config)


def patches_model(
    context: Context, name: str, *, beta: float, steps: int | None = None, **changes: Any
) -> SavedModel:
    """Train a family on whitened patches of natural photographs, or take the one trained before.

    Parameters
    ----------
    context : Context
    name : str
        Family.
    beta : float
        Weight of the KL term, or of LCA's sparsity penalty.
    steps : int, optional
        Iterations in a window, T; the family's own if not given.
    **changes : Any
        Further settings that differ from the shared recipe.

    Returns
    -------
    SavedModel

    Raises
    ------
    InputError
        If there is no such family, or the patches are absent.
    """
    window = {} if steps is None else {"steps": steps}
    common = context.choose(_QUICK_PATCHES, _FULL_PATCHES)
    own = context.choose(_QUICK_PATCHES_OF, _FULL_PATCHES_OF).get(name, {})
    settings = {**common, **_exact(name), **own, "beta": beta, **window, **changes}
    if context.quick and name == LINEAR_FAMILY:
        settings.setdefault("windows", max(1, _QUICK_ITERATIONS // (steps or recipe(name).steps)))
    images = context.images(PATCHES, "train", context.choose(QUICK_PATCHES, None))
    config = recipe(name, seed=context.seed, **settings)
    return context.trained(f"patches-{name}-b{beta:g}-t{config.steps}", images, config)


def _exact(name: str) -> Settings:
    return EXACT if name == LINEAR_FAMILY else {}
