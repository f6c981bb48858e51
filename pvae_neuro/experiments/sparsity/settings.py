"""Models that trade reconstruction against sparsity: their settings and trainings, by budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pvae_neuro.data import Images
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.recipes import SHORT_PATCHES, trained_for
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.training.train import recipe

LCA = "lca"


@dataclass(frozen=True)
class Setting:
    """One model of the sweep."""

    family: str

    beta: float
    """Weight of the KL term; λ of LCA."""

    steps: int | None = None
    """Training window T, where the family has one."""

    windows: int = 1
    """Per batch; more than one extends the published objective."""

    target: float | None = None
    """Zeros to which a cost of activity is steered, which is no part of the published objective."""

    signed: bool = False
    """Whether coefficients of LCA may be negative."""

    share: float = 1.0
    """Of the updates that the family gets at the budget."""

    @property
    def curve(self) -> str:
        """What settings have in common that differ in β or λ alone."""
        name = f"{self.family}, either sign" if self.signed else self.family
        if self.target is not None:
            name += ", cost of activity"
        if self.share != 1:
            name += f", {self.share:g} of the updates"
        if self.steps is None:
            return name
        count = "one window" if self.windows == 1 else f"{self.windows} windows"
        return f"{name}, {count} of {self.steps}"

    @property
    def title(self) -> str:
        """Name of the row."""
        if self.target is not None:
            return f"{self.curve}, target {self.target:g}"
        return f"{self.curve}, {'λ' if self.family == LCA else 'β'} = {self.beta:g}"


def _sweep(family: str, *betas: float, **settings: Any) -> list[Setting]:
    return [Setting(family, beta, **settings) for beta in betas]


def _steered(*targets: float) -> list[Setting]:
    return [Setting("ipvae-linear", 4.0, steps=16, windows=8, target=target) for target in targets]


SWEEPS: dict[str, list[Setting]] = {
    "quick": [
        *_sweep("ipvae-linear", 16.0, steps=16),
        *_sweep("ipvae-linear", 24.0, 48.0, steps=16, windows=8),
        *_sweep("igvae-relu", 8.0, steps=16),
        *_sweep("pvae-linear", 1.0),
        *_sweep(LCA, 0.4, 0.6, 0.8),
    ],
    "hour": [
        *_sweep("ipvae-linear", 4.0, 8.0, 16.0, 24.0, steps=16),
        *_sweep("ipvae-linear", 24.0, 48.0, steps=16, windows=8),
        *_sweep("igvae-relu", 8.0, steps=16),
        *_sweep("pvae-linear", 0.6, 1.0),
        *_sweep(LCA, 0.3, 0.4, 0.5, 0.6),
        *_sweep(LCA, 0.5, 0.7, signed=True),
        Setting(LCA, 0.5, share=0.5),
    ],
    "night": [
        *_sweep("ipvae-linear", 4.0, 8.0, steps=8),
        *_sweep("ipvae-linear", 8.0, 16.0, 24.0, 32.0, 48.0, steps=16),
        *_sweep("ipvae-linear", 64.0, 96.0, steps=32),
        *_sweep("ipvae-linear", 24.0, 48.0, steps=16, windows=4),
        *_sweep("ipvae-linear", 16.0, 24.0, 36.0, 48.0, steps=16, windows=8),
        *_steered(0.75, 0.8, 0.85),
        *_sweep("igvae-relu", 8.0, 16.0, steps=16),
        *_sweep("pvae-linear", 0.2, 0.6, 1.0),
        *_sweep(LCA, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        *_sweep(LCA, 0.5, 0.6, 0.7, 0.8, signed=True),
        Setting(LCA, 0.5, share=0.5),
    ],
    "published": [
        *_sweep("ipvae-linear", 4.0, 8.0, 16.0, steps=8),
        *_sweep("ipvae-linear", 8.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0, 64.0, steps=16),
        *_sweep("ipvae-linear", 16.0, 32.0, 64.0, 96.0, 128.0, steps=32),
        *_sweep("ipvae-linear", 16.0, 24.0, 36.0, 48.0, steps=16, windows=8),
        *_steered(0.75, 0.8, 0.85),
        *_sweep("igvae-relu", 4.0, 8.0, 16.0, 32.0, steps=8),
        *_sweep("igvae-relu", 8.0, 16.0, 32.0, 64.0, steps=16),
        *_sweep("igvae-relu", 8.0, 16.0, 32.0, 64.0, 128.0, steps=32),
        *_sweep("pvae-linear", 0.01, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 4.0),
        *_sweep("pvae-conv", 0.01, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 4.0),
        *_sweep(LCA, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 5.0),
        *_sweep(LCA, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, signed=True),
        Setting(LCA, 0.5, share=0.5),
    ],
}
"""Models by budget."""

_RECIPES: dict[str, dict[str, Any]] = {
    "ipvae-linear": {"name": "published-patches"},
    "igvae-relu": {"name": "published-patches"},
    "pvae-linear": {
        "batch_size": 100, "learning_rate": 3e-3, "architecture": {"estimator": "exact"},
    },
    "pvae-conv": {"batch_size": 100, "learning_rate": 3e-3},
    LCA: {"batch_size": 100, "steps": 30},
}  # fmt: skip

# Several windows learn more with smaller steps of the dictionary: on 512 latents, β = 24 and 800
# updates, R² .884 at zeros .794 where the published ones give .876 at .793.
_EXTENDED = {"dictionary_rate": 0.25}

# Updates of the weights, at the budgets; one of `igvae-relu` takes several times as long.
_UPDATES: dict[str, dict[str, int]] = {
    "ipvae-linear": {"quick": 150, "hour": 8_000, "night": 20_000, "published": 60_000},
    "igvae-relu": {"quick": 100, "hour": 3_000, "night": 10_000, "published": 60_000},
    "pvae-linear": {"quick": 200, "hour": 3_000, "night": 12_000, "published": 60_000},
    "pvae-conv": {"quick": 200, "hour": 3_000, "night": 12_000, "published": 60_000},
    LCA: {"quick": 400, "hour": 2_400, "night": 6_000, "published": 24_000},
}


def trained(context: Context, setting: Setting, images: Images) -> SavedModel:
    """The model of a setting, with the updates that the budget gives its family."""
    updates = context.pick(**_UPDATES[setting.family])
    settings = {
        **_RECIPES[setting.family],
        **context.pick(SHORT_PATCHES.get(setting.family, {}), published={}),
        "latents": context.pick(256, hour=512),
        "beta": setting.beta,
        **({} if setting.steps is None else {"steps": setting.steps, "windows": setting.windows}),
    }
    if setting.windows > 1:
        settings |= _EXTENDED
    if setting.target is not None:
        settings |= {"activity_cost": 1.0, "target_zeros": setting.target}
    if setting.family == LCA:
        # λ is the threshold where beta is one.
        settings |= {
            "beta": 1.0,
            "architecture": {"lambda_": setting.beta, "nonnegative": not setting.signed},
        }
    config = recipe(setting.family, seed=context.seed, **settings)
    batches = round(updates * setting.share / setting.windows)
    return trained_for(context, f"standardized-{setting.family}", images, config, batches)
