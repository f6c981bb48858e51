"""Bad arguments to any public function, and any setting, end in this package's own errors."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from cases_tools import case_folder

import pvae_neuro as pn
from pvae_neuro.artifact import make_golden, program_hash, replay, save_artifact
from pvae_neuro.data import make_images
from pvae_neuro.saved.model_file import ModelConfig, SavedModel, array_shapes
from pvae_neuro.sim.reference import ReferenceEngine

torch = pytest.importorskip("torch", reason="public functions of float models run in PyTorch")
pytest.importorskip("onnx", reason="public functions write artifacts")

PIXELS, LATENTS = 16, 5
RNG = np.random.default_rng(3)
IMAGES = RNG.random((4, PIXELS)).astype(np.float32)
MANY = np.random.default_rng(4).random((80, PIXELS)).astype(np.float32)
CONFIG = ModelConfig(
    pixels=PIXELS, latents=LATENTS, steps=2, beta=1.0, input_low=0.0, input_high=1.0,
    image_shape=(4, 4), clamp_u=2.0, clamp_du=2.0, clamp="hard",
)  # fmt: skip
MODEL = SavedModel(
    CONFIG,
    {
        name: np.array(RNG.normal(0, 0.2, shape), np.float32)
        for name, shape in array_shapes(CONFIG).items()
    },
)
NETWORK = pn.quantize(MODEL, IMAGES)


class Strange:
    """Something that no function can mean."""

    def __repr__(self) -> str:
        raise RuntimeError("not even this works")


STRANGE = Strange()
BAD: tuple[Any, ...] = (
    STRANGE, None, True, -1, 10**30, 1.5, float("nan"), float("inf"), 2j, "", "\0", "no such thing",
    b"bytes", [], [[1], [1, 2]], {}, {"a": STRANGE}, (1, 2, 3, 4, 5), np.array(np.nan),
    np.array(["a"]), np.zeros((2, 3, 5, 7, 1)), np.full((2, PIXELS), np.nan), print,
    torch.zeros(2, device="meta"), Path("/no/such/file"),
)  # fmt: skip


def calls(folder: Path) -> dict[str, dict[str, Any]]:
    """A sound call of every public function, by its name."""
    artifact = folder / "net.onnx"
    save_artifact(NETWORK, IMAGES[:2], artifact)
    pn.save_model(MODEL, folder / "m.safetensors")
    np.save(folder / "x.npy", IMAGES.reshape(-1, 4, 4))
    dense = toy.lateral().connection_of["lateral"]
    return {
        "build_model": {"config": CONFIG, "generator": None, "init_scale": None},
        "certify": {"network": NETWORK},
        "cost_of": {
            "network": NETWORK, "inputs": IMAGES, "steps": 2, "seed": 0, "engine": "reference",
            "cores": None, "progress": False,
        },
        "engine_names": {},
        "evaluate": {
            "subject": NETWORK, "inputs": IMAGES, "steps": 2, "seed": 0, "engine": "reference",
            "reset": False, "progress": False, "dtype": "float32",
        },
        "experiment_names": {},
        "export_model": {
            "model": MODEL, "path": folder / "out.onnx", "inputs": IMAGES, "config": None,
            "stability_steps": 2, "accept": True, "progress": False,
        },
        "extract_patches": {"folder": folder, "config": None, "progress": False},
        "fastest_engine": {"network": NETWORK, "tell": None},
        "finetune": {
            "model": MODEL, "images": IMAGES, "output": folder / "tuned.safetensors",
            "quantization": None, "config": pn.FinetuneConfig(updates=0, batch_size=1, horizon=32),
            "resume": False, "progress": False,
        },
        "get_engine": {"name": "reference"},
        "import_official": {"folder": folder, "input_range": None},
        "infer": {
            "model": MODEL, "inputs": IMAGES, "steps": 2, "seed": 0, "restart": False,
            "average": 1, "first_sample": 0, "observe": None, "progress": False,
        },
        "listing": {"circuit": NETWORK},
        "load_artifact": {"path": artifact},
        "load_images": {
            "dataset": folder / "x.npy", "data_root": folder, "split": None, "key": None,
            "size": None, "limit": None, "seed": 0, "scale": None, "layout": None, "model": None,
            "max_memory": None, "stream": False, "progress": False,
        },
        "load_model": {"path": folder / "m.safetensors"},
        "load_pretrained": {},
        "make_feeder": {"name": "stationary", "images": make_images(IMAGES.reshape(-1, 4, 4))},
        "model_from_saved": {"saved": MODEL},
        "model_names": {},
        "place": {
            "network": NETWORK, "board": "oheo-gulch", "limits": "cautious", "given": None,
        },
        "plot_model": {
            "model": MODEL, "images": IMAGES, "steps": 2, "seed": 0, "progress": False,
        },
        "pretrained_model_path": {},
        "quantize": {"model": MODEL, "inputs": IMAGES, "config": None, "calibration": None},
        "narrowest": {
            "model": MODEL, "inputs": MANY, "tolerance": 1.0, "config": None, "steps": 2, "seed": 0,
            "stability_steps": 2, "progress": False,
        },
        "pareto": {
            "model": MODEL, "calibration": IMAGES, "inputs": IMAGES, "circuits": ["predictive"],
            "weight_bits": (8,), "frac_bits": (14,), "latent_units": False, "compensate": False,
            "steps": 2, "seed": 0, "stability_steps": 2, "progress": False,
        },
        "recipe": {"model": "ipvae-linear", "name": "shipped"},
        "at_image_shape": {"model": MODEL, "image_shape": (4, 4)},
        "rescale_counts": {"model": MODEL, "factor": 2.0, "leak": 1.0},
        "run_experiment": {"name": "no-such", "context": None, "seeds": 1},
        "sample_digits": {},
        "save_model": {"model": MODEL, "path": folder / "m2.safetensors"},
        "shared": {"value": 1},
        "trace": {"rule": set_u, "name": None},
        "train": {
            "images": make_images(IMAGES), "config": None, "output": folder / "t.safetensors",
            "options": None,
        },
        "transpose_of": {
            "connection": dense, "name": "back", "source": "a", "variable": "z", "target": "b",
            "exponent": 0, "received_as": "received",
        },
        "verify": {
            "network": NETWORK, "model": MODEL, "inputs": IMAGES, "steps": 2, "seed": 0,
            "engines": ("reference",), "tolerances": None, "reset": False, "progress": False,
        },
        "with_dead_zone": {"network": toy.predictive(), "threshold": 3, "variables": None},
        "write_c": {
            "network": NETWORK, "folder": folder / "c", "golden": IMAGES[:1], "name": None,
        },
        "write_listing": {
            "network": NETWORK, "folder": folder / "words", "inputs": IMAGES, "iterations": 2,
            "seed": 0,
        },
        "write_report": {
            "path": folder / "r.html", "reports": [], "title": "Parity report", "origin": None,
        },
    }  # fmt: skip


def set_u(n: Any) -> None:
    n.u = n.u + n.received


def functions() -> list[str]:
    found = {name: getattr(pn, name) for name in dir(pn)}
    return [name for name, value in found.items() if inspect.isfunction(value)]


# Folders that `write_c` and `write_listing` are given a good name of.
LIBRARIES = {"c", "words", "no such thing"}
# Lava is installed on few machines; its page tells.
ELSEWHERE = {"build_lava"}


def test_every_public_function_is_called_here(tmp_path):
    assert set(functions()) - ELSEWHERE == set(calls(tmp_path))


def attempt(function: Any, sound: dict[str, Any], name: str, number: int) -> None:
    """Call a function with one bad argument."""
    where = f"{function.__qualname__}({name}=BAD[{number}])"
    try:
        function(**{**sound, name: BAD[number]})
    except pn.PvaeNeuroError as error:
        assert "\n" not in str(error), where
    except Exception as error:
        pytest.fail(f"{where}: {type(error).__name__}: {error}")
    else:
        assert BAD[number] is not STRANGE, f"{where}: was taken"


@pytest.mark.parametrize("name", [name for name in functions() if name not in ELSEWHERE])
def test_bad_arguments_are_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sound = calls(tmp_path)[name]
    function = getattr(pn, name)
    assert set(sound) == {
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    before = sorted(tmp_path.rglob("*"))
    for parameter in sound:
        for number in range(len(BAD)):
            attempt(function, sound, parameter, number)
    created = {path.name for path in set(tmp_path.rglob("*")) - set(before) if path.is_file()}
    created -= {path.name for path in tmp_path.glob("*/*") if path.parent.name in LIBRARIES}
    assert created <= {"no such thing", "out.onnx", "m2.safetensors", "r.html", "t.safetensors"}


@pytest.mark.parametrize(
    "name", [n for n in dir(pn.data) if inspect.isfunction(getattr(pn.data, n))]
)
def test_functions_of_data_name_bad_arguments(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = make_images(np.tile(IMAGES.reshape(-1, 4, 4), (1, 2, 2)))
    sound = {
        **calls(tmp_path),
        "make_images": {
            "values": IMAGES, "labels": [0, 1, 2, 3], "name": "x", "scale": None, "layout": None,
        },
        "rotate_images": {"images": images, "degrees": 90.0},
        "crop_patches_to": {"images": images, "size": 4},
        "standardize_images": {"images": images},
        "tile_patches": {"patches": images, "size": 10, "seed": 0},
        "extract_patches": {"folder": tmp_path / "photographs", "config": None, "progress": False},
        "save_patches": {"patches": None, "path": tmp_path / "p.npz"},
    }[name]  # fmt: skip
    for parameter in sound:
        for number in range(len(BAD)):
            attempt(getattr(pn.data, name), sound, parameter, number)


@pytest.mark.parametrize(
    "parameter", ["network", "inputs", "steps", "seed", "record", "first_sample", "progress"]
)
def test_engines_name_bad_arguments(parameter):
    sound = {
        "network": NETWORK, "inputs": IMAGES, "steps": 2, "seed": 0, "record": "full",
        "first_sample": 0, "progress": False,
    }  # fmt: skip
    for number in range(len(BAD)):
        attempt(ReferenceEngine().run, sound, parameter, number)


SETTINGS = {
    pn.TrainConfig: {},
    pn.QuantizeConfig: {},
    pn.Tolerances: {},
    pn.PatchConfig: {},
    ModelConfig: CONFIG.model_dump(),
}


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_bad_settings_are_named(kind):
    names = [f.name for f in fields(kind)] if is_dataclass(kind) else list(kind.model_fields)
    for name in names:
        for number in range(len(BAD)):
            attempt(kind, SETTINGS[kind], name, number)


# -------------------------------------------------------------------------- what is meant


def meant() -> dict[str, Any]:
    """The same images in what people hold them in."""
    wide = np.repeat(IMAGES, 2, axis=1)
    return {
        "list": IMAGES.tolist(),
        "float64": IMAGES.astype(np.float64),
        "big endian": IMAGES.astype(">f4"),
        "long double": IMAGES.astype(np.longdouble),
        "fortran": np.asfortranarray(IMAGES),
        "strided": wide[:, ::2],
        "[N, H, W]": IMAGES.reshape(-1, 4, 4),
        "[N, 1, H, W]": IMAGES.reshape(-1, 1, 4, 4),
        "tensor": torch.from_numpy(IMAGES),
        "tensor with gradient": torch.from_numpy(IMAGES).clone().requires_grad_(),
        "tensor of float64": torch.from_numpy(IMAGES).double(),
        "masked nowhere": np.ma.array(IMAGES, mask=np.zeros(IMAGES.shape, bool)),
        "images": make_images(IMAGES),
    }


@pytest.mark.parametrize("form", meant())
def test_what_is_meant_gives_the_same(form):
    inputs = meant()[form]
    expected = ReferenceEngine().run(NETWORK, IMAGES, 3, 0, record="full")
    found = ReferenceEngine().run(NETWORK, inputs, 3, 0, record="full")
    for name in NETWORK.variables:
        assert np.array_equal(found[name], expected[name])
    assert np.array_equal(pn.infer(MODEL, inputs, 3).mse, pn.infer(MODEL, IMAGES, 3).mse)
    for subject in (MODEL, NETWORK):
        wanted = pn.evaluate(subject, IMAGES, steps=3)
        assert np.array_equal(pn.evaluate(subject, inputs, steps=3).mse, wanted.mse)
    assert program_hash(pn.quantize(MODEL, inputs)) == program_hash(NETWORK)
    report = pn.verify(NETWORK, MODEL, inputs, steps=3, engines=("reference",))
    assert np.array_equal(report.figures.mse, pn.evaluate(NETWORK, IMAGES, steps=3).mse)
    assert replay(NETWORK, make_golden(NETWORK, inputs), ReferenceEngine()) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensors_of_half_precision_are_their_values(dtype):
    half = torch.from_numpy(IMAGES).to(dtype)
    expected = ReferenceEngine().run(NETWORK, half.float().numpy(), 3, 0)
    assert np.array_equal(ReferenceEngine().run(NETWORK, half, 3, 0).mse, expected.mse)


def test_height_and_width_may_stand_in_frames():
    frames = np.stack([IMAGES, IMAGES[::-1]], axis=1)
    expected = ReferenceEngine().run(NETWORK, frames, 3, 0, record="full")
    found = ReferenceEngine().run(NETWORK, frames.reshape(-1, 2, 4, 4), 3, 0, record="full")
    assert np.array_equal(found["latents.z"], expected["latents.z"])


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pn.save_model(MODEL, "~/m.safetensors")
    assert (tmp_path / "m.safetensors").is_file()
    assert pn.load_model("~/m.safetensors").config == CONFIG
    result = pn.export_model(MODEL, "~/n.onnx", IMAGES, accept=True, progress=False)
    assert result.path == tmp_path / "n.onnx"
    assert pn.load_artifact("~/n.onnx").program_hash == result.program_hash
    np.save(tmp_path / "x.npy", IMAGES)
    assert np.array_equal(pn.load_images("~/x.npy").pixels, IMAGES)
    monkeypatch.chdir(tmp_path)
    pn.save_model(MODEL, "./~nobody-of-this-name")
    assert (tmp_path / "~nobody-of-this-name").is_file()
    with pytest.raises(pn.InputError, match="no home folder for ~nobody-of-this-name"):
        pn.save_model(MODEL, "~nobody-of-this-name")


# ----------------------------------------------------------------------------------- cases


def unfit(digits: np.ndarray) -> dict[str, tuple[Any, str]]:
    """Inputs of the case, and what the refusal says."""
    mask = np.zeros(digits.shape, bool)
    mask[:, :300] = True
    spoilt = np.where(np.arange(784) == 5, np.nan, digits)
    return {
        "bytes": (np.rint(digits * 255).astype(np.uint8), "divide them by 255"),
        "tensor of bytes": (torch.from_numpy(np.rint(digits * 255).astype(np.uint8)), "by 255"),
        "NaN": (spoilt, "NaN"),
        "one image": (digits[0], "add a leading axis"),
        "-1 to 1": (digits * 2 - 1, r"\(x \+ 1\) / 2"),
        "masked": (np.ma.array(digits, mask=mask), "masked"),
    }


@pytest.mark.parametrize("form", unfit(np.zeros((1, 784))))
def test_case_api_types_and_no_checks(form):
    case_folder("api_types")
    case_folder("api_evaluate_no_checks")
    model, digits = pn.load_pretrained(), pn.sample_digits()[0][:16]
    network = toy_network(model, digits)
    inputs, message = unfit(digits)[form]
    for call in (
        lambda: pn.evaluate(model, inputs, steps=4),
        lambda: pn.evaluate(network, inputs, steps=4),
        lambda: pn.infer(model, inputs, 4),
        lambda: pn.verify(network, model, inputs, steps=4, engines=("reference",)),
        lambda: pn.quantize(model, inputs),
        lambda: pn.export_model(model, "no.onnx", inputs),
        lambda: ReferenceEngine().run(network, inputs, 4, 0),
    ):
        with pytest.raises(pn.InputError, match=message):
            call()
    assert not Path("no.onnx").exists()


@pytest.mark.parametrize("number", [1.5, True, "1", np.array([1])])
def test_case_api_types_numbers(number):
    case_folder("api_types")
    for call in (
        lambda: ReferenceEngine().run(NETWORK, IMAGES, 2, number),
        lambda: ReferenceEngine().run(NETWORK, IMAGES, number, 0),
        lambda: pn.evaluate(MODEL, IMAGES, steps=2, seed=number),
        lambda: pn.verify(NETWORK, MODEL, IMAGES, steps=2, seed=number),
        lambda: pn.infer(MODEL, IMAGES, 2, number),
    ):
        with pytest.raises(pn.InputError, match="expected a whole number"):
            call()


_networks: dict[int, Any] = {}


def toy_network(model: SavedModel, digits: np.ndarray) -> pn.IntegerNetwork:
    """The shipped model in integers, made once."""
    if not _networks:
        _networks[0] = pn.quantize(model, digits)
    return _networks[0]
