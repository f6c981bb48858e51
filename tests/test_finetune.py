"""Fine-tuning: what is trained is what an export computes; arrays, resuming, gain, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from models import family_images, family_model, sound_images, sound_model

from pvae_neuro.cli.main import run_command
from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.saved.model_file import SavedModel, load_model, save_model
from pvae_neuro.saved.rescaling import rescale_counts
from pvae_neuro.sim.reference import ReferenceEngine

torch = pytest.importorskip("torch", reason="fine-tuning needs PyTorch")

from pvae_neuro.models.registry import model_from_saved  # noqa: E402
from pvae_neuro.sim.tensors.straight_through import (  # noqa: E402
    mantissas,
    straight_through_window,
)
from pvae_neuro.training.finetuning import refit  # noqa: E402
from pvae_neuro.training.finetuning.config import FinetuneConfig  # noqa: E402
from pvae_neuro.training.finetuning.finetune import RECORD, finetune  # noqa: E402
from pvae_neuro.training.finetuning.masters import masters_of, unit_of  # noqa: E402
from pvae_neuro.training.finetuning.refit import (  # noqa: E402
    counts_of,
    fit_readout,
    match_activity,
    round_together,
)
from pvae_neuro.training.finetuning.run import FinetuningRun  # noqa: E402

SMALL = FinetuneConfig(updates=6, batch_size=8, window=4, horizon=8)
FOUR = QuantizeConfig("predictive", weight_bits=4)


def predictive(family):
    return family_model(family), family_images(40)


# ------------------------------------------------------------------------------ windows


@pytest.mark.parametrize("family", ["ipvae-linear", "ipvae-mlp"])
def test_windows_one_after_the_other_are_the_reference(family):
    model, images = predictive(family)
    network = quantize(model, images, FOUR)
    right = ReferenceEngine().run(network, images[:3], 8, 5, record="full")
    state = None
    for steps in (range(3), range(3, 8)):
        got, state = straight_through_window(
            network, images[:3], state, steps, 5, weights=mantissas(network)
        )
        for name in network.variables:
            expected = right[name][:, steps.start : steps.stop]
            assert np.array_equal(got[name].detach().numpy(), expected), name
            assert not state[name].requires_grad


# ------------------------------------------------------------------------------ arrays


def test_the_unit_of_rows_and_columns_is_found():
    rng = np.random.default_rng(0)
    rows, columns = rng.uniform(0.5, 2.0, (40, 1)), np.exp2(rng.integers(-3, 3, (1, 30)))
    array = rng.normal(0, 3, (40, 30)) * rows * columns
    unit = unit_of(array, np.rint(array / (rows * columns)))
    np.testing.assert_allclose(unit, rows * columns, rtol=0.15)


@pytest.mark.parametrize(
    ("family", "topology", "arrays"),
    [
        ("ipvae-linear", "predictive", {"dictionary"}),
        ("ipvae-mlp", "predictive", {"decoder.layers.0.weight", "decoder.layers.2.weight"}),
    ],
)
def test_masters_are_the_weights_of_the_circuit(family, topology, arrays):
    model, images = predictive(family)
    circuit = lowering_of(topology, family).circuit(model, "float64")
    network = quantize(model, images, FOUR)
    found = masters_of(model, circuit, network)
    assert {m.array for m in found} == arrays
    for master in found:
        held = master.mantissas(network)
        whole = model.arrays[master.array] / master.unit
        # Units that were read off are off by a few percent; mantissas of 4 bits are up to 14.
        assert np.abs(np.clip(whole, -held.max(), held.max()) - held).mean() < 0.4


# ------------------------------------------------------------------------------ updates


@pytest.mark.parametrize("family", ["ipvae-linear", "ipvae-mlp"])
def test_an_update_moves_the_arrays_by_slopes(family):
    model, images = predictive(family)
    run = FinetuningRun(model, images, FOUR, SMALL)
    before = {name: p.detach().clone() for name, p in run.parameters.items()}
    run.update()
    after = {name: p.detach() for name, p in run.parameters.items()}
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved >= {m.array for m in run.masters}
    assert moved <= {m.array for m in run.masters} | set(run.leaks)
    for master in run.masters:
        assert (after[master.array] - before[master.array]).abs().max() <= SMALL.learning_rate


@pytest.mark.parametrize("bits", [3, 4])
def test_fine_tuning_lowers_the_error_of_coarse_weights(bits):
    config = FinetuneConfig(updates=24, batch_size=48, window=32, horizon=32, learning_rate=0.06)
    quantization = QuantizeConfig("predictive", weight_bits=bits, max_count=31)
    result = finetune(sound_model(), sound_images(80), None, quantization, config, progress=False)
    assert result.after.mse < 0.9 * result.before.mse
    # An export with the same options has the integers that were trained and measured.
    network = quantize(result.model, sound_images(80), quantization)
    found = ReferenceEngine().run(network, sound_images(80)[-16:], 32, 1 << 33)
    assert found.mse[-1].mean() == pytest.approx(result.after.mse, rel=0.05)
    exponent = next(c.value for c in network.choices if c.name == "dictionary exponent")
    held = network.connection_of["prediction"].weight * 2.0**exponent
    assert np.array_equal(held, result.model.dictionary)


def test_fine_tuning_lowers_the_error_of_a_network_of_rectifiers():
    model, images = predictive("ipvae-mlp")
    config = FinetuneConfig(updates=30, batch_size=16, window=4, horizon=16, learning_rate=0.05)
    quantization = QuantizeConfig("predictive", weight_bits=3)
    result = finetune(model, images, None, quantization, config, progress=False)
    assert result.after.mse < result.before.mse


def test_leaks_are_steered_to_the_activity_of_the_float_model():
    run = FinetuningRun(sound_model(), sound_images(40), FOUR, SMALL)
    (leak,) = run.leaks
    before = run.arrays()[leak]
    run._steer(zeros=0.5, expected=0.75)
    np.testing.assert_allclose(run.arrays()[leak] - before, 0.25 * SMALL.activity, rtol=1e-5)


# ------------------------------------------------------------------------------ resuming


def test_a_run_that_stopped_goes_on_to_the_same_bits(tmp_path):
    model, images = predictive("ipvae-mlp")
    whole = FinetuningRun(model, images, FOUR, SMALL)
    stopped = FinetuningRun(model, images, FOUR, SMALL)
    for _ in range(3):
        whole.update()
        stopped.update()
    stopped.save(tmp_path / "run.ckpt")
    resumed = FinetuningRun(model, images, FOUR, SMALL)
    resumed.load(tmp_path / "run.ckpt")
    for _ in range(3):
        assert whole.update() == resumed.update()
    for name, array in whole.arrays().items():
        assert np.array_equal(array, resumed.arrays()[name]), name


def test_weights_rounded_together_are_resumed_with_their_synapses(tmp_path):
    model, images = predictive("ipvae-linear")
    whole, resumed = (FinetuningRun(model, images, FOUR, SMALL) for _ in range(2))
    whole.round_together(images, lambda done: None)
    assert not torch.equal(whole.synapses["dictionary"], resumed.synapses["dictionary"])
    whole.save(tmp_path / "run.ckpt")
    resumed.load(tmp_path / "run.ckpt")
    assert whole.update() == resumed.update()
    for name, array in whole.parameters.items():
        assert torch.equal(array, resumed.parameters[name]), name


def test_another_run_is_not_resumed(tmp_path):
    model, images = predictive("ipvae-linear")
    FinetuningRun(model, images, FOUR, SMALL).save(tmp_path / "run.ckpt")
    other = FinetuningRun(model, images, replace(FOUR, weight_bits=3), SMALL)
    with pytest.raises(InputError, match="other settings"):
        other.load(tmp_path / "run.ckpt")
    save_model(model, tmp_path / "model")
    with pytest.raises(ModelFileError, match="expected the checkpoint of a fine-tuning"):
        other.load(tmp_path / "model")


# ------------------------------------------------------------------------------ files


def test_the_verb_writes_a_model_and_says_the_gain(tmp_path, capsys):
    save_model(sound_model(), tmp_path / "model.safetensors")
    np.save(tmp_path / "images.npy", sound_images(60).reshape(-1, 6, 5))
    arguments = [
        "finetune", str(tmp_path / "model.safetensors"), "-i", str(tmp_path / "images.npy"),
        "-o", str(tmp_path / "tuned.safetensors"), "--weight-bits", "3", "--updates", "4",
        "--batch-size", "8", "--window", "4", "--horizon", "8", "--scale", "1",
        "--json", str(tmp_path / "result.json"), "--frac-bits", "12", "--latent-units",
    ]  # fmt: skip
    assert run_command(arguments) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "export it with --weight-bits 3 --frac-bits 12 --latent-units" in out
    said = json.loads((tmp_path / "result.json").read_text())
    tuned = load_model(tmp_path / "tuned.safetensors")
    record = tuned.config.training[RECORD]
    assert record["after"] == said["after"]
    assert record["quantization"]["weight_bits"] == 3
    assert not (tmp_path / "tuned.safetensors.ckpt").exists()


def test_what_is_refused(tmp_path):
    model, images = predictive("ipvae-linear")
    with pytest.raises(ModelFileError, match="no array of the model is the weights"):
        finetune(model, images, None, QuantizeConfig("lateral"), SMALL)
    with pytest.raises(InputError, match="at least one batch"):
        finetune(model, images, None, FOUR, FinetuneConfig(batch_size=100))
    with pytest.raises(InputError, match="expected at least 5"):
        finetune(model, images[:3], None, FOUR, SMALL)
    with pytest.raises(InputError, match="no unfinished run"):
        finetune(model, images, tmp_path / "tuned", FOUR, SMALL, resume=True)
    (tmp_path / "tuned.ckpt").touch()
    with pytest.raises(InputError, match="holds an unfinished run"):
        finetune(model, images, tmp_path / "tuned", FOUR, SMALL)
    with pytest.raises(InputError, match="window"):
        FinetuneConfig(window=1)
    with pytest.raises(InputError, match="expected a multiple of the window, 32, got 40"):
        FinetuneConfig(horizon=40)


# ------------------------------------------------------------------------------ readouts


def with_readout(model):
    """The model, read out by an array of its own."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 0.01, model.dictionary.shape).astype(np.float32)
    config = model.config.model_copy(update={"architecture": {"readout": True}})
    arrays = {**model.arrays, "readout": model.dictionary + noise}
    return SavedModel(config, arrays)


