from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")

from pvae_neuro.errors import InputError, ModelFileError  # noqa: E402
from pvae_neuro.models.dynamics import kl_divergence  # noqa: E402
from pvae_neuro.models.poisson.ipvae import IPVAE  # noqa: E402
from pvae_neuro.saved.iterative_vae import import_official  # noqa: E402
from pvae_neuro.saved.model_file import load_model, save_model  # noqa: E402
from pvae_neuro.utils.memory import memory_limit  # noqa: E402

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


def good_state(number: float = 1.0) -> dict[str, torch.Tensor]:
    return {
        "layer.phi.weight": torch.full((784, 3), number),
        "layer.dec_log_sigma": torch.zeros(1, 784),
        "layer.log_bias": torch.zeros(1, 3),
        "layer.log_lr.0": torch.zeros(1),
        "layer.u_init.0": torch.zeros(1, 3),
    }


def write_checkpoint(
    folder: Path, number: int = 1, state: object = None, time: str = "2025", **config: object
) -> Path:
    (folder / "ConfigPoisVAE.json").write_text(json.dumps({**CONFIG, **config}))
    path = folder / f"IPVAE+Trainer-{number:04d}_({time}).pt"
    state = good_state(float(number)) if state is None else state
    torch.save({"metadata": {"loss": np.float64(1.5)}, "model": state}, path)
    return path


def refusal(folder: Path, input_range: tuple[float, float] | None = None) -> str:
    """The one line with which an import is refused."""
    with pytest.raises((ModelFileError, InputError)) as caught:
        import_official(folder, input_range)
    where = "input_range" if input_range is not None else str(folder)
    assert "\n" not in str(caught.value) and where in str(caught.value)
    return str(caught.value)


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
    found = import_official(tmp_path)
    assert np.all(found.dictionary == 10.0)
    assert found.notes[0].endswith("left out IPVAE+Trainer-0009_(2025).pt")


def test_among_equal_numbers_the_time_in_the_name_decides_not_that_of_the_file(
    tmp_path: Path,
) -> None:
    late, early = (
        write_checkpoint(tmp_path, 10, good_state(value), time)
        for value, time in ((1.0, "2026_01_01,10:00"), (2.0, "2026_01_01,09:00"))
    )
    os.utime(late, (0, 0))
    assert np.all(import_official(tmp_path).dictionary == 1.0)
    early.rename(tmp_path / f"copy_{late.name}")
    assert "tell which checkpoint is the newest" in refusal(tmp_path)


def test_the_configuration_with_latents_is_the_models(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "ConfigTrain.json").write_text('{"lr": 0.005, "epochs": 300}')
    os.utime(tmp_path / "ConfigPoisVAE.json", (0, 0))
    assert "left out ConfigTrain.json" in import_official(tmp_path).notes[0]
    shutil.copy(tmp_path / "ConfigPoisVAE.json", tmp_path / "Config2.json")
    assert "got Config2.json and ConfigPoisVAE.json" in refusal(tmp_path)
    for name in ("Config2.json", "ConfigPoisVAE.json"):
        (tmp_path / name).unlink()
    assert "with n_latents; got ConfigTrain.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("dataset", "pixels", "expected"),
    [
        ("MNIST", 784, (0.0, 1.0, (28, 28))),
        ("MNIST+rotate", 784, (0.0, 1.0, (28, 28))),
        ("MNIST+jitter", 784, (0.0, 1.0, (28, 28))),
        ("FashionMNIST", 784, (0.0, 1.0, (28, 28))),
        ("EMNIST", 784, (0.0, 1.0, (28, 28))),
        ("Omniglot", 784, (0.0, 1.0, (28, 28))),
        ("SVHN", 1024, (0.0, 1.0, (32, 32))),
        ("vH16-wht", 256, (-16.0, 16.0, (16, 16))),
        ("Kyoto32-bw", 1024, (-16.0, 16.0, (32, 32))),
        ("vH32+jitter", 256, (-16.0, 16.0, (16, 16))),
        ("Kyoto16-col", 768, (-16.0, 16.0, (3, 16, 16))),
        ("ImageNet32", 3072, None),
        ("BALLS16", 256, None),
        ("MNIST", 256, None),
        ("mine", 784, None),
    ],
)
def test_the_data_set_says_the_range_of_inputs_or_it_is_asked_for(
    tmp_path: Path,
    dataset: str,
    pixels: int,
    expected: tuple[float, float, tuple[int, ...]] | None,
) -> None:
    state = good_state()
    state["layer.phi.weight"] = torch.ones(pixels, 3)
    state["layer.dec_log_sigma"] = torch.zeros(1, pixels)
    write_checkpoint(tmp_path, state=state, dataset=dataset)
    asked = import_official(tmp_path, (-2.0, 3.0)).config
    assert (asked.input_low, asked.input_high) == (-2.0, 3.0)
    if expected is None:
        assert "give the lowest and the highest value" in refusal(tmp_path)
        assert asked.image_shape is None
        return
    found = import_official(tmp_path)
    config = found.config
    assert (config.input_low, config.input_high, config.image_shape) == expected
    assert f"declared to lie in [{expected[0]:g}, {expected[1]:g}]" in found.notes[1]


