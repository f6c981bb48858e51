"""``inspect``: what an export holds and what is proved of it; what a float model holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.data_options import DataOptions, reads_images
from pvae_neuro.cli.shared.options import Json, OptionalInput, Quiet, Samples
from pvae_neuro.cli.shared.support import (
    check_run,
    console,
    guarded,
    plain_table,
    say,
    write_json,
)
from pvae_neuro.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from pvae_neuro.artifact import Artifact
    from pvae_neuro.network import Connection, IntegerNetwork, Population

STEPS, SEED = 32, 0


@guarded
@reads_images
def inspect(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="model.onnx, model.safetensors or a shipped name."),
    ],
    data: DataOptions,
    program: Annotated[
        bool,
        typer.Option("--program", help="Print the listing: programs, connections, schedule."),
    ] = False,
    by_hop: Annotated[
        bool,
        typer.Option(
            "--loss-by-hop",
            help="Run the export in real numbers, one program rounded at a time: which loses most.",
        ),
    ] = False,
    float_model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="With --loss-by-hop: the float model of the export, for the loss of its weights.",
            show_default=False,
        ),
    ] = None,
    input: OptionalInput = None,
    samples: Samples = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", "-t", help="Iterations.  [default: 32]", show_default=False),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", "-s", help="Key of the random words.  [default: 0]", show_default=False
        ),
    ] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Show populations, scales and certificate of an export, or the arrays of a float model.

    With --loss-by-hop, --input (by default the shipped digits), --samples, --steps and --seed say
    what the export is run on.
    """
    from pvae_neuro.saved.shipped import model_path

    path = model_path(model)
    if path.suffix not in _KINDS:
        raise InputError(f"{path}: expected a model.onnx or a model.safetensors")
    if not by_hop:
        _refuse_alone({
            "input": input, "samples": samples, "steps": steps, "seed": seed,
            "model": float_model, **vars(data),
        })  # fmt: skip
        _KINDS[path.suffix](path, program, json, console(json, quiet))
        return
    if path.suffix != ".onnx" or program:
        raise InputError(
            f"--loss-by-hop: expected an export, model.onnx, without --program: {path}"
        )
    shown = Shown(
        input, data, samples, STEPS if steps is None else steps, SEED if seed is None else seed
    )
    check_run(shown.steps, shown.seed)
    _show_losses(path, float_model, shown, json, quiet)


@dataclass(frozen=True)
class Shown:
    """What an export is run on."""

    source: str | None
    data: DataOptions
    samples: int | None
    steps: int
    seed: int


def _refuse_alone(given: dict[str, object]) -> None:
    """Refuse options that say what is run, where nothing is; all that is read is under a limit."""
    for name, value in given.items():
        if value is not None and name != "max_memory":
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: nothing is run; expected it with --loss-by-hop")


def _show_losses(
    path: Path, float_model: Path | None, shown: Shown, json: Path | None, quiet: bool
) -> None:
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.inputs import check_pair, read_known, read_model
    from pvae_neuro.cli.shared.progress import single
    from pvae_neuro.cli.shared.tables import loss_table
    from pvae_neuro.verification.loss_by_hop import loss_by_hop, number_of_runs

    network = load_artifact(path).network
    saved = None if float_model is None else read_model(float_model, quiet)
    if saved is not None:
        check_pair(network, saved)
    images = read_known(
        "--input", shown.source, network, shown.data, samples=shown.samples, quiet=quiet
    )
    work = number_of_runs(network, saved) * shown.steps * len(images)
    with single("loss by hop", work, quiet) as advance:
        found = loss_by_hop(
            network, images, saved, steps=shown.steps, seed=shown.seed, progress=advance
        )
    write_json(json, found.to_dict())
    out = console(json, quiet)
    out.print(loss_table(found))
    say(out, f"loses most by itself: {found.worst}")
    if saved is None:
        say(out, "the loss of weights and constants is left out: no float model was given")


