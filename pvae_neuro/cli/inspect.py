"""``inspect``: what an exported network holds, and what is proved of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvae_neuro.cli.shared.options import ArtifactFile, Json, Quiet
from pvae_neuro.cli.shared.support import check_outputs, console, guarded, say, write_json

if TYPE_CHECKING:
    from pvae_neuro.artifact import Artifact


@guarded
def inspect(model: ArtifactFile, json: Json = None, quiet: Quiet = False) -> None:
    """Show layers, widths, scales, certificate and hash of an export."""
    check_outputs(json)
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.cli.shared.tables import certificate_table, choices_table, network_table
    from pvae_neuro.exporters.certify import examine

    artifact = load_artifact(model)
    certificate = examine(artifact.network)
    write_json(json, {**_description(artifact), "certificate": certificate.to_dict()})
    out = console(json, quiet)
    out.print(network_table(artifact.network))
    out.print(certificate_table(certificate))
    out.print(
        f"  sampler: total variation {certificate.total_variation:.1e} from Poisson, exact, "
        f"largest over every rate"
    )
    out.print(choices_table(artifact.network))
    say(out, f"{model}: sha256 {artifact.sha256}")


def _description(artifact: Artifact) -> dict[str, Any]:
    network = artifact.network
    latents, source = network.latents, network.input
    return {
        "sha256": artifact.sha256,
        "topology": network.topology,
        "input": {
            "pixels": source.pixels, "low": source.low, "high": source.high,
            "frac_bits": source.frac_bits, "image_shape": source.image_shape,
        },
        "potential": {
            "frac_bits": latents.frac_bits, "u_min": latents.u_min, "u_max": latents.u_max,
            "max_count": latents.table.max_count, "table_bytes": latents.table.size_bytes,
        },
        "populations": [{"name": p.name, "neurons": p.size} for p in network.populations],
        "connections": [
            {
                "name": c.name, "source": c.source, "target": c.target,
                "shape": list(c.weight.shape), "bits": c.bits, "exponent": c.exponent,
            }
            for c in network.connections
        ],
        "choices": [{"name": c.name, "value": c.value, "why": c.why} for c in network.choices],
    }  # fmt: skip
