"""Bad values of every option and argument of every verb, and of variables of the environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bad_case import MADE, Case
from bad_files import ARTIFACT, INPUT, MODEL, mutated

from pvae_neuro.utils.plain_text import printable

# What each verb needs to run here; options under test are put behind, and the last one counts.
COMMANDS: dict[str, list[str]] = {
    "demo": ["--out", MADE],
    "models": [],
    "samples": ["-o", f"{MADE}.npy"],
    "patches": ["pictures", "-o", f"{MADE}.npz", "--size", "4", "--train", "3", "--test", "2"],
    "train": [
        "--dataset", INPUT, "-o", f"{MADE}.safetensors", "--latents", "3", "--epochs", "1",
        "--batch-size", "4", "--steps", "2",
    ],
    "import": ["checkpoint", "-o", f"{MADE}.safetensors"],
    "export": [MODEL, "-o", f"{MADE}.onnx", "--calibrate", INPUT, "--stability-steps", "8"],
    "inspect": [ARTIFACT],
    "run": [ARTIFACT, "-i", INPUT, "-o", f"{MADE}.npz", "-t", "2", "-e", "reference"],
    "verify": [ARTIFACT, "-i", INPUT, "-t", "32", "-e", "reference"],
    "evaluate": [ARTIFACT, "-i", INPUT, "-t", "2", "-e", "reference"],
    "cost": [ARTIFACT, "-i", INPUT, "-t", "2", "-e", "reference"],
    "plot": [MODEL, "-o", f"{MADE}.svg", "--dataset", INPUT, "-t", "2", "-n", "2"],
    "experiment": ["convergence", "--quick", "--out", MADE],
    "bench": [],
    "doctor": ["reference"],
    "place": [ARTIFACT],
    "finetune": [
        MODEL, "-o", f"{MADE}.safetensors", "-i", INPUT, "--updates", "1", "--batch-size", "2",
        "--window", "2", "--horizon", "4", "--fitted-images", "0",
    ],
    "pareto": [
        MODEL, "-i", INPUT, "--calibrate", INPUT, "-t", "2", "--weight-bits", "8",
        "--topology", "predictive",
    ],
}  # fmt: skip
LONG = {"demo", "experiment", "bench"}
"""Verbs whose command takes minutes where it is right, or data that are not here."""

_HUGE = (str(2**63), str(-(2**63)), str(10**20), "9" * 5000)
_WORDS = ("abc", "", " ", "1.5.5", "0x10", "--", "\x1b[31mred", "[bold]x[/bold]", "<b>", "१२a")
_TEXTS = (
    "", "no-such", "\x1b]0;title\x07", "[red]x[/red]", "<script>", "a" * 5000, "a\nb", "\u202ex",
)  # fmt: skip
_READ = (
    "missing.npy", "missing/x.npy", ".", "empty.npy", "garbage.npy", "empty.onnx", "garbage.onnx",
    "garbage.safetensors", "empty.safetensors", "garbage.npz", "/dev/zero", "/dev/null", "",
    "a" * 300, "\x1b]0;title\x07.npy", "a" * 300 + ".npy", "x.npy/x.npy", "[red].onnx", "pipe.npy",
    "pipe.onnx", "pipe.safetensors", "looped.npy", "~nobody-here/x.npy",
)  # fmt: skip
_WRITTEN = (
    ".", "x.npy/made", "x.npy", "model.safetensors", "./x.npy", "x.npy/../x.npy", "linked.npy",
    "a" * 300, "/proc/made/x", "", "/dev/full/x", "pictures", "looped.npy", "~nobody-here/made",
    "protected.npy",
)  # fmt: skip
# Files that only some verbs read; the others may replace them.
_INPUTS = {MODEL: MODEL, INPUT: INPUT, f"./{INPUT}": INPUT, f"{INPUT}/../{INPUT}": INPUT,
           "linked.npy": INPUT}  # fmt: skip
_FOLDERS = ("x.npy", "x.npy/made", "a" * 300, "/proc/made", "/dev/null", "/dev/full/x",
            "looped.npy", "~nobody-here/made", "linked.npy")  # fmt: skip
_BAD: dict[Any, tuple[str, ...]] = {
    int: ("-1", "1.5", "nan", "inf", "1e3", *_HUGE, *_WORDS),
    float: ("nan", "inf", "-inf", "1e400", "-1e308", "-1", *_WORDS),
    str: _TEXTS,
    Path: _READ,
}
# Of these some are right, by the option.
_EDGES: dict[Any, tuple[str, ...]] = {int: ("0", "1"), float: ("0", "1e308", "1e-320", "1e-5")}
_BY_OPTION: dict[str, tuple[str, ...]] = {
    "--output": _WRITTEN, "--json": _WRITTEN, "--html": _WRITTEN, "--placed": _WRITTEN,
    "--out": _FOLDERS, "--tensorboard": _FOLDERS, "--models": _FOLDERS,
    "--data-root": ("missing", "missing/more", *_FOLDERS),
    "--input": _READ, "--calibrate": _READ,
}  # fmt: skip
_MORE: dict[str, tuple[str, ...]] = {
    "--device": ("meta", "cuda:99", "cpu:7", "xla", "cuda:-1", "cpu:", ":"),
    "--engine": ("reference,fast", "torch", "REFERENCE "),
    "--engines": ("reference,no-such", ",", " , ", "torch;onnx"),
    "--size": ("0", "0x5", "5x0", "999999x999999", "3x", "-3", "1x1x1", "1e3", "nan"),
    "--max-memory": ("0", "1e-12", "1e10"),
    "--scale": ("0",),
    "--layout": ("NN", "XYZ", "N", "NCHWM", "nmx"),
    "--split": ("Train", "train,test", "validation"),
    "--scheduler": ("127.0.0.1:1", "tcp://127.0.0.1:1", "://", "tcp://", "http://[", "local,"),
    "--record": ("no.such", "errors.nothing", ".", ".."),
    "--contrast": ("Image", "global"),
    "--dtype": ("float64", "int8", "object", "f4"),
    "--topology": ("lateral,predictive", "Lateral"),
    "--lava-batch": ("0", "65537"),
}
# Values that are right after all, by option or by verb and option, and why.
_RIGHT: dict[tuple[str, ...], str] = {
    ("--samples", *_HUGE[::2], _HUGE[3]): "more than there are: all are taken",
    ("--seed", _HUGE[0]): "keys lie below 2^64",
    ("patches", "--seed", *_HUGE[::2], _HUGE[3]): "any number that is not negative is a seed",
    ("--record", ""): "no further variables",
    ("pareto", "--topology", "lateral,predictive"): "both circuits",
    ("pareto", "--calibrate", "."): "the picture that does not fit is named, and not its folder",
    ("patches", "folder", "."): "the current folder holds pictures; what is left out is said",
    ("--device", "cpu:7"): "PyTorch knows one CPU by every number",
}
_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "ipvae-mlp": {"hidden": [4, 4]},
    "ipvae-hierarchical": {"upper": 2, "prior_weight": 0.5},
    "pvae-mlp": {"encoder": "mlp", "decoder": "linear", "hidden": [4], "estimator": "blended"},
    "gvae-mlp": {"hidden": [4], "decoder_hidden": [3], "decoder": "mlp"},
    "lca": {"lambda_": 0.5, "nonnegative": True, "step": 0.1},
    "savae": {"step_size": 0.1, "largest_gradient": 5.0, "hidden": [4], "decoder_hidden": [4]},
}
_VARIABLES: dict[str, tuple[str, ...]] = {
    "NUMBA_NUM_THREADS": ("abc", "0", "-1", "100000", ""),
    "COLUMNS": ("abc", "0", "-1", "1", "9" * 30),
    "RANK": ("abc", "-1", "", "7"),
    "WORLD_SIZE": ("abc", "-1", "0", ""),
    "LOCAL_RANK": ("abc", "-1", ""),
    "MASTER_ADDR": ("", "no such host"),
    "MASTER_PORT": ("abc", "-1", "99999999", ""),
    "TMPDIR": ("/no/such/folder", "/dev/null", ""),
    "HOME": ("/no/such/folder", ""),
    "PVAE_NEURO_TRACEBACK": ("",),
    "CUDA_VISIBLE_DEVICES": ("abc", "-1", ""),
    "OMP_NUM_THREADS": ("abc", "-1", "0"),
    "TERM": ("", "abc"),
    "LOIHI_GEN": ("abc",),
}
_DISTRIBUTED = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": "1"}  # fmt: skip


def option_cases() -> Iterator[Case]:
    """Bad values of every option and argument of every verb."""
    import typer

    from pvae_neuro.cli.main import VERBS, application

    group = typer.main.get_command(application(VERBS))
    for verb, command in group.commands.items():  # type: ignore[attr-defined]
        kind = f"options of {verb}"
        given = COMMANDS[verb]
        yield Case(kind, f"{verb} unknown option", (verb, *given, "--no-such-option"), True, None,
                   ("--no-such-option",))  # fmt: skip
        yield Case(kind, f"{verb} three arguments more", (verb, *given, *["more"] * 3), True, None,
                   ("more",))  # fmt: skip
        for parameter in command.params:
            if parameter.type_descriptor.annotation is not bool:
                yield from _of_parameter(kind, verb, parameter)
    yield from _architectures()
    yield from _environments()


def _of_parameter(kind: str, verb: str, parameter: Any) -> Iterator[Case]:
    values, edges = _values(parameter)
    given, option = COMMANDS[verb], max(parameter.opts, key=len)
    if option.startswith("-"):
        given = _without(given, parameter)
    names = (option, *(parameter.name.replace("_", between) for between in "_- "))
    if parameter.name == "engines":
        names = (*names, "contender")
    names = (*names, *(name.removesuffix("s") for name in names))
    for value in (*values, *edges):
        if any(
            value in right[1:] and (right[0] == option or right[:2] == (verb, option))
            for right in _RIGHT
        ):
            continue
        if (
            option in ("--output", "--html", "--placed")
            and value in _INPUTS
            and _INPUTS[value] not in given
        ):
            continue
        strict = value not in edges
        # Where a number at an edge is too small, something else may be at fault.
        about = (*names, *_shown(value)) if strict else ()
        name = f"{verb} {option}={value!r}"[:80]
        if parameter.param_type_name == "argument":
            if value in edges:
                continue
            rest = given[1:] if given and not given[0].startswith("-") else given
            command = (verb, *rest, "--", value)
        elif parameter.nargs == 1:
            command = (verb, *given, f"{option}={value}")
        else:
            command = (verb, *given, option, "0", value)
        if strict or verb not in LONG:
            yield Case(kind, name, command, strict, None, about)
    if parameter.param_type_name != "argument":
        yield Case(kind, f"{verb} {option} without a value", (verb, *given, option), True, None,
                   tuple(parameter.opts))  # fmt: skip


def _without(given: list[str], parameter: Any) -> list[str]:
    """Arguments without an option, which may be given only once, and its values."""
    place = next((n for n, each in enumerate(given) if each in parameter.opts), len(given))
    return given[:place] + given[place + 1 + parameter.nargs :]


def _values(parameter: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Bad values of a parameter, and those that may be right."""
    option = max(parameter.opts, key=len)
    annotation = parameter.type_descriptor.annotation
    kind = annotation if annotation in _BAD else float
    bad = _BY_OPTION.get(option, _BAD[kind])
    return (*bad, *_MORE.get(option, ())), _EDGES.get(kind, ())