@pytest.mark.parametrize("asked", [(1.0, 0.0), (0.0, 0.0), (float("nan"), 1.0), (0.0, 1e300)])
def test_an_impossible_range_of_inputs_is_refused(
    tmp_path: Path, asked: tuple[float, float]
) -> None:
    write_checkpoint(tmp_path)
    assert "lowest value below the highest" in refusal(tmp_path, asked)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path: Path, prefix: str) -> None:
    write_checkpoint(tmp_path, state={prefix + key: v for key, v in good_state().items()})
    assert np.all(import_official(tmp_path).dictionary == 1.0)


def test_a_part_may_be_wrapped_but_a_weight_comes_once(tmp_path: Path) -> None:
    state = good_state()
    state["layer.phi._orig_mod.weight"] = state.pop("layer.phi.weight") + 1
    write_checkpoint(tmp_path, state=state)
    assert np.all(import_official(tmp_path).dictionary == 2.0)
    write_checkpoint(tmp_path, state={**state, **good_state()})
    assert "each weight once" in refusal(tmp_path)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_it_is_said(tmp_path: Path, kind: torch.dtype) -> None:
    state = {key: value.to(kind) for key, value in good_state(0.1).items()}
    write_checkpoint(tmp_path, state=state)
    found = import_official(tmp_path)
    exact = torch.tensor(0.1, dtype=torch.float32).to(kind).to(torch.float32).item()
    assert found.dictionary.dtype == np.float32 and np.all(found.dictionary == np.float32(exact))
    assert f"stored as {str(kind)[6:]} were converted" in found.notes[2]


def test_clamps_of_an_unfinished_training_are_those_that_it_had_reached(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, state={**good_state(), "layer.eps": torch.tensor(0.25)})
    found = import_official(tmp_path)
    assert (found.config.clamp_u, found.config.clamp_du) == (4.0, 4.0)
    assert "configured are 10 and 10" in found.notes[2]
    for value in (torch.tensor(-1.0), torch.tensor(float("nan")), torch.zeros(2), 1.0):
        write_checkpoint(tmp_path, state={**good_state(), "layer.eps": value})
        assert "layer.eps" in refusal(tmp_path)


GAUSSIAN = [
    ({"latent_act": None}, {}),
    ({"latent_act": "relu", "clamp_u": [7.0, 2.0], "clamp_du": [7.0, 3.0]}, {}),
    ({}, {"layer.u_init.1": torch.zeros(1, 3)}),
    ({}, {"layer.log_lr.1": torch.zeros(1)}),
]


@pytest.mark.parametrize(("config", "state"), GAUSSIAN)
def test_a_gaussian_model_is_not_taken_for_a_poisson_one(
    tmp_path: Path, config: dict[str, object], state: dict[str, torch.Tensor]
) -> None:
    write_checkpoint(tmp_path, state={**good_state(), **state}, **config)
    assert "expected a Poisson model, got a Gaussian or Laplace one" in refusal(tmp_path)


def test_its_file_name_tells_a_gaussian_model_too(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "ConfigPoisVAE.json").rename(tmp_path / "ConfigGausVAE.json")
    assert "expected a Poisson model" in refusal(tmp_path)


HUGE = 10**40
NAN, INFINITE = float("nan"), float("inf")
BAD_SETTINGS = {
    "dataset": [None, 3, ["MNIST"], {}, "x" * 65],
    "t_train": [0, -1, 8.5, "8", None, [8], True, HUGE, NAN],
    "beta_outer": [-1.0, NAN, INFINITE, "8", None, [], 1e300, HUGE, True],
    "n_latents": [
        [], [3, 3], [0], [-3], 0, "3", None, [HUGE], [3.5], {"a": 3}, [[3]], True, [True],
    ],
    "inf_type": ["leapfrog", None, 1],
    "dec_type": ["mlp", "conv", None],
    "n_iters_inner": [0, -1, None, "1", HUGE, 1.5],
    "n_iters_outer": [0, 2, None, "1"],
    "beta_inner": [-1.0, None, NAN],
    "clamp_u": [-10.0, 0.0, INFINITE, NAN, [10.0], [7.0, 2.0], None, "10", 1e300, {}],
    "clamp_du": [-10.0, 0.0, INFINITE, [7.0, 3.0], None, 1e300],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_SETTINGS.items() for value in values]
)
def test_a_bad_setting_is_named(tmp_path: Path, name: str, value: object) -> None:
    write_checkpoint(tmp_path, **{name: value})
    assert name in refusal(tmp_path)


