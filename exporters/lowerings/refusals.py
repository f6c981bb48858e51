"""Families of models that have no circuit of integers, and why.

A family has one line in ``REASONS`` where there is more to say than that.
"""

from __future__ import annotations

from pvae_neuro.exporters.lowerings.chain.kinds import NODES

_CHAINS = f"(chains of {', '.join(NODES)} nodes can be exported: gpc-chain)"

REASONS = {
    "gpc-vae": (
        f"its latents are draws of normals with learned variances, and no word operation makes one "
        f"of a random word {_CHAINS}"
    ),
    "gpc-classifier": (
        f"its nodes hand on tanh and an exact softmax, for which there are no neurons {_CHAINS}"
    ),
    "gpc-language": (
        f"its attention multiplies two populations that both vary, which is no connection, and "
        f"LayerNorm divides {_CHAINS}"
    ),
}


def reason_of(family: str) -> str:
    """Why models of a family stay float models."""
    return REASONS.get(family, "no circuit of integers computes what it does")
