"""``inspect``: what an exported network holds, and what is proved of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.options import ArtifactFile, Json, Quiet
from pvae_neuro.cli.shared.support import console, guarded, say, write_json

if TYPE_CHECKING:
    from pvae_neuro.artifact import Artifact
    from pvae_neuro.network import Connection, IntegerNetwork, Population


@guarded
def inspect(
    model: ArtifactFile,
    program: Annotated[
        bool,
        typer.Option("--program", help="Print the listing: programs, connections, schedule."),
    ] = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Show populations, connections, scales, certificate and hash of an export."""
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.tables import certificate_table, choices_table, network_table
    from pvae_neuro.exporters.certify import examine
    from pvae_neuro.network import listing

    artifact = load_artifact(model)
    network = artifact.network
    out = console(json, quiet)
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
    say(out, f"{model}: sha256 {artifact.sha256}")


def _description(artifact: Artifact) -> dict[str, Any]:
    network = artifact.network
    return {
        "sha256": artifact.sha256,
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
