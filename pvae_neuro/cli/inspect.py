"""``inspect``: what an export holds and what is proved of it; what a float model holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.options import Json, MaxMemory, Quiet, memory_of
from pvae_neuro.cli.shared.support import console, guarded, plain_table, say, write_json
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import memory_limit

if TYPE_CHECKING:
    from rich.console import Console

    from pvae_neuro.artifact import Artifact
    from pvae_neuro.network import Connection, IntegerNetwork, Population


@guarded
def inspect(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="model.onnx, model.safetensors or a shipped name."),
    ],
    program: Annotated[
        bool,
        typer.Option("--program", help="Print the listing: programs, connections, schedule."),
    ] = False,
    max_memory: MaxMemory = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Show populations, scales and certificate of an export, or the arrays of a float model."""
    from pvae_neuro.saved.shipped import model_path

    path = model_path(model)
    if path.suffix not in _KINDS:
        raise InputError(f"{path}: expected a model.onnx or a model.safetensors")
    with memory_limit(memory_of(max_memory)):
        _KINDS[path.suffix](path, program, json, console(json, quiet))


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
            f"  {sampler.population}: total variation {sampler.total_variation:.1e} from Poisson, "
            f"exact, the largest over every rate",
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
