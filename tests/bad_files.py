"""Files of every kind that verbs read: bad values in every field, cut off, with changed bytes."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from bad_case import MADE, Case

MODEL, ARTIFACT, INPUT, ARCHIVE = "model.safetensors", "predictive.onnx", "x.npy", "x.npz"

_CHECKPOINT = "IPVAE+Trainer-0001_(2025).pt"
_UNFINISHED = f"{MADE}.safetensors.ckpt"
_TRAIN = ["--dataset", INPUT, "-o", f"{MADE}.safetensors", "--latents", "3", "--epochs", "1",
          "--batch-size", "4", "--steps", "2", "--seed", "0"]  # fmt: skip

_DESCRIPTIONS = (
    "<f4", "<f8", ">f4", "<f2", "|u1", "<i8", "<c8", "|O", "<U5", "<M8[s]", "|V8", "x",
)  # fmt: skip
_SHAPES = (
    (8, 30), (8, 6, 5), (240,), (), (0, 30), (8, 0), (10**23,), (2**62, 2), (-1, 30), (8, 5, 6),
    (1, 1, 1, 1, 30),
)  # fmt: skip
_JSON_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, -(2**70), 1.5, 1e308, -1e308, 1e-320, float("nan"),
    float("inf"), "", "abc", "\x1b[31m", "a" * 3000, [], [[]], [1] * 40, {}, {"a": {"b": []}},
)  # fmt: skip
_NUMBERS = (float("nan"), float("inf"), 3e38, -3e38, 1e-45, 0.0, 1e6, -100.0)

Make = Callable[[Path], None]


def file_cases(folder: Path) -> Iterator[Case]:
    """Bad values of every field of every kind of file, and files cut off or with changed bytes."""
    yield from _model_cases(folder / MODEL)
    yield from _unfinished_cases(folder / "unfinished.ckpt")
    yield from _artifact_cases(folder / ARTIFACT)
    yield from _graph_cases(folder / ARTIFACT)
    yield from _checkpoint_cases(folder / "checkpoint")
    yield from _weight_cases(folder / "checkpoint")
    yield from _array_cases()
    yield from _archive_cases(folder / INPUT)
    for source, verbs in {
        MODEL: ("export", "evaluate", "inspect", "plot"),
        ARTIFACT: ("evaluate", "inspect", "verify", "run"),
        INPUT: ("evaluate", "train"),
        ARCHIVE: ("evaluate", "train"),
        "x.mat": ("evaluate",),
        "compressed.mat": ("evaluate",),
        "digits-idx3-ubyte": ("evaluate",),
        "digits-idx3-ubyte.gz": ("evaluate",),
        "events.bin": ("evaluate",),
        "photograph.iml": ("evaluate",),
        "model.pt": ("import",),
        "unfinished.ckpt": ("train --resume",),
        "start.safetensors": ("train --start",),
        **{f"picture.{ending}": ("evaluate", "patches") for ending in PICTURES},
    }.items():
        for verb in verbs:
            yield from _flipped(folder / source, verb)


# ------------------------------------------------------------------------------------ commands


def _on(verb: str, bad: str) -> tuple[str, ...]:
    """A command of the verb that reads the damaged file."""
    reference = ["-t", "2", "-e", "reference"]
    model = Path(bad).suffix == ".safetensors"
    artifact = Path(bad).suffix == ".onnx"
    commands: dict[str, list[str]] = {
        "export": [bad, "-o", f"{MADE}.onnx", "--calibrate", INPUT, "--stability-steps", "8"],
        "inspect": [bad],
        "plot": [bad, "-o", f"{MADE}.svg", "--dataset", INPUT, "-t", "2", "-n", "2"],
        "run": [bad, "-i", INPUT, "-o", f"{MADE}.npz", *reference],
        "verify": [bad, "-i", INPUT, *reference],
        "evaluate": [bad, "-i", INPUT, "-t", "2"]
        if model
        else [bad, "-i", INPUT, *reference]
        if artifact
        else [ARTIFACT, "-i", bad, *reference],
        "import": ["damaged", "-o", f"{MADE}.safetensors"],
        "patches": ["damaged", "-o", f"{MADE}.npz", "--size", "4", "--train", "3", "--test", "2"],
        "train": ["--dataset", bad, *_TRAIN[2:]],
        "train --resume": [*_TRAIN, "--resume"],
        "train --start": [*_TRAIN, "--start", bad],
    }
    return (verb.partition(" ")[0], *commands[verb])


def _case(kind: str, name: str, verb: str, bad: str, make: Make, *about: str) -> Case:
    about = about or ("bad", "damaged", MADE)
    return Case(kind, f"{verb}, {name}"[:80], _on(verb, bad), False, make, about)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _writer(name: str, content: bytes) -> Make:
    return lambda to: _write(to / name, content)


# -------------------------------------------------------------------------- models, checkpoints


def _model_cases(path: Path) -> Iterator[Case]:
    header, arrays, key = _safetensors(path)
    name = "bad.safetensors"
    for place, changed in mutated(json.loads(header["__metadata__"][key])):
        metadata = {**header["__metadata__"], key: json.dumps(changed)}
        content = _safetensors_bytes({**header, "__metadata__": metadata}, arrays)
        yield _case("configurations of models", place, "export", name, _writer(name, content),
                    "bad", place.partition(" ")[0], "the declared range")  # fmt: skip
    for place, changed in mutated(header):
        content = _safetensors_bytes(changed, arrays)
        yield _case("headers of models", place, "inspect", name, _writer(name, content))
    for array, entry in header.items():
        if array == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        # What they make diverge may be named too, of the network or of the circuit.
        names = "bad", array, "weights", "predicti", "the model's numbers"
        for number in _NUMBERS:
            data = bytearray(arrays)
            for where in {begin, begin + (end - begin) // 8 * 4}:
                data[where : where + 4] = struct.pack("<f", number)
            content = _safetensors_bytes(header, bytes(data))
            for verb in ("export", "evaluate", "plot"):
                yield _case("arrays of models", f"{array} holds {number:g}", verb, name,
                            _writer(name, content), *names)  # fmt: skip
        without = {k: v for k, v in header.items() if k != array}
        content = _safetensors_bytes(without, arrays)
        yield _case("arrays of models", f"without {array}", "export", name, _writer(name, content))


def _unfinished_cases(path: Path) -> Iterator[Case]:
    header, arrays, _ = _safetensors(path)
    metadata = header["__metadata__"]
    for key, text in metadata.items():
        try:
            changes = list(mutated(json.loads(text)))
        except json.JSONDecodeError:
            changes = [("", value) for value in _JSON_VALUES]
        # Configurations of models are tried in full above, and the fields here are many.
        for place, changed in changes[:: 3 if len(changes) > 100 else 1]:
            content = _safetensors_bytes(
                {**header, "__metadata__": {**metadata, key: json.dumps(changed)}}, arrays
            )
            yield _case("unfinished runs", f"{key} {place}", "train --resume", _UNFINISHED,
                        _writer(_UNFINISHED, content))  # fmt: skip


def _safetensors(path: Path) -> tuple[dict[str, Any], bytes, str]:
    """Header, arrays, and the key of the metadata that holds the configuration."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    key = next(k for k, v in header["__metadata__"].items() if v.startswith("{"))
    return header, raw[8 + size :], key


def _safetensors_bytes(header: Any, arrays: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + arrays


def _checkpoint_cases(folder: Path) -> Iterator[Case]:
    (config,) = folder.glob("*.json")

    def writer(text: str) -> Make:
        def make(to: Path) -> None:
            shutil.copytree(folder, to / "damaged")
            (to / "damaged" / config.name).write_text(text, encoding="utf-8")

        return make

    for place, changed in mutated(json.loads(config.read_text("utf-8"))):
        yield _case("configurations of checkpoints", place, "import", "damaged",
                    writer(json.dumps(changed)), "damaged", config.name)  # fmt: skip


def _weight_cases(folder: Path) -> Iterator[Case]:
    """Weights of a checkpoint replaced by other things."""
    import torch

    content = torch.load(folder / _CHECKPOINT, weights_only=True)
    state = content["model"]

    def writer(changed: Any) -> Make:
        def make(to: Path) -> None:
            shutil.copytree(folder, to / "damaged")
            torch.save(changed, to / "damaged" / _CHECKPOINT)

        return make

    def quantized(weight: torch.Tensor) -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.quantize_per_tensor(weight.float(), 0.1, 0, torch.qint8)

    def bad(weight: torch.Tensor) -> dict[str, Any]:
        return {
            "nan": torch.full_like(weight, float("nan")),
            "inf": torch.full_like(weight, float("inf")),
            "3e38": torch.full_like(weight, 3e38),
            "1e308 in float64": torch.full_like(weight, 1e308, dtype=torch.float64),
            "zeros": torch.zeros_like(weight),
            "of no axis": torch.tensor(1.0),
            "of five axes": weight[None, None, None],
            "of one column more": torch.cat([weight, weight], -1),
            "empty": weight[:0],
            "of whole numbers": weight.to(torch.int64),
            "complex": weight.to(torch.complex64),
            "of booleans": weight.bool(),
            "of float16": weight.half(),
            "sparse": weight.to_sparse(),
            "on meta": weight.to("meta"),
            "quantized": quantized(weight),
            "a number": 1.0,
            "a text": "x",
            "a list": [[1.0]],
            "none": None,
            "nested": {"a": {"b": weight}},
        }

    for name, weight in state.items():
        for what, value in bad(weight).items():
            yield _case("weights of checkpoints", f"{name} is {what}", "import", "damaged",
                        writer({**content, "model": {**state, name: value}}),
                        "damaged", name)  # fmt: skip
        without = {k: v for k, v in state.items() if k != name}
        yield _case("weights of checkpoints", f"without {name}", "import", "damaged",
                    writer({**content, "model": without}))  # fmt: skip
    for what, value in bad(torch.ones(2, 2)).items():
        for name, changed in {"weights": {**content, "model": value}, "all": value}.items():
            yield _case("weights of checkpoints", f"{name} is {what}", "import", "damaged",
                        writer(changed))  # fmt: skip


# ----------------------------------------------------------------------------------- artifacts


def _artifact_cases(path: Path) -> Iterator[Case]:
    """Fields of the metadata, which are JSON."""
    import onnx

    model = onnx.load(str(path))

    def writer(key: str, text: str) -> Make:
        def make(to: Path) -> None:
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            for entry in changed.metadata_props:
                if entry.key == key:
                    entry.value = text
            _write(to / "bad.onnx", changed.SerializeToString())

        return make

    for entry in model.metadata_props:
        try:
            content = json.loads(entry.value)
        except json.JSONDecodeError:
            content = None
        changes = [("", v) for v in _JSON_VALUES] if content is None else mutated(content)
        for place, changed in changes:
            yield _case("metadata of artifacts", f"{entry.key} {place}", "inspect", "bad.onnx",
                        writer(entry.key, json.dumps(changed)))  # fmt: skip


def _graph_cases(path: Path) -> Iterator[Case]:
    """Fields of the graph and of all that surrounds it."""
    import onnx

    model = onnx.load(str(path))
    verbs = ("evaluate", "inspect")
    number = 0
    for place in _proto_places(model):
        for what, change in _proto_changes(model, place):
            number += 1

            def make(to: Path, place: Any = place, change: Any = change) -> None:
                changed = onnx.ModelProto()
                changed.CopyFrom(model)
                change(_proto_at(changed, place[:-1]), place[-1])
                _write(to / "bad.onnx", changed.SerializeToString())

            name = ".".join(f"{field}{'' if index is None else index}" for field, index in place)
            yield _case(
                "graphs of artifacts", f"{name} {what}", verbs[number % 2], "bad.onnx", make
            )


def _proto_places(message: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for field, value in message.ListFields():
        if hasattr(value, "append") or hasattr(value, "add"):
            # The first and the last stand for all.
            for index in sorted({0, len(value) - 1}):
                place = (*above, (field.name, index))
                yield place
                if field.message_type is not None:
                    yield from _proto_places(value[index], place)
        else:
            place = (*above, (field.name, None))
            yield place
            if field.message_type is not None:
                yield from _proto_places(value, place)


def _proto_at(message: Any, place: tuple[Any, ...]) -> Any:
    for name, index in place:
        message = getattr(message, name)
        if index is not None:
            message = message[index]
    return message


def _proto_changes(model: Any, place: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Bad values of a field, each with a function that sets it in its message."""
    name, index = place[-1]
    old = _proto_at(model, place)
    kinds = _proto_at(model, place[:-1]).DESCRIPTOR.fields_by_name[name].enum_type

    def setter(value: Any) -> Callable[[Any, Any], None]:
        def change(message: Any, last: Any) -> None:
            if index is None:
                setattr(message, name, value)
            else:
                getattr(message, name)[index] = value

        return change

    def without(message: Any, last: Any) -> None:
        if index is None:
            message.ClearField(name)
        else:
            del getattr(message, name)[index]

    yield "missing", without
    values: dict[type, tuple[Any, ...]] = {
        int: (0, -1, 7, 2**31 - 1) if kinds is None else tuple(kinds.values_by_number)[::5],
        float: (float("nan"), float("inf"), -1.0),
        str: ("", "abc", "\x1b[31m", "a" * 3000),
        bytes: (b"", bytes(old)[: len(old) // 2] if isinstance(old, bytes) else b"", b"\xff" * 9),
    }
    for value in values.get(type(old), ()):
        if value != old:
            yield f"= {value!r}"[:30], setter(value)
    if index is not None and hasattr(old, "CopyFrom"):

        def twice(message: Any, last: Any) -> None:
            getattr(message, name).add().CopyFrom(old)

        yield "twice", twice


# --------------------------------------------------------------------------------------- arrays


def _array_cases() -> Iterator[Case]:
    """Headers of .npy files that declare something else."""
    for descr in _DESCRIPTIONS:
        for shape in _SHAPES:
            header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
            yield _case("headers of arrays", f"{descr} {shape}", "evaluate", "bad.npy",
                        _writer("bad.npy", _npy(header)))  # fmt: skip
    for header in (
        "", "{}", "[]", "{'descr': '<f4'}", "{'descr': [('a', '<f4')], 'fortran_order': False, "
        "'shape': (8,)}", "{'descr': '<f4', 'fortran_order': 7, 'shape': (8, 30)}", "(" * 9000,
        "__import__('os').system('true')", "{'descr': '<f4', 'fortran_order': False, 'shape': 8}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 30), 'more': 1}", "\xff" * 99,
    ):  # fmt: skip
        for version in (1, 2, 3, 9):
            yield _case("headers of arrays", f"version {version} {header}", "evaluate", "bad.npy",
                        _writer("bad.npy", _npy(header, version)))  # fmt: skip


def _npy(header: str, version: int = 1) -> bytes:
    padded = header + " " * (63 - (len(header) + 10) % 64) + "\n"
    size = struct.pack("<H" if version == 1 else "<I", len(padded))
    text = padded.encode("latin-1")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + bytes(range(256)) * 8


def _archive_cases(array: Path) -> Iterator[Case]:
    """Archives with other members than arrays."""
    good = array.read_bytes()
    shape = "{{'descr': '<f4', 'fortran_order': False, 'shape': {} }}"
    bomb = _npy(shape.format((2**33,))) + bytes(1 << 26)
    members: dict[str, dict[str, bytes]] = {
        "none": {},
        "a text": {"images.txt": b"text"},
        "no array": {"images.npy": b"text"},
        "an empty one": {"images.npy": b""},
        "an array cut off": {"images.npy": good[:200]},
        "a shape of 10^23": {"images.npy": _npy(shape.format((10**23,)))},
        "zeros without end": {"images.npy": bomb},
        "another folder's": {"../images.npy": good},
        "escapes in a name": {"\x1b[31mimages.npy": good, "b.npy": good},
        "two arrays": {"a.npy": good, "b.npy": good},
        "objects": {"images.npy": _npy(shape.format((3,)).replace("<f4", "|O"))},
        "a range of texts": {"images.npy": good, "range.npy": b"text"},
        "a range of nan": {"images.npy": good, "range.npy": _saved([float("nan")] * 2)},
        "a range upside down": {"images.npy": good, "range.npy": _saved([1.0, 0.0])},
        "a range of three": {"images.npy": good, "range.npy": _saved([0.0, 1.0, 2.0])},
        "a range of infinity": {"images.npy": good, "range.npy": _saved([0.0, float("inf")])},
        "labels of another length": {"images.npy": good, "labels.npy": _saved([1, 2])},
        "labels of texts": {"images.npy": good, "labels.npy": _saved(["a"] * 8)},
        "a thousand arrays": {f"{number}.npy": b"x" for number in range(1000)},
    }
    for what, content in members.items():
        for method in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
            zipfile.ZIP_BZIP2,
            zipfile.ZIP_LZMA,
        ):
            if what == "zeros without end" and method == zipfile.ZIP_STORED:
                continue
            for verb in ("evaluate", "train"):
                yield _case("members of archives", f"{what}, method {method}", verb, "bad.npz",
                            _zipped(content, method))  # fmt: skip


def _saved(values: Any) -> bytes:
    import numpy as np

    sink = io.BytesIO()
    np.save(sink, np.array(values))
    return sink.getvalue()


def _zipped(members: dict[str, bytes], method: int) -> Make:
    def make(to: Path) -> None:
        with zipfile.ZipFile(to / "bad.npz", "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return make


# --------------------------------------------------------------------------------------- damage


def _flipped(path: Path, verb: str, cases: int = 40) -> Iterator[Case]:
    """The file cut off or with some changed bytes, at places that its name and number determine."""
    # Long files are slow to write.
    cases = cases if path.stat().st_size < 1 << 20 else 8
    name = path.name
    bad = f"bad-{name}"
    targets = {
        "import": f"damaged/{_CHECKPOINT}", "patches": f"damaged/{name}",
        "train --resume": _UNFINISHED,
    }  # fmt: skip
    target = targets.get(verb, bad)
    around = {"import": "checkpoint", "patches": "pictures"}

    for number in range(cases):

        def make(to: Path, number: int = number) -> None:
            if verb in around:
                shutil.copytree(to / around[verb], to / "damaged")
            _write(to / target, _damaged(path.read_bytes(), f"{name} {verb} {number}", number))

        about = (bad, "damaged", name, MADE)
        yield _case(f"damaged {name}", f"damaged {name} {number}", verb, bad, make, *about)


def _damaged(raw: bytes, seed: str, number: int) -> bytes:
    rng = random.Random(seed)
    data = bytearray(raw)
    if number % 4 == 0:
        del data[rng.randrange(len(data)) :]
    # Headers are where damage is most varied.
    reach = len(data) if number % 2 else min(len(data), 400)
    for _ in range(rng.choice((1, 1, 4, 30)) if reach else 0):
        data[rng.randrange(reach)] = rng.randrange(256)
    return bytes(data)


def mutated(content: Any) -> Iterator[tuple[str, Any]]:
    """Plain values with one field replaced by each bad value, or missing."""
    for place in _places(content):
        for value in _JSON_VALUES:
            yield f"{'.'.join(map(str, place))} = {value!r}", _with(content, place, value)
        if place and isinstance(place[-1], str):
            yield f"{'.'.join(map(str, place))} missing", _with(content, place, None, remove=True)


def _places(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _places(value, (*above, key))
    if isinstance(content, list):
        # The first and the last stand for all.
        for index in sorted({0, len(content) - 1} if content else ()):
            yield from _places(content[index], (*above, index))


def _with(content: Any, place: tuple[Any, ...], value: Any, remove: bool = False) -> Any:
    if not place:
        return value
    changed = json.loads(json.dumps(content))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    if remove:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return changed


# --------------------------------------------------------------------------------- whole files

PICTURES = ("png", "tif", "jpg", "gif", "webp", "bmp")


def make_folder(folder: Path) -> None:
    """Small files of every kind that verbs read."""
    import os

    import numpy as np
    from cli_tools import make_files
    from models import sound_images, sound_model
    from PIL import Image
    from scipy.io import savemat

    make_files(folder, sound_model(), sound_images(8), ("predictive",))
    images = np.load(folder / INPUT).reshape(8, 6, 5)
    np.savez(folder / ARCHIVE, images=images, labels=np.arange(8))
    for name, compressed in (("x.mat", False), ("compressed.mat", True)):
        savemat(folder / name, {"IMAGES": images}, do_compression=compressed)
    for name in ("empty.npy", "empty.onnx", "empty.safetensors"):
        _write(folder / name, b"")
    for name in ("garbage.npy", "garbage.onnx", "garbage.safetensors", "garbage.npz"):
        _write(folder / name, random.Random(name).randbytes(999))
    shutil.copy(folder / INPUT, folder / "protected.npy")
    (folder / "protected.npy").chmod(0o400)
    (folder / "linked.npy").symlink_to(INPUT)
    (folder / "looped.npy").symlink_to("looped.npy")
    for name in ("pipe.npy", "pipe.onnx", "pipe.safetensors"):
        os.mkfifo(folder / name)
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    grey = Image.fromarray(rng.integers(0, 256, (6, 5), dtype=np.uint8))
    for ending in PICTURES:
        grey.save(folder / f"picture.{ending}")
    digits = struct.pack(">IIII", 0x803, 8, 6, 5) + (images * 255).astype(np.uint8).tobytes()
    _write(folder / "digits-idx3-ubyte", digits)
    _write(folder / "digits-idx3-ubyte.gz", gzip.compress(digits, mtime=0))
    events = rng.integers(0, 34, (200, 5), dtype=np.uint8)
    _write(folder / "events.bin", events.tobytes())
    _write(folder / "photograph.iml", rng.integers(0, 4096, (1024, 1536)).astype(">u2").tobytes())
    _write_checkpoint(folder / "checkpoint")
    shutil.copy(folder / "checkpoint" / _CHECKPOINT, folder / "model.pt")
    _write_training(folder)


def _write_checkpoint(folder: Path) -> None:
    import torch

    folder.mkdir()
    config = {
        "dataset": "MNIST", "t_train": 8, "beta_outer": 8.0, "n_latents": [3], "inf_type": "grad",
        "dec_type": "lin", "clamp_u": 10.0, "clamp_du": 10.0, "n_iters_inner": 1,
        "n_iters_outer": 1, "beta_inner": 1.0,
    }  # fmt: skip
    (folder / "ConfigPoisVAE.json").write_text(json.dumps(config), encoding="utf-8")
    state = {
        "layer.phi.weight": torch.ones(784, 3), "layer.dec_log_sigma": torch.zeros(1, 784),
        "layer.log_bias": torch.zeros(1, 3), "layer.log_lr.0": torch.zeros(1),
        "layer.u_init.0": torch.zeros(1, 3),
    }  # fmt: skip
    content = {"metadata": {"loss": 1.5}, "model": state}
    torch.save(content, folder / _CHECKPOINT)


def _write_training(folder: Path) -> None:
    """A model to start from, and the state of the same run when it had stopped."""
    from rich.console import Console

    from pvae_neuro.data import load_images
    from pvae_neuro.training.run import TrainingRun
    from pvae_neuro.training.train import TrainOptions, recipe, train

    images = load_images(folder / INPUT, scale=1.0)
    config = recipe("ipvae-linear", latents=3, epochs=1, batch_size=4, steps=2, seed=0)
    options = TrainOptions(console=Console(quiet=True), device="cpu")
    target = folder / "start.safetensors"
    train(images, config, target, options)
    stopped = folder / "stopped.safetensors"
    with mock.patch.object(TrainingRun, "train_batch", side_effect=KeyboardInterrupt):
        try:
            train(images, config, stopped, options)
        except KeyboardInterrupt:
            shutil.move(f"{stopped}.ckpt", folder / "unfinished.ckpt")