@pytest.mark.parametrize("topology", ["predictive", "lateral"])
def test_a_readout_of_its_own_makes_the_pictures(topology):
    model, images = sound_model(), sound_images(40)
    own = with_readout(model)
    config = QuantizeConfig(topology)
    runs = [
        ReferenceEngine().run(quantize(each, images, config), images[:4], 6, 0, record="full")
        for each in (model, own)
    ]
    # Messages of error neurons may take another unit.
    if topology == "lateral":
        assert np.array_equal(runs[0]["latents.u"], runs[1]["latents.u"])
    counts = runs[1]["latents.z"][:, -1].astype(np.float64)
    expected = counts @ own.arrays["readout"].T.astype(np.float64)
    # 16 bits of the largest entry, times all counts of an image.
    largest = np.abs(own.arrays["readout"]).max() / 2**15
    reach = largest * counts.sum(axis=1).max()
    np.testing.assert_allclose(runs[1].reconstruction, expected, atol=reach)


def test_pytorch_and_the_float_circuit_read_out_alike(tmp_path):
    own = with_readout(sound_model())
    save_model(own, tmp_path / "own")
    module = model_from_saved(load_model(tmp_path / "own"))
    z = torch.ones(1, 24)
    circuit = lowering_of("predictive", "ipvae-linear").circuit(own)
    seen = circuit.reconstruct({"latents.z": z.numpy()})
    np.testing.assert_allclose(module.decode(z).detach().numpy(), seen, rtol=1e-5)
    assert np.array_equal(module.to_saved().arrays["readout"], own.arrays["readout"])
    assert not module.is_compiled("exact")
    plain = model_from_saved(sound_model())
    x = torch.rand(1, 30)
    assert torch.equal(module.pull_back(x, z), plain.pull_back(x, z))
    halved = rescale_counts(own, 2.0)
    np.testing.assert_allclose(halved.arrays["readout"], own.arrays["readout"] / 2)


