from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from pvae_neuro.errors import InputError, ModelFileError  # noqa: E402
from pvae_neuro.models.dynamics import kl_divergence  # noqa: E402
from pvae_neuro.models.poisson.ipvae import IPVAE  # noqa: E402
from pvae_neuro.saved.iterative_vae import import_official  # noqa: E402
from pvae_neuro.saved.model_file import load_model, save_model  # noqa: E402

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "official_ipvae_mnist_t8_k256"
needs_official = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the authors' checkpoint is not at {FOLDER}"
)

CONFIG = {
    "dataset": "MNIST",
    "t_train": 8,
    "beta_outer": 8.0,
    "n_latents": [3],
    "inf_type": "grad",
    "dec_type": "lin",
    "clamp_u": 10.0,
    "clamp_du": 10.0,
}


def write_checkpoint(folder: Path, number: int = 1, **config: object) -> Path:
    state = {
        "layer.phi.weight": torch.full((4, 3), float(number)),
        "layer.dec_log_sigma": torch.zeros(1, 4),
        "layer.log_bias": torch.zeros(1, 3),
        "layer.log_lr.0": torch.zeros(1),
        "layer.u_init.0": torch.zeros(1, 3),
    }
    (folder / "ConfigPoisVAE.json").write_text(json.dumps({**CONFIG, **config}))
    path = folder / f"IPVAE+Trainer-{number:04d}_(2025).pt"
    torch.save({"metadata": {"loss": np.float64(1.5)}, "model": state}, path)
    return path


@pytest.fixture(scope="module")
def trajectory() -> dict[str, torch.Tensor]:
    with np.load(FOLDER / "trajectory.npz") as file:
        return {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}


@pytest.fixture(scope="module")
def model() -> IPVAE:
    return IPVAE.from_saved(import_official(FOLDER))


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@needs_official
def test_given_their_samples_every_state_follows_theirs(
    model: IPVAE, trajectory: dict[str, torch.Tensor]
) -> None:
    x = trajectory["x"]
    u = model.initial_state(len(x))
    assert torch.equal(u[:1], trajectory["u0"])
    with torch.no_grad():
        for z, theirs in zip(trajectory["z_inference"], trajectory["u"], strict=True):
            u = model.update(u, x, z)
            assert float((u - theirs).abs().max()) < 1e-4


@needs_official
def test_readout_and_loss_terms_equal_theirs(
    model: IPVAE, trajectory: dict[str, torch.Tensor]
) -> None:
    x = trajectory["x"]
    before = torch.cat([model.initial_state(len(x))[None], trajectory["u"][:-1]])
    with torch.no_grad():
        reconstruction = model.decode(trajectory["z_generation"])
        kl = kl_divergence(trajectory["u"], before, "released")
        nll = torch.stack([model.nll(x, step) for step in reconstruction])
    assert relative(reconstruction, trajectory["reconstruction"]) < 1e-4
    assert relative(kl, trajectory["kl"]) < 1e-4
    assert relative(nll, trajectory["nll"]) < 1e-4


@needs_official
def test_their_checkpoint_survives_our_file(tmp_path: Path) -> None:
    saved = import_official(FOLDER)
    assert saved.config.kl == "released"
    assert saved.config.image_shape == (28, 28)
    save_model(saved, tmp_path / "official.safetensors")
    again = load_model(tmp_path / "official.safetensors")
    assert again.config == saved.config
    for name, array in saved.arrays.items():
        assert np.array_equal(again.arrays[name], array)


def test_newest_checkpoint_is_read(tmp_path: Path) -> None:
    for number in (10, 9):
        write_checkpoint(tmp_path, number)
    assert np.all(import_official(tmp_path).dictionary == 10.0)


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must never be printed",)


def test_foreign_code_is_refused_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_checkpoint(tmp_path)
    torch.save({"model": Malice()}, path)
    with pytest.raises(ModelFileError, match="would call print"):
        import_official(tmp_path)
    assert "never" not in capsys.readouterr().out


def test_numpy_functions_other_than_scalars_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path)
    torch.save({"model": np.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="_reconstruct"):
        import_official(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", b"PK\x03\x04 cut short", b"\x80\x02}q\x00."]
)
def test_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    write_checkpoint(tmp_path).write_bytes(content)
    with pytest.raises(ModelFileError):
        import_official(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dec_type": "mlp"}, "linear decoder"),
        ({"n_iters_outer": 2}, "n_iters_outer"),
        ({"n_latents": [5]}, "not of one model"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, config: dict[str, object], message: str) -> None:
    write_checkpoint(tmp_path, **config)
    with pytest.raises(ModelFileError, match=message):
        import_official(tmp_path)


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        import_official(tmp_path / "absent")
    with pytest.raises(ModelFileError, match=r"Config\*\.json"):
        import_official(tmp_path)
    path = write_checkpoint(tmp_path)
    (tmp_path / "ConfigPoisVAE.json").write_text("{")
    with pytest.raises(ModelFileError, match="JSON"):
        import_official(tmp_path)
    shutil.copy(path, tmp_path / "x")
    write_checkpoint(tmp_path)
    torch.save({"model": {}}, path)
    with pytest.raises(ModelFileError, match=r"layer\.phi\.weight"):
        import_official(tmp_path)
