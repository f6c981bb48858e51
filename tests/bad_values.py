"""Generated bad values for every option of every verb, and for every field of every file.

    python tests/bad_values.py [--cases N] [--seed S]

Each case is a command that runs in a child of its own, in a folder of small files. It must end with
one line that begins with ``error:`` and with exit code 2, within five seconds of processor time,
and leave every file as it was. A damaged field may also happen to be a right one: then the command
may do its work, but never end with exit code 70.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CPU_SECONDS = 5
MODEL, ARTIFACT, INPUT, ARCHIVE = "model.safetensors", "predictive.onnx", "x.npy", "x.npz"
MADE = "made"

# What each verb needs to run here; options under test are put behind, and the last one counts.
COMMANDS: dict[str, list[str]] = {
    "demo": ["--out", MADE],
    "models": [],
    "samples": ["-o", f"{MADE}.npy"],
    "patches": ["pictures", "-o", f"{MADE}.npz", "--size", "4", "--train", "3", "--test", "2"],
    "train": ["--dataset", INPUT, "-o", f"{MADE}.safetensors", "--latents", "3", "--epochs", "1"],
    "import": ["checkpoint", "-o", f"{MADE}.safetensors"],
    "export": [MODEL, "-o", f"{MADE}.onnx", "--calibrate", INPUT],
    "inspect": [ARTIFACT],
    "run": [ARTIFACT, "-i", INPUT, "-o", f"{MADE}.npz", "-t", "2"],
    "verify": [ARTIFACT, "-m", MODEL, "-i", INPUT, "-t", "2", "-e", "reference"],
    "evaluate": [ARTIFACT, "-i", INPUT, "-t", "2", "-e", "reference"],
    "plot": [MODEL, "-o", f"{MADE}.svg", "--dataset", INPUT, "-t", "2"],
    "experiment": ["convergence", "--quick", "--out", MADE],
    "bench": [],
}

HUGE = (str(2**63), str(-(2**63)), str(10**20), "9" * 5000)
WORDS = ("abc", "", " ", "1.5.5", "0x10", "--", "\x1b[31mred", "[bold]x[/bold]", "<b>", "१२a")
INTEGERS = ("-1", "1.5", "nan", "inf", "1e3", *HUGE, *WORDS)
FLOATS = ("nan", "inf", "-inf", "1e400", "-1e308", "-1", *WORDS)
TEXTS = (
    "",
    "no-such",
    "\x1b]0;title\x07",
    "[red]x[/red]",
    "<script>",
    "a" * 5000,
    "a\nb",
    "\u202ex",
)
READ = (
    "missing.npy", "missing/x.npy", ".", "empty.npy", "garbage.npy", "empty.onnx", "garbage.onnx",
    "garbage.safetensors", "empty.safetensors", "garbage.npz", "/dev/zero", "/dev/null", "",
    "a" * 300, "\x1b]0;title\x07.npy", "a" * 300 + ".npy", "x.npy/x.npy", "[red].onnx",
)  # fmt: skip
WRITTEN = (
    ".", "x.npy/made", "x.npy", "model.safetensors", "./x.npy", "x.npy/../x.npy", "linked.npy",
    "a" * 300, "/proc/made/x", "", "/dev/full/x", "pictures",
)  # fmt: skip
BAD: dict[Any, tuple[str, ...]] = {int: INTEGERS, float: FLOATS, str: TEXTS, Path: READ}
OUTPUTS = {"--output", "--json", "--html", "--out", "--tensorboard"}

# Values that are right after all: (option, value).
RIGHT: set[tuple[str, str]] = set()

DESCRIPTIONS = ("<f4", "<f8", ">f4", "<f2", "|u1", "<i8", "<c8", "|O", "<U5", "<M8[s]", "|V8", "x")
SHAPES = (
    (8, 30), (8, 6, 5), (240,), (), (0, 30), (8, 0), (10**23,), (2**62, 2), (-1, 30), (8, 5, 6),
    (1, 1, 1, 1, 30),
)  # fmt: skip
JSON_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, -(2**70), 1.5, 1e308, -1e308, 1e-320, float("nan"),
    float("inf"), "", "abc", "\x1b[31m", "a" * 3000, [], [[]], [1] * 40, {}, {"a": {"b": []}},
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One command, and the file that it needs beside the others."""

    name: str
    command: tuple[str, ...]
    strict: bool = True
    """Whether it must be refused."""
    make: Callable[[Path], None] | None = None


# ------------------------------------------------------------------------------------- options


