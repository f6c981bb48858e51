"""Training recipes that experiments share, one per family and data set, short and published.

Trained models are recognized by their data and settings, so experiments that ask for the same one
train it once. Published recipes are the papers' where they are known (arXiv:2410.19315,
configuration of the released code; arXiv:2405.14473). Short ones serve all other budgets, which
differ in how often they repeat a unit of training: see :data:`UNITS`.
"""

from __future__ import annotations

from typing import Any

from pvae_neuro.data.images import Images
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel
from pvae_neuro.training.recipes import RECIPES, named_settings
from pvae_neuro.training.train import TrainConfig, recipe

PATCHES = "natural16_whitened.npz"
"""Whitened patches of natural photographs, below the data folder; the verb ``patches`` makes such a
file."""

Settings = dict[str, Any]

# Exact counts and hard clamps have compiled windows, several times faster than relaxed ones;
# e^4 = 55 bounds the rates.
EXACT: Settings = {"estimator": "exact", "clamp": "hard", "clamp_u": 4.0, "clamp_du": 4.0}
_COMPILED = {LINEAR_FAMILY: EXACT}

# One variance for all pixels: a short training cannot find those of pixels that hardly vary.
_ISOTROPIC: Settings = {"isotropic": True}

_SHORT_MNIST: Settings = {"epochs": 2, "batch_size": 100}
_SHORT_MNIST_OF: dict[str, Settings] = {
    "ipvae-linear": {"steps": 16, "beta": 8.0, "windows": 4, "epochs": 1, **_ISOTROPIC},
    "ipvae-mlp": {"epochs": 1, "batch_size": 50, "windows": 4, **_ISOTROPIC},
    "ipvae-conv": {"epochs": 1, "batch_size": 25, "windows": 4, **_ISOTROPIC},
    "ipvae-fully-conv": {"epochs": 1, "batch_size": 25, "windows": 4, **_ISOTROPIC},
    "ipvae-hierarchical": {
        "epochs": 1, "batch_size": 50, "windows": 6, "beta": 1.0, **_ISOTROPIC,
    },
    "igvae": {"epochs": 1, "batch_size": 50, "dictionary_rate": 1.0},
    "igvae-relu": {"epochs": 1, "batch_size": 50, "dictionary_rate": 1.0},
    "igvae-natural": {"epochs": 1, "batch_size": 50, "dictionary_rate": 1.0},
    "pvae-conv": {"epochs": 1},
    "gvae-conv": {"epochs": 1},
    "pvae-residual": {"epochs": 1, "architecture": {"width": 4}},
    "gvae-residual": {"epochs": 1, "architecture": {"width": 4}},
    "pc": {"epochs": 1},
    "ipc": {"epochs": 1},
    "lca": {"epochs": 1},
    "savae": {"epochs": 1, "batch_size": 50},
    "iavae": {"epochs": 1, "batch_size": 50},
}  # fmt: skip
_IMAGES = 20_000
_IMAGES_OF = {
    "ipvae-linear": 12_000, "ipvae-mlp": 4_000, "ipvae-conv": 1_500,
    "ipvae-fully-conv": 1_500, "ipvae-hierarchical": 2_500, "igvae": 12_000, "igvae-relu": 12_000,
    "igvae-natural": 12_000, "ipc": 5_000, "savae": 5_000, "iavae": 5_000,
    "pvae-residual": 5_000, "gvae-residual": 5_000,
}  # fmt: skip
_PUBLISHED_MNIST: Settings = {"epochs": 400, "batch_size": 100}
_PUBLISHED_MNIST_OF = {
    name: named_settings("published-mnist", name) for name in RECIPES["published-mnist"].families
}

_SHORT_PATCHES: Settings = {
    "latents": 256, "batch_size": 50, "epochs": 5, "learning_rate": 1e-2, "dictionary_rate": 1.0,
}  # fmt: skip
_SHORT_PATCHES_OF: dict[str, Settings] = {
    "ipvae-linear": {
        "epochs": 2, "batch_size": 100, "learning_rate": 3e-3, "dictionary_rate": 0.25,
        **_ISOTROPIC,
    },
    "lca": {"epochs": 8, "steps": 30},
}  # fmt: skip
_PUBLISHED_PATCHES: Settings = {"epochs": 300, "batch_size": 200, "learning_rate": 5e-3}
_PUBLISHED_PATCHES_OF: dict[str, Settings] = {
    **{
        name: named_settings("published-patches", name)
        for name in RECIPES["published-patches"].families
    },
    "lca": {"epochs": 60, "learning_rate": 2e-3},
}
PATCHES_OF_A_UNIT = 10_000

UNITS: dict[str, Settings] = {
    "mnist": {"quick": 0.2, "hour": 10, "night": 50},
    PATCHES: {"quick": 0.5, "hour": 10, "night": 50},
}
"""How many units of training a budget pays for, by data set. A unit has the epochs of the recipe
over the images of its family."""

# Iterations per patch in short training of the iterative Poisson VAE. With fewer, inference does
# not learn to converge.
_SHORT_ITERATIONS = 128

