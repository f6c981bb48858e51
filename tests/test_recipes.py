from __future__ import annotations

import doctest

import pytest

pytest.importorskip("torch", reason="needs PyTorch")

from pvae_neuro.errors import InputError
from pvae_neuro.training.recipes import RECIPES
from pvae_neuro.training.train import recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_sound_for_its_families(name: str) -> None:
    for family in RECIPES[name].families:
        config = recipe(family, name, seed=3)
        assert config.model == family
        assert config.seed == 3
    assert RECIPES[name].about in repr(RECIPES[name]) and len(repr(RECIPES[name])) <= 200


def test_a_recipe_gives_way_to_settings_and_keeps_what_it_leaves_out() -> None:
    config = recipe("ipvae-linear", "published-mnist", epochs=2, estimator="relaxed")
    assert (config.steps, config.beta, config.epochs, config.estimator) == (128, 128, 2, "relaxed")
    assert config.beta_at(0.0) == 1e-4
    assert config.beta_at(0.2) == 128.0
    shipped = recipe("ipvae-linear", "shipped")
    assert (shipped.clamp, shipped.clamp_u) == ("hard", 3.65)


def test_the_example_of_a_recipe_is_right() -> None:
    (example,) = doctest.DocTestFinder().find(recipe, "recipe", globs={"recipe": recipe})
    assert doctest.DocTestRunner().run(example) == (0, 2)


def test_unknown_recipes_and_families_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'published-mnist'"):
        recipe("ipvae-linear", "publishd-mnist")
    with pytest.raises(InputError, match="ipvae-linear, igvae, igvae-relu, got 'lca'"):
        recipe("lca", "published-mnist")