def option_cases() -> Iterator[Case]:
    """Bad values of every option and argument of every verb."""
    import typer

    from pvae_neuro.cli import main

    group = typer.main.get_command(main.app)
    for verb, command in group.commands.items():  # type: ignore[attr-defined]
        yield Case(f"{verb} unknown option", (verb, *COMMANDS[verb], "--no-such-option"))
        yield Case(f"{verb} one argument more", (verb, *COMMANDS[verb], *["more"] * 3))
        for parameter in command.params:
            kind = parameter.type_descriptor.annotation
            if kind is bool:
                continue
            if parameter.param_type_name == "argument":
                for value in BAD[kind]:
                    yield Case(f"{verb} {parameter.name}={value!r}"[:80], _replaced(verb, value))
                continue
            option = max(parameter.opts, key=len)
            yield Case(f"{verb} {option} without a value", (verb, *COMMANDS[verb], option))
            values = WRITTEN if option in OUTPUTS else BAD.get(kind, FLOATS)
            for value in values:
                if (option, value) in RIGHT or (verb, option, value) in RIGHT:
                    continue
                name = f"{verb} {option} {value!r}"[:80]
                given = [f"{option}={value}"] if parameter.nargs == 1 else [option, "0", value]
                yield Case(name, (verb, *COMMANDS[verb], *given))


def _replaced(verb: str, value: str) -> tuple[str, ...]:
    """The verb's command with another first argument, which may begin with a hyphen."""
    given = COMMANDS[verb]
    rest = given[1:] if given and not given[0].startswith("-") else given
    return (verb, *rest, "--", value)


# --------------------------------------------------------------------------------------- files


def file_cases(folder: Path) -> Iterator[Case]:
    """Bad values of every field of every kind of file, and files cut off or with flipped bits."""
    yield from _model_cases(folder / MODEL)
    yield from _artifact_cases(folder / ARTIFACT)
    yield from _checkpoint_cases(folder / "checkpoint")
    yield from _array_cases(folder / INPUT)
    for source, verb in (
        (MODEL, "export"), (ARTIFACT, "evaluate"), (ARTIFACT, "inspect"), (ARTIFACT, "verify"),
        (INPUT, "evaluate"), (ARCHIVE, "evaluate"), ("picture.png", "evaluate"),
        ("picture.tif", "evaluate"), ("digits-idx3-ubyte", "evaluate"), ("model.pt", "import"),
    ):  # fmt: skip
        yield from _flipped(folder / source, verb)


def _on(verb: str, bad: str) -> tuple[str, ...]:
    """A command of the verb that reads the damaged file."""
    commands = {
        MODEL: {"export": ["bad", "-o", f"{MADE}.onnx", "--calibrate", INPUT],
                "inspect": ["bad"], "plot": ["bad", *COMMANDS["plot"][1:]],
                "evaluate": ["bad", "-i", INPUT, "-t", "2"]},
        ARTIFACT: {"inspect": ["bad"], "evaluate": ["bad", *COMMANDS["evaluate"][1:]],
                   "run": ["bad", *COMMANDS["run"][1:]],
                   "verify": ["bad", *COMMANDS["verify"][1:]]},
    }  # fmt: skip
    suffix = Path(bad).suffix
    for name, verbs in commands.items():
        if suffix == Path(name).suffix:
            return (verb, *[bad if word == "bad" else word for word in verbs[verb]])
    if verb == "import":
        return (verb, "damaged", "-o", f"{MADE}.safetensors")
    return (verb, ARTIFACT, "-i", bad, "-t", "2", "-e", "reference")


