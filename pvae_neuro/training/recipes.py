"""Named recipes: settings of a training by a name, over those of the family itself.

The published ones are those of the authors' released code of the iterative VAEs (IterativeVAE
38c5bf2, ``default_configs`` of ``main/config.py`` and the released ``ConfigTrain.json``), but for
two settings of the iterative Poisson VAE. Its counts are exact, so that windows are compiled, where
the code draws relaxed ones; temperatures are the published ones, for ``estimator="relaxed"``. Its
KL term is the paper's; the code's, ``kl="released"``, has the rate after the step in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pvae_neuro.errors import InputError
from pvae_neuro.utils.suggest import suggest

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class NamedRecipe:
    """Settings of a training that go by a name.

    Attributes
    ----------
    about : str
        What it is, in a sentence.
    settings : mapping
        For all of its families.
    families : mapping
        The families that it is for, with settings of their own.
    """

    about: str
    settings: Settings
    families: Mapping[str, Settings]

    def __repr__(self) -> str:
        return f"<NamedRecipe for {', '.join(self.families)}: {self.about}>"


_POISSON: Settings = {
    "clamp_u": 10.0, "clamp_du": 10.0, "clamp_start": 2.0, "estimator": "exact",
    "temperature": 1.0, "final_temperature": 0.01, "temperature_anneal": 0.5,
}  # fmt: skip
_GAUSSIAN: Settings = {"clamp_u": 7.0, "clamp_du": 7.0, "clamp_start": 1.0}
_PUBLISHED: Settings = {
    "latents": 512, "windows": 1, "clamp": "soft", "clamp_anneal": 0.1, "hold": 1e-3,
    "beta_start": 1e-4, "beta_anneal": 0.1, "warm_up": 5e-3, "dictionary_rate": 1.0,
    "weight_decay": 3e-4,
}  # fmt: skip

RECIPES = {
    "published-mnist": NamedRecipe(
        "the papers' objective on MNIST, T = β; 400 epochs of 60,000 digits",
        {**_PUBLISHED, "batch_size": 100, "epochs": 400, "learning_rate": 2e-3,
         "gradient_clip": 3000.0},
        {"ipvae-linear": {**_POISSON, "steps": 128, "beta": 128.0},
         "igvae": {**_GAUSSIAN, "steps": 64, "beta": 64.0},
         "igvae-relu": {**_GAUSSIAN, "steps": 32, "beta": 32.0}},
    ),
    "published-patches": NamedRecipe(
        "the papers' objective on whitened patches standardized each, T = 16; 300 epochs",
        {**_PUBLISHED, "batch_size": 200, "epochs": 300, "learning_rate": 5e-3,
         "gradient_clip": 300.0, "steps": 16},
        {"ipvae-linear": {**_POISSON, "beta": 24.0},
         "igvae": {**_GAUSSIAN, "beta": 8.0},
         "igvae-relu": {**_GAUSSIAN, "beta": 8.0}},
    ),
    "shipped": NamedRecipe(
        "the kind of the shipped MNIST model: one variance, carried windows, zeros steered",
        {"steps": 16, "windows": 8, "batch_size": 200, "beta": 4.0, "isotropic": True,
         "activity_cost": 1.0, "target_zeros": 0.848, "learning_rate": 3e-3},
        {"ipvae-linear": {}},
    ),
}  # fmt: skip
"""By name; one of this project is an entry here."""


def named_settings(name: str, model: str) -> dict[str, Any]:
    """Settings of a named recipe for a family.

    Raises
    ------
    InputError
        If there is no such recipe, with the nearest names, or it is not for the family.
    """
    if name not in RECIPES:
        raise InputError(f"recipe {name!r}: no such recipe{suggest(name, RECIPES)}")
    found = RECIPES[name]
    if model not in found.families:
        raise InputError(
            f"recipe {name!r}: expected one of its families, {', '.join(found.families)}, got "
            f"{model!r}"
        )
    return {**found.settings, **found.families[model]}
