"""What experiments must know of models: names, colours, and how often to iterate."""

from __future__ import annotations

from pvae_neuro.models.registry import model_class

SHIPPED = "shipped model"
"""Name of the rows of the model that comes with the package."""

AVERAGED = {"quick": 4, "hour": 16}
"""Last iterations over which samples are averaged for a regression, by budget."""

COLORS = {
    "ipvae-linear": "#c2410c",
    "ipvae-mlp": "#c2410c",
    "ipvae-conv": "#c2410c",
    "ipvae-fully-conv": "#c2410c",
    "ipvae-hierarchical": "#c2410c",
    "igvae": "#2563a8",
    "igvae-relu": "#0f9488",
    "igvae-natural": "#2563a8",
    "pvae-linear": "#d9a006",
    "pvae-mlp": "#d9a006",
    "pvae-conv": "#d9a006",
    "pvae-residual": "#d9a006",
    "gvae-linear": "#7b8794",
    "gvae-mlp": "#7b8794",
    "gvae-conv": "#7b8794",
    "gvae-residual": "#7b8794",
    "pc": "#8b5fbf",
    "ipc": "#b83280",
    "gpc-vae": "#0e7490",
    "gpc-chain": "#0e7490",
    "lca": "#3f7d20",
    "savae": "#5d4037",
    "iavae": "#d16ba5",
}


def is_amortized(family: str) -> bool:
    """Whether inference is one pass, so that further iterations only sample again."""
    return model_class(family).one_pass


def iterations_of(family: str, steps: int) -> int:
    """Iterations to infer with: ``steps``, or one where inference is one pass."""
    return 1 if is_amortized(family) else steps