def _shown(value: str) -> tuple[str, ...]:
    """How a message may show a value, or the folder of one that is a path."""
    folder = str(Path(value).parent)
    shown = (value, printable(value), ascii(value)[1:-1], str(Path(value)), folder)
    return (f" {Path(value)}:", "''", *(text[:20] for text in shown if len(text) > 1))


def _architectures() -> Iterator[Case]:
    """Bad fields of the settings that only one family has."""
    for family, settings in _ARCHITECTURES.items():
        command = ("train", *COMMANDS["train"], "--model", family)
        for place, changed in mutated(settings):
            text = json.dumps(changed)
            yield Case(
                "fields of --architecture", f"{family} {place}"[:80],
                (*command, "--architecture", text), False, None,
                ("architecture", "diverge", "memory"),
            )  # fmt: skip
    for text in ("{", "[]", "null", "1", '"x"', "[" * 9999, '{"a":' * 999, "{'hidden': 1}"):
        yield Case("fields of --architecture", f"train --architecture {text[:20]}",
                   ("train", *COMMANDS["train"], f"--architecture={text}"), True, None,
                   ("architecture",))  # fmt: skip


def _environments() -> Iterator[Case]:
    """Bad values of variables that this package, or what it stands on, reads."""
    for variable, values in _VARIABLES.items():
        verbs = ("train",) if variable in _DISTRIBUTED else ("verify", "train", "export", "plot")
        around = _DISTRIBUTED if variable in _DISTRIBUTED else {}
        for verb in verbs:
            command = list(COMMANDS[verb])
            if verb == "verify":
                command[command.index("reference")] = "reference,fast"
            for value in values:
                name = f"{verb}, {variable}={value!r}"[:80]
                yield Case("variables of the environment", name, (verb, *command), False, None, (),
                           {**around, variable: value})  # fmt: skip
