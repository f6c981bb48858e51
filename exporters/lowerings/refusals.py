"""Families of models that have no circuit of integers, and why.

A family has one line in ``REASONS`` where there is more to say than that.
"""

from __future__ import annotations

from pvae_neuro.exporters.lowerings.chain.kinds import NODES

_CHAINS = f"(chains of {', '.join(NODES)} nodes can be exported: gpc-chain)"

_NORMAL = "its latents are draws of normals, and no word operation makes one of a random word"
_RESIDUAL = "its networks normalize (LayerNorm) and gate channels, for which there are no neurons"

REASONS = {
    "igvae": _NORMAL,
    "igvae-relu": _NORMAL,
    "igvae-natural": _NORMAL,
    "gvae-linear": _NORMAL,
    "gvae-mlp": _NORMAL,
    "gvae-conv": _NORMAL,
    "gvae-residual": _NORMAL,
    "savae": _NORMAL,
    "iavae": _NORMAL,
    "pvae-residual": _RESIDUAL,
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
