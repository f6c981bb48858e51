from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("safetensors", reason="reads model files")
from safetensors.numpy import save_file

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.saved.model_file import (
    ModelConfig,
    SavedModel,
    array_shapes,
    load_model,
    save_model,
)
from pvae_neuro.utils.files import atomic_path


def make_config(**changes: Any) -> ModelConfig:
    values = {"pixels": 6, "latents": 4, "steps": 3, "beta": 2.0, "input_low": 0, "input_high": 1}
    return ModelConfig(**{**values, "image_shape": (2, 3), **changes})


def make_model(seed: int = 0, **changes: Any) -> SavedModel:
    config = make_config(**changes)
    random = np.random.default_rng(seed)
    arrays = {
        name: np.asarray(random.normal(size=shape), dtype=np.float32)
        for name, shape in array_shapes(config).items()
    }
    return SavedModel(config, arrays)


def write_raw(path: Path, metadata: dict[str, str] | None = None, **arrays: Any) -> None:
    model = make_model()
    header = {
        "format": "pvae-neuro-model",
        "schema_version": "1",
        "pvae_neuro_config": model.config.model_dump_json(),
    }
    merged = {**model.arrays, **arrays}
    save_file(
        {name: array for name, array in merged.items() if array is not None},
        path,
        metadata={**header, **(metadata or {})},
    )


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), pixels=st.integers(1, 9), latents=st.integers(1, 9))
def test_round_trip_keeps_every_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, pixels: int, latents: int
) -> None:
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    model = make_model(
        seed, pixels=pixels, latents=latents, image_shape=None, training={"epochs": 3, "seed": seed}
    )
    save_model(model, path)
    again = load_model(path)
    assert again.config == model.config
    for name, array in model.arrays.items():
        assert again.arrays[name].dtype == np.float32
        assert np.array_equal(again.arrays[name], array)


def test_strided_arrays_are_saved_in_their_own_order(tmp_path: Path) -> None:
    model = make_model()
    fortran = SavedModel(
        model.config, {**model.arrays, "dictionary": np.asfortranarray(model.dictionary)}
    )
    save_model(fortran, tmp_path / "m.safetensors")
    assert np.array_equal(load_model(tmp_path / "m.safetensors").dictionary, model.dictionary)


def test_effective_values() -> None:
    model = make_model()
    raw = model.log_sigma.astype(np.float64)
    assert np.allclose(model.variance, np.exp(6.9 * np.tanh(raw / 3.45)), rtol=1e-14)
    assert model.variance.dtype == np.float64
    assert model.step_size == pytest.approx(np.exp(float(model.log_step_size)))
    assert np.allclose(model.leak, np.exp(model.log_bias.astype(np.float64)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (2, 2)}, "does not hold 6 pixels"),
        ({"input_low": 1.0, "input_high": 1.0}, "input_low 1.0 is not below input_high 1.0"),
        ({"floor_u": 11.0}, "floor_u"),
        ({"latents": 0}, "latents"),
        ({"beta": float("nan")}, "beta"),
        ({"kl": "other"}, "kl"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_config_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(**changes)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\xff" * 64, b"{}", np.random.default_rng(0).bytes(999)]
)
def test_not_a_safetensors_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="expected a safetensors file"):
        load_model(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(make_model(), path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            load_model(path)


@pytest.mark.parametrize(
    ("metadata", "arrays", "message"),
    [
        ({"format": "other"}, {}, "saved by pvae-neuro"),
        ({"schema_version": "3"}, {}, "newer than 2.*upgrade"),
        ({"schema_version": "x"}, {}, "not a number"),
        ({"pvae_neuro_config": "{"}, {}, "configuration is not valid"),
        ({"pvae_neuro_config": json.dumps({"pixels": 0})}, {}, "pixels.*latents"),
        ({}, {"log_bias": None}, r"missing \['log_bias'\]"),
        ({}, {"more": np.zeros(1, np.float32)}, r"extra \['more'\]"),
        ({}, {"log_bias": np.zeros(5, np.float32)}, r"log_bias.*\(4,\), got float32 \(5,\)"),
        ({}, {"log_bias": np.zeros(4, np.int32)}, "'log_bias': expected numbers of type.*got I32"),
        (
            {},
            {"log_bias": np.array([0, 0, 1e300, 0])},
            "holds NaN or infinity as float32, in 1 of 4",
        ),
        ({}, {"initial_potential": np.full(4, 89, np.float32)}, "expected at most 88.*got 89"),
        ({}, {"log_step_size": np.array(1e9, np.float32)}, r"expected at most 88.*got 1e\+09"),
        (
            {},
            {"log_bias": np.array([0, np.nan, 0, np.inf], np.float32)},
            "holds NaN or infinity as float32, in 2 of 4",
        ),
    ],
)
def test_load_refuses(
    tmp_path: Path, metadata: dict[str, str], arrays: dict[str, Any], message: str
) -> None:
    path = tmp_path / "m.safetensors"
    write_raw(path, metadata, **arrays)
    with pytest.raises(ModelFileError, match=message) as error:
        load_model(path)
    assert str(path) in str(error.value)


def test_foreign_safetensors_and_missing_file(tmp_path: Path) -> None:
    save_file({"a": np.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelFileError, match="format None"):
        load_model(tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="no such file"):
        load_model(tmp_path / "absent.safetensors")


def test_save_refuses_what_load_would(tmp_path: Path) -> None:
    model = make_model()
    model.dictionary[0, 0] = np.nan
    with pytest.raises(ModelFileError, match="dictionary"):
        save_model(model, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    save_model(make_model(0), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match="No space left on device"):
        save_model(make_model(1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_leaves_nothing_of_a_failed_block(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_path(tmp_path / "a.json") as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_atomic_path_makes_folders_and_ordinary_files(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.json"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    (tmp_path / "plain").write_text("")
    assert target.read_text() == "whole"
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_atomic_path_names_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/a\.json"):
        atomic_path(tmp_path / "file" / "a.json").__enter__()
    with pytest.raises(InputError, match="is a folder"):
        atomic_path(tmp_path).__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        save_model(make_model(), tmp_path / "m.safetensors")


def test_models_are_read_without_torch() -> None:
    imports = "import sys, pvae_neuro.saved.model_file, pvae_neuro.utils.files"
    code = f"{imports}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