def _show_artifact(path: Path, program: bool, json: Path | None, out: Console) -> None:
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.tables import certificate_table, choices_table, network_table
    from pvae_neuro.exporters.certify import examine
    from pvae_neuro.network import listing

    artifact = load_artifact(path)
    network = artifact.network
    if program:
        write_json(json, {**_description(artifact), "listing": listing(network)})
        say(out, listing(network).rstrip())
        return
    certificate = examine(network)
    write_json(json, {**_description(artifact), "certificate": certificate.to_dict()})
    out.print(network_table(network))
    out.print(certificate_table(certificate))
    for sampler in certificate.samplers:
        say(
            out,
            f"  {sampler.population}: total variation {sampler.total_variation:.1e} from "
            f"{sampler.law}, exact, the largest over every rate",
        )
    out.print(choices_table(network))
    say(out, f"{path}: sha256 {artifact.sha256}, program_hash {artifact.program_hash}")


def _show_model(path: Path, program: bool, json: Path | None, out: Console) -> None:
    from pvae_neuro.cli.shared.inputs import read_model
    from pvae_neuro.utils.digest import file_sha256

    if program:
        raise InputError(f"--program: {path} is a float model; export it to get a program")
    model = read_model(path)
    arrays: list[dict[str, Any]] = [
        {
            "name": name, "shape": list(array.shape), "dtype": array.dtype.name,
            "low": float(array.min()), "mean": float(array.mean(dtype=float)),
            "high": float(array.max()), "zeros": float((array == 0).mean()),
        }
        for name, array in sorted(model.arrays.items())
        if array.size
    ]  # fmt: skip
    sha256 = file_sha256(path)
    config = model.config.model_dump(mode="json")
    write_json(
        json,
        {"sha256": sha256, "parameters": model.parameter_count, **config, "arrays": arrays},
    )
    table = plain_table(
        f"{config.pop('family')}: {model.parameter_count:,} parameters",
        "array", "shape", "type", "lowest", "mean", "highest", "zeros", right=(3, 4, 5, 6),
    )  # fmt: skip
    for row in arrays:
        shape = " × ".join(map(str, row["shape"])) or "1"
        numbers = (f"{row[key]:.4g}" for key in ("low", "mean", "high"))
        zeros = f"{100 * row['zeros']:.1f} %"
        table.add_row(row["name"], shape, row["dtype"], *numbers, zeros)
    out.print(table)
    table = plain_table("configuration", "name", "value")
    training = config.pop("training")
    for name, value in {
        **config,
        **{f"training: {name}": v for name, v in training.items()},
    }.items():
        table.add_row(name, str(value))
    out.print(table)
    say(out, f"{path}: sha256 {sha256}")


# How a file is shown, by its ending.
_KINDS = {".onnx": _show_artifact, ".safetensors": _show_model}


def _description(artifact: Artifact) -> dict[str, Any]:
    network = artifact.network
    return {
        "sha256": artifact.sha256,
        "program_hash": artifact.program_hash,
        "topology": network.name,
        "family": network.family,
        "input": asdict(network.input),
        "populations": [_population(network, p) for p in network.populations],
        "connections": [_connection(c) for c in network.connections],
        "iteration": [str(activation) for activation in network.iteration],
        "final": [str(activation) for activation in network.final],
        "choices": [asdict(choice) for choice in network.choices],
        "measurements": asdict(network.measurements),
    }


def _population(network: IntegerNetwork, p: Population) -> dict[str, Any]:
    bounds = network.ranges.variables
    return {
        "name": p.name,
        "neurons": p.size,
        "variables": [
            {
                "name": v.name,
                "bits": v.bits,
                "low": bounds[f"{p.name}.{v.name}"].smallest,
                "high": bounds[f"{p.name}.{v.name}"].largest,
            }
            for v in p.variables
        ],
        "programs": [program.name for program in p.programs],
        "sampler": None if p.sampler is None else asdict(p.sampler),
    }


def _connection(c: Connection) -> dict[str, Any]:
    return {
        "name": c.name,
        "kind": c.kind,
        "source": f"{c.source}.{c.variable}",
        "target": f"{c.target}.{c.received_as}",
        "shape": list(c.weight.shape),
        "exponent": c.exponent,
        "weights_of": None if c.shared is None else c.shared.connection,
    }
