"""What holds for every family: one loop trains it, one file keeps it, one loop evaluates it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from training_tools import killed_at, options  # noqa: E402

from pvae_neuro.data import Images  # noqa: E402
from pvae_neuro.errors import InputError, ModelFileError, PvaeNeuroError  # noqa: E402
from pvae_neuro.evaluation.evaluate import evaluate  # noqa: E402
from pvae_neuro.evaluation.infer import infer  # noqa: E402
from pvae_neuro.models.registry import (  # noqa: E402
    build_model,
    model_class,
    model_entry,
    model_from_saved,
    names_of_task,
)
from pvae_neuro.models.sizes import count_parameters  # noqa: E402
from pvae_neuro.saved.model_file import SavedModel, load_model, save_model  # noqa: E402
from pvae_neuro.training.run import TrainingRun  # noqa: E402
from pvae_neuro.training.state import load_state  # noqa: E402
from pvae_neuro.training.train import checkpoint_path, recipe, train  # noqa: E402

SIDE = 8


def bars(count: int = 64, seed: int = 0) -> Images:
    """Sums of a few rows and columns."""
    random = np.random.default_rng(seed)
    rows, columns = (random.random((2, count, SIDE)) < 0.2).astype(np.float32)
    pixels = np.clip(rows[:, :, None] + columns[:, None, :], 0, 1).reshape(count, -1)
    return Images(pixels, None, (SIDE, SIDE), 0.0, 1.0, "bars")


def small(name: str, **changes: Any) -> Any:
    settings = {"latents": 12, "epochs": 2, "batch_size": 16, **changes}
    if "width" in model_class(name).architecture_type.model_fields:
        settings["architecture"] = {"width": 2, **settings.get("architecture", {})}
    return recipe(name, **settings)


def same_bits(first: SavedModel, second: SavedModel) -> bool:
    return first.arrays.keys() == second.arrays.keys() and all(
        np.array_equal(array, second.arrays[name]) for name, array in first.arrays.items()
    )


@pytest.mark.parametrize("name", names_of_task("reconstruct"))
def test_every_family_trains_all_parameters_saves_resumes_and_evaluates(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, config = bars(), small(name, init_scale=0.1)
    whole = train(images, config, tmp_path / "whole.st", options())
    again = load_model(tmp_path / "whole.st")
    assert again.config == whole.config and again.config.family == name
    assert same_bits(whole, again)
    first = build_model(whole.config, torch.Generator().manual_seed(0), 0.1).to_saved()
    assert first.arrays.keys() == whole.arrays.keys()
    moved = {n for n, array in whole.arrays.items() if not np.array_equal(array, first.arrays[n])}
    assert moved == whole.arrays.keys()

    out = tmp_path / "m.st"
    with killed_at(monkeypatch, 5):
        train(images, config, out, options(checkpoint_seconds=0.0))
    assert load_state(checkpoint_path(out)).batches_done == 5
    assert same_bits(train(images, config, out, options(resume=True)), whole)

    result = evaluate(again, images.pixels[:10], steps=6, seed=3)
    assert result.mse.shape == (6,) and np.isfinite(result.mse).all()
    assert ((result.zeros >= 0) & (result.zeros <= 1)).all()
    repeated = evaluate(again, images.pixels[:10], steps=6, seed=3)
    assert np.array_equal(result.mse, repeated.mse)


@pytest.mark.parametrize("name", names_of_task("reconstruct"))
def test_state_carries_over_and_reconstruction_is_what_decode_says(name: str) -> None:
    pixels = bars(20).pixels
    config = train_config_of(name)
    model = build_model(config, torch.Generator().manual_seed(1))
    x = torch.from_numpy(pixels)
    with torch.no_grad():
        first = model.iterate(x, model.start(x), torch.Generator().manual_seed(2))
        second = model.iterate(x, first.state, torch.Generator().manual_seed(3))
    for result in (first, second):
        assert result.z.shape == result.mean.shape == (20, config.latents)
        assert result.reconstruction.shape == x.shape and result.change.shape == (20,)
        assert torch.allclose(model.decode(result.z), result.reconstruction, atol=1e-5)
        assert all(len(part) == 20 for part in result.state)


def train_config_of(name: str) -> Any:
    from pvae_neuro.training.run import _model_config

    return _model_config(bars(), small(name))


@pytest.mark.parametrize("name", names_of_task("reconstruct"))
def test_parameter_counts_are_those_published(name: str) -> None:
    entry = model_entry(name)
    count = count_parameters(name, entry.published_latents, (28, 28))
    assert count > 0
    if entry.published_parameters is not None:
        assert count == entry.published_parameters


def test_published_counts_of_the_patches() -> None:
    assert count_parameters("ipvae-linear", 512, (16, 16)) == 132_353
    assert count_parameters("pvae-linear", 512, (16, 16)) == 262_656
    assert count_parameters("gvae-linear", 512, (16, 16)) == 393_216


def test_resume_from_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "m.st"
    TrainingRun(bars(), small("ipvae-linear"), out, options()).start()
    with pytest.raises(InputError, match="model: ipvae-linear != igvae"):
        train(bars(), small("igvae"), out, options(resume=True))


def test_start_from_another_family_is_refused(tmp_path: Path) -> None:
    first = train(bars(), small("ipvae-linear"), tmp_path / "a.st", options())
    with pytest.raises(InputError, match="of the family 'igvae', got 'ipvae-linear'"):
        train(bars(), small("igvae"), tmp_path / "b.st", options(start=first))


def test_nan_stops_names_the_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pvae_neuro.models.poisson.ipvae import IPVAE

    plain = IPVAE.window
    calls = []

    def poisoned(model: Any, *arguments: Any) -> Any:
        calls.append(1)
        window = plain(model, *arguments)
        return window._replace(nll=window.nll * float("nan")) if len(calls) == 6 else window

    monkeypatch.setattr(IPVAE, "window", poisoned)
    out = tmp_path / "m.st"
    with pytest.raises(PvaeNeuroError, match="diverged at batch 6 of 8: loss nan"):
        train(bars(), small("ipvae-linear"), out, options(checkpoint_seconds=0.0))
    assert not out.exists()
    state = load_state(checkpoint_path(out))
    assert state.batches_done == 5
    assert all(np.isfinite(array).all() for array in state.arrays.values())


def test_unknown_family_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'igvae-relu'"):
        recipe("igvae-rleu")
    with pytest.raises(InputError, match=r"did you mean 'ipvae-linear' or 'ipvae-mlp'"):
        recipe("ipvae")


def test_unknown_architecture_setting_is_refused() -> None:
    config = train_config_of("ipvae-linear").model_copy(update={"architecture": {"depth": 3}})
    with pytest.raises(InputError, match=r"'ipvae-linear': depth: .*its settings are: readout"):
        build_model(config)
    config = train_config_of("ipvae-mlp").model_copy(update={"architecture": {"decoder": "conv"}})
    with pytest.raises(InputError, match=r"expected decoder 'mlp'.*take another family"):
        build_model(config)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    saved = build_model(train_config_of("igvae"), torch.Generator().manual_seed(0)).to_saved()
    name = max(saved.arrays, key=lambda n: saved.arrays[n].size)
    wrong = SavedModel(saved.config, {**saved.arrays, name: saved.arrays[name][:-1]})
    save_model(wrong, tmp_path / "m.st")
    with pytest.raises(ModelFileError, match=f"differ in .*{name}"):
        model_from_saved(load_model(tmp_path / "m.st"))


def test_a_family_without_a_lowering_has_no_circuit() -> None:
    from pvae_neuro.exporters.lowerings import float_circuit_of, lowering_of

    saved = build_model(train_config_of("igvae")).to_saved()
    assert float_circuit_of(saved) is None
    with pytest.raises(ModelFileError, match=r"family 'igvae': .* stays a float model"):
        lowering_of("lateral", "igvae")


def test_both_evaluations_of_the_linear_model_agree(tmp_path: Path) -> None:
    """The NumPy path draws other numbers than PyTorch: means over 64 images agree to 5 %."""
    images = bars()
    saved = train(
        images, small("ipvae-linear", epochs=30, init_scale=0.1), tmp_path / "m.st", options()
    )
    ours = infer(saved, images.pixels, 40, seed=1)
    numpy = evaluate(saved, images.pixels, steps=40, seed=2)
    assert ours.mse[-10:].mean() == pytest.approx(numpy.mse[-10:].mean(), rel=0.05)
    assert ours.zeros[-10:].mean() == pytest.approx(numpy.zeros[-10:].mean(), abs=0.02)
    assert (ours.mse_mean[-10:] < ours.mse[-10:]).all()


def test_cost_of_activity_is_steered_to_the_share_of_zeros_and_survives_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"estimator": "exact", "clamp": "hard", "clamp_u": 3.0, "epochs": 40}
    plain = train(bars(), small("ipvae-linear", **settings), tmp_path / "a.st", options())
    settings |= {"activity_cost": 0.5, "target_zeros": 0.9, "isotropic": True}
    config = small("ipvae-linear", **settings)
    sparse = train(bars(), config, tmp_path / "b.st", options())
    images = bars(seed=1).pixels
    zeros = [infer(model, images, 16, average=8).zeros[-8:].mean() for model in (plain, sparse)]
    assert 1 - zeros[1] < 0.6 * (1 - zeros[0])
    assert np.ptp(sparse.log_sigma) < 1e-6 < np.ptp(plain.log_sigma)

    out = tmp_path / "c.st"
    with killed_at(monkeypatch, 50):
        train(bars(), config, out, options(checkpoint_seconds=0.0))
    assert same_bits(train(bars(), config, out, options(resume=True)), sparse)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activity_cost": 1.0}, "activity cost: the family 'lca' does not compute"),
        ({"isotropic": True}, "isotropic: the family 'lca' learns no variance"),
    ],
)
def test_settings_that_a_family_cannot_follow_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        train(bars(), small("lca", **settings), tmp_path / "m.st", options())
