"""Model files with every kind of wrong content: one error each, and nothing is read for long."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_model

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.models.registry import model_names
from pvae_neuro.saved.model_file import (
    ModelConfig,
    SavedModel,
    check_model,
    load_model,
    save_model,
)
from pvae_neuro.utils.memory import memory_limit
from pvae_neuro.utils.whole_file import read_whole

MODEL = random_model()
CONFIG = json.loads(MODEL.config.model_dump_json())
FLOATS = {"float16": "F16", "bfloat16": "BF16", "float64": "F64"}


def raw(header: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def model_bytes(config: str, **metadata: str) -> bytes:
    """A whole model file with the text of a configuration."""
    header: dict[str, Any] = {
        "__metadata__": {
            "format": "pvae-neuro-model", "schema_version": "2", "pvae_neuro_config": config,
            **metadata,
        }
    }  # fmt: skip
    data = b""
    for name, array in MODEL.arrays.items():
        ends = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": ends}
        data += array.tobytes()
    return raw(header, data)


def refusal(path: Path) -> str:
    with pytest.raises((ModelFileError, InputError)) as caught:
        load_model(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.safetensors"


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, 10**40, -(10**40)])
    | st.floats()
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=600, deadline=None)
@given(name=st.sampled_from(sorted(CONFIG)), value=ANYTHING)
def test_any_value_of_a_field_is_taken_as_it_is_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "m.safetensors"
    path.write_bytes(model_bytes(json.dumps({**CONFIG, name: value})))
    try:
        found = getattr(load_model(path).config, name)
    except ModelFileError as error:
        # Sizes that fit no array are found there.
        assert (name if name not in ("pixels", "latents") else "") in str(error)
        assert "\n" not in str(error)
        return
    wanted = tuple(value) if name == "image_shape" and value is not None else value
    assert found == wanted or name in ("training", "architecture")
    assert not isinstance(wanted, bool)


BAD = {
    "family": ["", "Ipvae", "a b", "a\n", "\x1b[31m", "x" * 65, "\u202e"],
    "pixels": [0, -1, 29, 30.0, "30", 1 << 21],
    "latents": [0, 25, True, 1 << 63],
    "clamp_u": ["10", 1e308, -1e308, None, [10.0]],
    "clamp_du": [1e6, "inf"],
    "clamp": ["none", "Soft", 1],
    "floor_u": [10.0, 1e300, -1e300],
    "steps": [0, 1 << 31, 1 << 63, 8.5],
    "beta": [-1, 1e300],
    "inner_updates": [0, -1, 1 << 31],
    "beta_inner": [-0.5],
    "input_low": [1.0, 2.0, -1e10],
    "input_high": [0.0, 1e10, 10**400],
    "image_shape": [[30], [6, 6], [1, 5, 6, 1], [0, 0], [-6, -5], [6.0, 5], "65", 30],
    "training": [None, [], "x"],
    "architecture": [None, 1],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_a_bad_field_is_named(path: Path, name: str, value: Any) -> None:
    path.write_bytes(model_bytes(json.dumps({**CONFIG, name: value})))
    found = refusal(path)
    assert (
        name in found
        or (name in ("input_low", "input_high") and "is not below" in found)
        or (name in ("pixels", "latents") and ("array" in found or "image_shape" in found))
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 10_000,
        '{"pixels":' * 10_000,
        '{"pixels": NaN}',
        "\ud800",
        "1e999",
    ],
)
def test_a_bad_text_of_the_configuration_is_refused(path: Path, text: str) -> None:
    path.write_bytes(model_bytes(text))
    refusal(path)


@pytest.mark.parametrize(
    "content",
    {
        "no header": b"",
        "a short length": b"\x01\x02",
        "a header of 2^63 bytes": struct.pack("<Q", 1 << 63) + b"{}",
        "a header of 2^64 - 1 bytes": struct.pack("<Q", (1 << 64) - 1) + b"{}",
        "a header beyond the file": struct.pack("<Q", 1000) + b"{}",
        "no object": raw(b"[]"),
        "no JSON": raw(b"{"),
        "nested": raw(b'{"a":' * 1000 + b"1" + b"}" * 1000),
        "metadata that are no text": raw({"__metadata__": {"format": 3}}),
        "an array without a type": raw({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "an unknown type": raw(
            {"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)
        ),
        "a shape of 10^23": raw(
            {"a": {"dtype": "F32", "shape": [10**23], "data_offsets": [0, 4]}}, bytes(4)
        ),
        "a shape whose product overflows": raw(
            {"a": {"dtype": "F32", "shape": [1 << 32, 1 << 32], "data_offsets": [0, 0]}}
        ),
        "a negative shape": raw(
            {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)
        ),
        "offsets beyond the file": raw(
            {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(4)
        ),
        "offsets in the wrong order": raw(
            {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)
        ),
    }.values(),
)
def test_a_file_that_lies_about_itself_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refusal(path)


def test_a_file_beyond_the_limit_of_memory_is_refused_unread(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    found = refusal(path)
    assert "needs 4.4e+03 GB of memory, the limit is " in found
    save_model(MODEL, path)
    with memory_limit(1000):
        assert "(as asked)" in refusal(path)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("folder", lambda path: path.mkdir()),
        ("pipe", os.mkfifo),
        ("device", lambda path: path.symlink_to("/dev/zero")),
        ("device", lambda path: path.symlink_to("/dev/null")),
    ],
)
def test_a_model_is_a_file_on_a_disk(path: Path, kind: str, make: Any) -> None:
    make(path)
    assert f"is a {kind}" in refusal(path)


def test_a_file_that_grows_while_it_is_read_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(MODEL, path)
    size, real = path.stat().st_size, os.fstat

    def earlier(handle: int) -> os.stat_result:
        found = list(real(handle))
        found[6] = min(found[6], size - 100)
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", earlier)
    assert "changed" in refusal(path)


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InputError, match="cannot read"):
            read_whole(tmp_path / name, "a file")


def test_files_are_read_through_links(path: Path, tmp_path: Path) -> None:
    save_model(MODEL, path)
    (tmp_path / "link").symlink_to(path)
    assert load_model(tmp_path / "link").config == MODEL.config


@pytest.mark.parametrize("kind", sorted(FLOATS))
def test_other_precisions_become_float32_and_it_is_said(path: Path, kind: str) -> None:
    bias = MODEL.arrays["log_bias"]
    stored = {
        "float16": lambda: bias.astype("<f2"),
        "bfloat16": lambda: (bias.view(np.uint32) >> 16).astype("<u2"),
        "float64": lambda: bias.astype("<f8"),
    }[kind]()
    size = struct.unpack("<Q", model_bytes(json.dumps(CONFIG))[:8])[0]
    whole = model_bytes(json.dumps(CONFIG))
    header, data = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    header["log_bias"] = {
        "dtype": FLOATS[kind], "shape": [24],
        "data_offsets": [header["log_bias"]["data_offsets"][0], 0],
    }  # fmt: skip
    start = header["log_bias"]["data_offsets"][0]
    header["log_bias"]["data_offsets"][1] = start + stored.nbytes
    change = stored.nbytes - bias.nbytes
    for name, entry in header.items():
        if name not in ("__metadata__", "log_bias") and entry["data_offsets"][0] > start:
            entry["data_offsets"] = [end + change for end in entry["data_offsets"]]
    path.write_bytes(raw(header, data[:start] + stored.tobytes() + data[start + bias.nbytes :]))
    found = load_model(path)
    assert all(array.dtype == np.float32 for array in found.arrays.values())
    assert np.allclose(found.arrays["log_bias"], bias, rtol=2**-7)
    assert np.array_equal(found.arrays["dictionary"], MODEL.dictionary)
    assert found.notes == (f"{path}: 1 of 5 arrays are stored as {kind}; converted to float32",)


def test_a_float32_file_has_no_notes(path: Path) -> None:
    save_model(MODEL, path)
    assert load_model(path).notes == ()


def test_models_that_were_built_are_checked_like_files() -> None:
    short = MODEL.arrays | {"log_bias": np.zeros(3, np.float32)}
    with pytest.raises(ModelFileError, match=r"here: array 'log_bias': expected float32 \(24,\)"):
        check_model(type(MODEL)(MODEL.config, short), "here")
    other = ModelConfig.model_validate({**CONFIG, "family": "igvae"})
    check_model(type(MODEL)(other, short), "here")


WRONG = [
    None, -1, 0, 1.5, "x", "", [], {}, [0], [-1], [1, 2, 3], 10**12, 10**30, True, float("nan"),
    float("inf"), "lin\x1b", [["a"]], [10**9], [1 << 20] * 3,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("family", model_names())
def test_any_setting_of_an_architecture_is_taken_or_refused(family: str) -> None:
    pytest.importorskip("torch", reason="needs PyTorch")
    from pvae_neuro.models.registry import model_class, model_from_saved

    sizes = {"pixels": 64, "latents": 4, "image_shape": [8, 8], "family": family}
    config = ModelConfig.model_validate_json(json.dumps({**CONFIG, **sizes}))
    saved = model_class(family)(config).to_saved()
    architecture = saved.config.architecture
    refused = 0
    for name in (*architecture, "unknown"):
        for value in WRONG:
            changed = config.model_copy(update={"architecture": {**architecture, name: value}})
            try:
                model_from_saved(SavedModel(changed, saved.arrays))
            except (InputError, ModelFileError) as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused >= len(WRONG)
