"""What experiments must know of each model family: its colour, and how often to iterate."""

from __future__ import annotations

from dataclasses import dataclass

from pvae_neuro.models.registry import model_class


@dataclass(frozen=True)
class Family:
    """One model family."""

    color: str
    """In figures."""


FAMILIES = {
    "ipvae-linear": Family("#c2410c"),
    "ipvae-mlp": Family("#c2410c"),
    "ipvae-conv": Family("#c2410c"),
    "ipvae-fully-conv": Family("#c2410c"),
    "ipvae-hierarchical": Family("#c2410c"),
    "igvae": Family("#2563a8"),
    "igvae-relu": Family("#0f9488"),
    "igvae-natural": Family("#2563a8"),
    "pvae-linear": Family("#d9a006"),
    "pvae-mlp": Family("#d9a006"),
    "pvae-conv": Family("#d9a006"),
    "pvae-residual": Family("#d9a006"),
    "gvae-linear": Family("#7b8794"),
    "gvae-mlp": Family("#7b8794"),
    "gvae-conv": Family("#7b8794"),
    "gvae-residual": Family("#7b8794"),
    "pc": Family("#8b5fbf"),
    "ipc": Family("#b83280"),
    "gpc-vae": Family("#0e7490"),
    "gpc-chain": Family("#0e7490"),
    "lca": Family("#3f7d20"),
    "savae": Family("#5d4037"),
    "iavae": Family("#d16ba5"),
}


def is_amortized(family: str) -> bool:
    """Whether inference is one pass, so that further iterations only sample again."""
    return model_class(family).one_pass


def iterations_of(family: str, steps: int) -> int:
    """Iterations to infer with: ``steps``, or one where inference is one pass."""
    return 1 if is_amortized(family) else steps