# Dictionaries need thousands of updates to become Gabor-like. The short version therefore takes
# fewer latents, smaller batches and larger steps.
_SHORT_GABOR: Settings = {
    "latents": 64, "batch_size": 50, "windows": 2, "epochs": 16, "learning_rate": 1e-2,
    "dictionary_rate": 1.0, "clamp_u": 4.0, "clamp_du": 4.0, "isotropic": False,
}  # fmt: skip


SHORT_MNIST: Settings = {"batch_size": 50, "learning_rate": 8e-3, "dictionary_rate": 0.25}
"""What a short run changes in the recipe ``published-mnist``.

Variances of pixels, step sizes and initial states move by a learning rate a batch, and have far to
go: it takes larger steps of all but the dictionary, and more of them.
"""

SHORT_MNIST_NOTE = (
    "Below the published budget the published objective is trained on batches of 50 digits, not "
    "100, and by learning rates of .008 instead of .002 but for the dictionary's."
)


SHORT_PATCHES: dict[str, Settings] = {
    "ipvae-linear": {
        "batch_size": 50, "learning_rate": 2e-2, "dictionary_rate": 0.5, "init_scale": 0.03,
    },
    "igvae": {"batch_size": 50, "learning_rate": 1e-2, "dictionary_rate": 0.5},
    "igvae-relu": {"batch_size": 50, "learning_rate": 1e-2, "dictionary_rate": 0.5},
}  # fmt: skip
"""What a short run changes in the recipe ``published-patches``.

As published, a short run falls silent before its dictionary has grown: potentials start at rates of
some e^-5, and move by a learning rate a batch. It takes smaller batches and larger steps, and, for
the Poisson family, a dictionary that is larger from the start.
"""

SHORT_PATCHES_NOTE = (
    "Below the published budget batches are of 50 patches, not 200, learning rates are .02 (.01 of "
    "Gaussian families; half as much of dictionaries) instead of .005, and the dictionary of the "
    "Poisson family starts at .03 instead of 1e-4: as published, so short a run falls silent "
    "before its dictionary has grown."
)


def mnist_model(context: Context, name: str, **changes: Any) -> SavedModel:
    """The family ``name`` trained on MNIST; ``changes`` replace settings of its recipe."""
    settings = {
        **context.pick(_SHORT_MNIST, published=_PUBLISHED_MNIST),
        **_COMPILED.get(name, {}),
        **context.pick(_SHORT_MNIST_OF, published=_PUBLISHED_MNIST_OF).get(name, {}),
        **changes,
    }
    config = recipe(name, seed=context.seed, **settings)
    unit = _IMAGES_OF.get(name, _IMAGES)
    return _trained(context, f"mnist-{name}", "mnist", unit, config)


def patches_model(
    context: Context, name: str, *, beta: float, steps: int | None = None, **changes: Any
) -> SavedModel:
    """The family ``name`` trained on whitened natural patches.

    ``beta`` weighs the KL term, or the sparsity penalty of LCA. ``steps`` is the training window T,
    by default the family's own. ``changes`` replace further settings of the recipe.
    """
    settings = {
        **context.pick(_SHORT_PATCHES, published=_PUBLISHED_PATCHES),
        **_COMPILED.get(name, {}),
        **context.pick(_SHORT_PATCHES_OF, published=_PUBLISHED_PATCHES_OF).get(name, {}),
        "beta": beta,
        **({} if steps is None else {"steps": steps}),
        **changes,
    }
    if context.pick(True, published=False) and name == LINEAR_FAMILY:
        window = steps or recipe(name).steps
        settings.setdefault("windows", max(1, _SHORT_ITERATIONS // window))
    config = recipe(name, seed=context.seed, **settings)
    key = f"patches-{name}-b{beta:g}-t{config.steps}"
    return _trained(context, key, PATCHES, PATCHES_OF_A_UNIT, config)


def _trained(
    context: Context, key: str, dataset: str, unit: int, config: TrainConfig
) -> SavedModel:
    """Train for the units that the budget pays for, of so many images each; as published on all."""
    images = context.images(dataset, "train")
    units = context.pick(**UNITS[dataset], published=None)
    if units is None:
        return context.trained(key, images, config)
    seen = int(units * config.epochs * min(unit, len(images.pixels)))
    return trained_for(context, key, images, config, max(1, seen // config.batch_size))


def trained_for(
    context: Context,
    key: str,
    images: Images,
    config: TrainConfig,
    batches: int,
    start: SavedModel | None = None,
) -> SavedModel:
    """:meth:`Context.trained` for a number of batches, in few passes over all images or a part."""
    size = config.batch_size
    epochs = max(1, -(-batches * size // len(images.pixels)))
    part = images.take(max(1, batches // epochs) * size)
    return context.trained(key, part, config.model_copy(update={"epochs": epochs}), start)


def gabor_like_model(context: Context) -> SavedModel:
    """The linear iterative Poisson VAE on natural patches that ``features`` and ``tuning`` examine.

    T = 16 and β = 24 are those of the published model that is nearest to perfect reconstruction at
    perfect sparsity (arXiv:2410.19315, figure 4).
    """
    changes = context.pick(_SHORT_GABOR, hour=_SHORT_GABOR | {"latents": 256}, published={})
    return patches_model(context, LINEAR_FAMILY, beta=24.0, steps=16, **changes)