def _model_cases(path: Path) -> Iterator[Case]:
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header, arrays = json.loads(raw[8 : 8 + size]), raw[8 + size :]

    def write(changed: Any) -> Callable[[Path], None]:
        text = json.dumps(changed).encode()
        return lambda to: _write(
            to / "bad.safetensors", struct.pack("<Q", len(text)) + text + arrays
        )

    def cases(name: str, changed: Any, verbs: tuple[str, ...] = ("export",)) -> Iterator[Case]:
        for verb in verbs:
            yield Case(f"{verb}, model's {name}"[:80], _on(verb, "bad.safetensors"), False,
                       write(changed))  # fmt: skip

    (key,) = [k for k, v in header["__metadata__"].items() if v.startswith("{")]
    config = json.loads(header["__metadata__"][key])
    for place, changed in _mutated(config):
        text = json.dumps(changed)
        yield from cases(
            f"configuration {place}",
            {**header, "__metadata__": {**header["__metadata__"], key: text}},
        )
    for place, changed in _mutated(header):
        yield from cases(f"header {place}", changed, ("inspect",))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        for number in (float("nan"), float("inf"), 3e38, -3e38, 1e-45, 0.0, 1e6, -100.0):
            data = bytearray(arrays)
            for where in {begin, begin + (end - begin) // 8 * 4}:
                data[where : where + 4] = struct.pack("<f", number)
            content = raw[: 8 + size] + bytes(data)
            for verb in ("export", "evaluate"):
                yield Case(
                    f"{verb}, {name} holds {number:g}", _on(verb, "bad.safetensors"), False,
                    lambda to, content=content: _write(to / "bad.safetensors", content),
                )  # fmt: skip
        without = {k: v for k, v in header.items() if k != name}
        yield from cases(f"header without {name}", without)


def _artifact_cases(path: Path) -> Iterator[Case]:
    import onnx

    model = onnx.load(str(path))

    def write(key: str, text: str) -> Callable[[Path], None]:
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
        changes = [("", value) for value in JSON_VALUES] if content is None else _mutated(content)
        for place, changed in changes:
            yield Case(
                f"inspect, artifact's {entry.key} {place}"[:80], _on("inspect", "bad.onnx"), False,
                write(entry.key, json.dumps(changed)),
            )  # fmt: skip


def _checkpoint_cases(folder: Path) -> Iterator[Case]:
    (config,) = folder.glob("*.json")
    content = json.loads(config.read_text("utf-8"))

    def write(text: str) -> Callable[[Path], None]:
        def make(to: Path) -> None:
            shutil.copytree(folder, to / "damaged")
            (to / "damaged" / config.name).write_text(text, encoding="utf-8")

        return make

    for place, changed in _mutated(content):
        yield Case(
            f"import, configuration {place}"[:80], _on("import", "damaged"), False,
            write(json.dumps(changed)),
        )  # fmt: skip


def _array_cases(path: Path) -> Iterator[Case]:
    """Headers of .npy files that declare something else."""
    for descr in DESCRIPTIONS:
        for shape in SHAPES:
            header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
            padded = header + " " * (63 - (len(header) + 10) % 64) + "\n"
            body = bytes(range(256)) * 8
            content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode() + body
            yield Case(
                f"evaluate, array of {descr} {shape}"[:80], _on("evaluate", "bad.npy"), False,
                lambda to, content=content: _write(to / "bad.npy", content),
            )  # fmt: skip


def _flipped(path: Path, verb: str, cases: int = 40) -> Iterator[Case]:
    """The file cut off or with some changed bytes, at places that its name determines."""
    raw = path.read_bytes()
    rng = random.Random(f"{path.name} {verb}")
    bad = f"bad{path.suffix}" if path.suffix else f"bad-{path.name}"
    target = "damaged/IPVAE+Trainer-0001_(2025).pt" if verb == "import" else bad
    for number in range(cases):
        data = bytearray(raw)
        if number % 4 == 0:
            del data[rng.randrange(len(data)) :]
        # Headers are where damage is most varied.
        reach = len(data) if number % 2 else min(len(data), 400)
        for _ in range(rng.choice((1, 1, 4, 30)) if reach else 0):
            data[rng.randrange(reach)] = rng.randrange(256)

        def make(to: Path, content: bytes = bytes(data)) -> None:
            if verb == "import":
                shutil.copytree(to / "checkpoint", to / "damaged")
            _write(to / target, content)

        yield Case(f"{verb}, damaged {path.name} {number}", _on(verb, bad), False, make)


def _mutated(content: Any) -> Iterator[tuple[str, Any]]:
    """Plain values with one field replaced by each bad value, or missing."""
    for place in _places(content):
        for value in JSON_VALUES:
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


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


# -------------------------------------------------------------------------------------- running


def make_folder(folder: Path) -> None:
    """Small files of every kind that verbs read."""
    import numpy as np
    from cli_tools import make_files
    from models import random_images, random_model
    from PIL import Image

    model = random_model(latents=6)
    make_files(folder, model, random_images(model, 8), ("predictive",))
    images = np.load(folder / INPUT).reshape(8, 6, 5)
    np.savez(folder / ARCHIVE, images=images, labels=np.arange(8))
    for name in ("empty.npy", "empty.onnx", "empty.safetensors"):
        _write(folder / name, b"")
    for name in ("garbage.npy", "garbage.onnx", "garbage.safetensors", "garbage.npz"):
        _write(folder / name, random.Random(name).randbytes(999))
    (folder / "linked.npy").symlink_to(INPUT)
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    grey = Image.fromarray(rng.integers(0, 256, (6, 5), dtype=np.uint8))
    grey.save(folder / "picture.png")
    grey.save(folder / "picture.tif")
    digits = struct.pack(">IIII", 0x803, 8, 6, 5) + (images * 255).astype(np.uint8).tobytes()
    _write(folder / "digits-idx3-ubyte", digits)
    _write_checkpoint(folder / "checkpoint")
    shutil.copy(next((folder / "checkpoint").glob("*.pt")), folder / "model.pt")


def _write_checkpoint(folder: Path) -> None:
    import torch

    folder.mkdir()
    config = {
        "dataset": "MNIST", "t_train": 8, "beta_outer": 8.0, "n_latents": [3], "inf_type": "grad",
        "dec_type": "lin", "clamp_u": 10.0, "clamp_du": 10.0,
    }  # fmt: skip
    (folder / "ConfigPoisVAE.json").write_text(json.dumps(config), encoding="utf-8")
    state = {
        "layer.phi.weight": torch.ones(784, 3), "layer.dec_log_sigma": torch.zeros(1, 784),
        "layer.log_bias": torch.zeros(1, 3), "layer.log_lr.0": torch.zeros(1),
        "layer.u_init.0": torch.zeros(1, 3),
    }  # fmt: skip
    content = {"metadata": {"loss": 1.5}, "model": state}
    torch.save(content, folder / "IPVAE+Trainer-0001_(2025).pt")


def preload() -> None:
    """Import what verbs import, so that children need not."""
    import matplotlib.figure  # noqa: F401
    import onnxruntime  # noqa: F401
    import rich.console  # noqa: F401
    import scipy.io  # noqa: F401
    import torch  # noqa: F401

    import pvae_neuro.evaluation.evaluate
    import pvae_neuro.export
    import pvae_neuro.plots.model
    import pvae_neuro.training.train
    import pvae_neuro.verification.report  # noqa: F401


def stamps(folder: Path) -> dict[str, str]:
    """What each file and link below a folder holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def run_case(case: Case, folder: Path, before: dict[str, str]) -> list[str]:
    """What is wrong with how a case ends; nothing where it is right. The folder is as before."""
    added = set()
    if case.make is not None:
        case.make(folder)
        added = stamps(folder).keys() - before.keys()
    known = stamps(folder)
    with tempfile.TemporaryDirectory() as outside:
        code, said, seconds = _in_a_child(case.command, folder, Path(outside))
    wrong = []
    if code == 2:
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        if len(errors) != 1:
            wrong.append(f"expected one error: line, got {len(errors)}: {said[-300:]!r}")
        if any(ord(c) < 32 and c not in "\n\t" for c in said):
            wrong.append(f"control characters in {said!r}")
    elif case.strict or code not in (0, 1):
        wrong.append(f"exit code {code}: {said[-600:]!r}")
    if "Traceback" in said:
        wrong.append(f"traceback: {said[-600:]}")
    if seconds > CPU_SECONDS:
        wrong.append(f"{seconds:.1f} s of processor time")
    after = stamps(folder)
    changed = {n for n in known if after.get(n) != known[n]}
    new = after.keys() - known.keys()
    if changed:
        wrong.append(f"changed: {sorted(changed)}")
    if new and code != 0 and not (code == 1 and not case.strict):
        wrong.append(f"left behind: {sorted(new)}")
    for name in sorted(new | added, reverse=True):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return wrong


def _in_a_child(command: tuple[str, ...], folder: Path, outside: Path) -> tuple[int, str, float]:
    """Exit code, what was printed, and seconds of processor time of a command."""
    printed = outside / "printed"
    child = os.fork()
    if child == 0:
        try:
            os.chdir(folder)
            limit = 4 * CPU_SECONDS
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            sink = os.open(printed, os.O_WRONLY | os.O_CREAT)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            from pvae_neuro.cli.main import run_command

            code = run_command(list(command))
        except BaseException:
            traceback.print_exc()
            code = 99
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    _, status, usage = os.wait4(child, 0)
    text = printed.read_text("utf-8", errors="replace") if printed.exists() else ""
    return os.waitstatus_to_exitcode(status), text, usage.ru_utime + usage.ru_stime


def all_cases(folder: Path) -> list[Case]:
    """Every case that is generated."""
    return [*option_cases(), *file_cases(folder)]


def main() -> int:
    """Run cases and print those that end wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, help="so many, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", default="", help="those whose names contain this")
    options = parser.parse_args()
    preload()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_folder(folder)
        before = stamps(folder)
        cases = [case for case in all_cases(folder) if options.only in case.name]
        if options.cases is not None and options.cases < len(cases):
            cases = random.Random(options.seed).sample(cases, options.cases)
        failed: Counter[str] = Counter()
        for number, case in enumerate(cases, 1):
            wrong = run_case(case, folder, before)
            for line in wrong:
                print(f"{case.name!r}: {line}", flush=True)
            failed["wrong" if wrong else "right"] += 1
            if number % 250 == 0:
                print(f"{number} of {len(cases)}", file=sys.stderr, flush=True)
    print(f"{len(cases)} cases: {failed['right']} end as they should, {failed['wrong']} do not")
    return 1 if failed["wrong"] else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