def test_missing_settings_are_named(tmp_path: Path) -> None:
    for name in CONFIG:
        write_checkpoint(tmp_path)
        left = {key: value for key, value in CONFIG.items() if key != name}
        (tmp_path / "ConfigPoisVAE.json").write_text(json.dumps(left))
        assert name in refusal(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"3", b'"n_latents"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000,
        b"{} {}", b"nan", b'{"n_latents": 1' + b"0" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_bad_configuration_file_is_refused(tmp_path: Path, text: bytes) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "ConfigPoisVAE.json").write_bytes(text)
    assert "ConfigPoisVAE.json" in refusal(tmp_path)


ONES = torch.ones(784, 3)
BAD_TENSORS = {
    "layer.phi.weight": [
        ONES * NAN, ONES * INFINITE, ONES.double() * 1e300, ONES.to_sparse(),
        torch.empty(784, 3, device="meta"), ONES.int(), ONES.bool(), ONES.to(torch.complex64),
        ONES[None], ONES[0], torch.zeros(0, 3), torch.zeros(784, 0),
        torch.ones(1).expand(1 << 40, 3), ONES.T, "ones", None, [1.0, 2.0], torch.tensor(1.0),
        ONES.to(torch.float8_e4m3fn),
    ],
    "layer.dec_log_sigma": [
        torch.zeros(784, 1), torch.zeros(1, 783), torch.zeros(1, 1, 784), torch.zeros(()),
        torch.full((1, 784), NAN),
    ],
    "layer.log_bias": [torch.zeros(1, 4), torch.zeros(3, 1), torch.zeros(3, 3), 0.0],
    "layer.log_lr.0": [torch.zeros(2), torch.tensor([100.0]), torch.tensor([NAN])],
    "layer.u_init.0": [torch.zeros(1, 2), torch.full((1, 3), 89.0), torch.zeros(2, 3)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "place"), [(n, i) for n, values in BAD_TENSORS.items() for i in range(len(values))]
)
def test_a_bad_tensor_is_named(tmp_path: Path, name: str, place: int) -> None:
    write_checkpoint(tmp_path, state={**good_state(), name: BAD_TENSORS[name][place]})
    ours = {"layer.phi.weight": "dictionary", "layer.dec_log_sigma": "log_sigma",
            "layer.log_lr.0": "log_step_size", "layer.u_init.0": "initial_potential"}  # fmt: skip
    found = refusal(tmp_path)
    assert name in found or ours[name] in found or "ConfigPoisVAE.json says" in found


@pytest.mark.filterwarnings("ignore::UserWarning")  # Of making them.
@pytest.mark.parametrize("kind", ["quantized", "nested"])
def test_tensors_of_rare_kinds_are_refused(tmp_path: Path, kind: str) -> None:
    make = {
        "quantized": lambda: torch.quantize_per_tensor(ONES, 0.1, 0, torch.qint8),
        "nested": lambda: torch.nested.nested_tensor([ONES[0], ONES[1]]),
    }
    write_checkpoint(tmp_path, state={**good_state(), "layer.phi.weight": make[kind]()})
    refusal(tmp_path)


def test_vectors_without_their_leading_one_are_taken(tmp_path: Path) -> None:
    state = {k: v.reshape(v.shape[1:]) if len(v) == 1 else v for k, v in good_state().items()}
    write_checkpoint(tmp_path, state=state)
    assert import_official(tmp_path).log_step_size.shape == ()


def test_a_checkpoint_that_unpacks_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/99", bytes(50_000_000))
    assert path.stat().st_size < 1_000_000
    with memory_limit(10_000_000):
        assert "the limit is 0.01 GB" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_a_checkpoint_is_a_file_on_a_disk(tmp_path: Path, kind: str) -> None:
    path = write_checkpoint(tmp_path)
    path.unlink()
    make = {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}
    make.get(kind, lambda: path.symlink_to("/dev/zero"))()
    assert f"is a {kind}" in refusal(tmp_path)


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