def test_the_fitted_readout_explains_images_better():
    model, images = sound_model(), sound_images(200)
    network = quantize(model, images, FOUR)
    fitted = fit_readout(model, network, images[:150], 32, 3)
    better = quantize(fitted, images, FOUR)
    errors = [
        ReferenceEngine().run(each, images[150:], 32, 4).mse[-1].mean()
        for each in (network, better)
    ]
    assert errors[1] < errors[0]
    mlp, pictures = predictive("ipvae-mlp")
    assert fit_readout(mlp, quantize(mlp, pictures, FOUR), pictures, 8, 0) is mlp


def test_activity_is_matched_by_the_leaks():
    model, images = sound_model(), sound_images(100)
    quantization = QuantizeConfig("predictive", weight_bits=8)

    def lower(one):
        return quantize(one, images[:40], quantization)

    def zeros(one):
        run = ReferenceEngine().run(lower(one), images, 24, 7, record=["latents.z"])
        return (run.last["latents.z"] == 0).mean()

    wanted = zeros(model) + 0.02
    found = match_activity(model, ("log_bias",), lower, images, wanted, 24, 7)
    assert zeros(found) == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize(("wanted", "expected"), [(2.0, 1.0), (0.6, 0.1), (0.0, 0.0)])
def test_leaks_that_cannot_be_matched_take_what_came_nearest(monkeypatch, wanted, expected):
    """Zeros far beyond reach, reached by the first trial, and fewer than leaks could make."""
    model = sound_model()

    class Engine:
        def run(self, network, *_arguments, **_options):
            shift = float(network.shift)
            silent = 0.5 + (shift if expected else abs(shift))
            values = np.arange(1000) >= round(1000 * min(silent, 0.95))
            return SimpleNamespace(last={"z": values})

    def lower(one):
        shift = (one.arrays["log_bias"] - model.arrays["log_bias"]).mean()
        return SimpleNamespace(code="z", shift=shift)

    monkeypatch.setattr(refit, "fastest_engine", lambda network: Engine())
    images = sound_images(8)
    found = match_activity(model, ("log_bias",), lower, images, wanted, 8, 0)
    np.testing.assert_allclose(lower(found).shift, expected, atol=1e-6)


def test_weights_rounded_together_predict_better():
    model, images = sound_model(), sound_images(80)
    rng = np.random.default_rng(0)
    dictionary = rng.normal(0, 0.05, (30, 24))
    network = quantize(model, images, QuantizeConfig("predictive"))
    unit = np.full(24, 0.05)
    found = round_together(dictionary, unit, 3, network, images, 32, 0, 0.1)
    counts = np.concatenate([z for _, z in counts_of(network, images, 32, 0, lambda _: None)])
    errors = [
        np.square((mantissas - dictionary / unit) @ counts.T).mean()
        for mantissas in (np.clip(np.rint(dictionary / unit), -3, 3), found)
    ]
    assert errors[1] < 0.8 * errors[0]
    assert np.abs(found).max() <= 3
