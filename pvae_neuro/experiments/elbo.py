"""Evidence bounds and active latents of linear VAEs on MNIST (arXiv:2405.14473, tables 2 and 4).

A Poisson VAE and a Gaussian one, both with a linear encoder and a linear decoder without biases and
512 latents, learn MNIST. Read of exact samples of the test digits: the squared error summed over
pixels plus the KL divergence, which is the negative evidence bound of an observation noise of
variance one half; and the share of latents that are active, those whose KL divergence, averaged
over the digits, exceeds .01 nats (Poisson) or .1 nats (Gaussian), as the authors set it by hand.
A Gaussian VAE prunes nearly all latents; a Poisson one keeps half.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from pvae_neuro.data import Images
from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.measures.codes import codes_along
from pvae_neuro.evaluation.measures.divergence import active_latents, summed_nelbo
from pvae_neuro.experiments.shared import published
from pvae_neuro.experiments.shared.claims import Bar, Claim, at_least, at_most
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import color_of, label_axes, legend_below
from pvae_neuro.models.registry import model_class
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.training.train import recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = [
    Column("nelbo", "squared error + KL, nats", ".1f"),
    Column("error", "squared error", ".1f"),
    Column("kl", "KL, nats", ".1f"),
    Column("active", "active latents", ".3f"),
    Column("zeros", "zeros", ".3f"),
]

# Recipe of the authors' code for linear decoders (main/config_vae.py, default_configs), but for
# its epochs, 400, and for the first hundredth of them, in which its KL weight stays at 1e-4. Its
# encoders start at a scale of .05 too, ours as torch's layers do, at .02.
_RECIPE: dict[str, Any] = {
    "latents": 512, "steps": 1, "beta": 1.0, "beta_start": 1e-4, "beta_anneal": 0.5,
    "batch_size": 100, "learning_rate": 2e-3, "warm_up": 0.0125, "weight_decay": 3e-4,
    "gradient_clip": 1000.0, "init_scale": 0.05,
}  # fmt: skip
_RELAXED: dict[str, Any] = {
    "temperature": 1.0,
    "final_temperature": 0.05,
    "temperature_anneal": 0.5,
    "max_arrivals": 64,
}


@dataclass(frozen=True)
class Way:
    """A family, and how gradients pass its samples."""

    family: str
    settings: dict[str, Any]


WAYS = {
    "Poisson, exact": Way(
        "pvae-linear", {"architecture": {"estimator": "exact", "first_log_rates": (-6.0, -4.0)}}
    ),
    "Poisson, relaxed": Way(
        "pvae-linear",
        {"architecture": {"estimator": "relaxed", "first_log_rates": (-6.0, -4.0)}, **_RELAXED},
    ),
    "Poisson, straight-through": Way(
        "pvae-linear",
        {"architecture": {"estimator": "straight-through", "first_log_rates": (-6.0, -4.0)}},
    ),
    "Gaussian": Way("gvae-linear", {"architecture": {"log_sigma_bound": 5.3}}),
}
"""By the name of the row."""

_LARGEST_RATIO = 1.05
"""Of our bound to the published one."""

POISSON, GAUSSIAN = "Poisson, relaxed", "Gaussian"
_PROTOCOL = (
    "linear encoder and decoder, K = 512, exact samples of all test digits; squared error summed "
    "over pixels + KL"
)


def _slug(way: str) -> str:
    return way.lower().replace(", ", "-")


def _nelbo(way: str) -> Claim:
    theirs = published.ELBO[way]["nelbo"]
    return Claim(
        f"nelbo-{_slug(way)}",
        "pvae",
        f"Negative evidence bound on MNIST: {way}",
        f"{theirs:g}",
        _PROTOCOL,
        at_most(f"{way}: nelbo", round(_LARGEST_RATIO * theirs, 1), form=".1f"),
        "hour",
    )


def _active(way: str, statement: str, bar: Bar) -> Claim:
    return Claim(
        f"active-{_slug(way)}",
        "pvae",
        statement,
        f"{published.ELBO[way]['active']:g}",
        f"KL above {model_class(WAYS[way].family).active_threshold:g} nats, averaged over the test "
        f"digits; linear encoder and decoder, K = 512",
        bar,
        "hour",
    )


CLAIMS = (
    *map(_nelbo, WAYS),
    _active(POISSON, "A Poisson VAE keeps many latents active",
            at_least(f"{POISSON}: active", 0.4, form=".3f")),
    _active(GAUSSIAN, "A Gaussian VAE prunes nearly all latents",
            at_most(f"{GAUSSIAN}: active", 0.05, form=".3f")),
)  # fmt: skip


def run(context: Context) -> ExperimentResult:
    """Train the VAEs and read bounds and active latents."""
    digits = context.images("mnist", "test", context.pick(2_000, hour=None))
    rows = []
    for i, (name, way) in enumerate(WAYS.items()):
        context.progress(f"train {name}", i, len(WAYS))
        model = _train(context, way)
        figures = _measure(context, name, model, digits)
        budgets = budget_of(model), "400 epochs, five seeds"
        rows.append(Row(name, figures, published.ELBO[name], *budgets))
    return ExperimentResult(
        "elbo",
        "Evidence bounds and active latents of linear VAEs",
        _COLUMNS,
        rows,
        _draw,
        {row.name: row.figures for row in rows},
        notes=_notes(context),
    )


def _train(context: Context, way: Way) -> SavedModel:
    config = recipe(
        way.family, **{**_RECIPE, **way.settings}, seed=context.seed,
        epochs=context.pick(2, hour=60, published=400),
    )  # fmt: skip
    images = context.images("mnist", "train", context.pick(10_000, hour=None))
    return context.trained(f"mnist-{way.family}-k{config.latents}", images, config)


def _measure(context: Context, name: str, model: SavedModel, digits: Images) -> dict[str, float]:
    def compute() -> dict[str, Any]:
        found = codes_along(model, digits.pixels, (1,), context.seed, progress=False)[1]
        if found.kl is None:
            raise InputError(f"{name}: expected a family with a KL divergence")
        threshold = model_class(model.config.family).active_threshold
        return {
            "nelbo": float(summed_nelbo(found.error.mean(), found.kl)),
            "error": float(found.error.mean()),
            "kl": float(found.kl.sum()),
            "active": active_latents(found.kl, threshold),
            "zeros": float((found.z == 0).mean()),
        }

    return context.cached(name, model, compute, digits=len(digits.pixels))


def _notes(context: Context) -> list[str]:
    return [
        "All ways of a Poisson VAE have one objective; they differ in how gradients pass its "
        "counts. The exact way needs no samples, because the decoder is linear. The published "
        "share of active latents is of the relaxed way.",
        "Thresholds of activity, .01 and .1 nats, are the authors'; they differ by family.",
        *context.pick(["Quick version: 2 epochs on 10,000 digits, 2,000 test digits."], hour=[]),
    ]


def _draw(figure: Figure, seeds: list[dict[str, dict[str, float]]]) -> None:
    axes = figure.subplots(1, 2)
    titles = {"nelbo": "squared error + KL, nats", "active": "active latents"}
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        _draw_bars(ax, key, title, seeds)
    legend_below(figure, list(axes), columns=2)


def _draw_bars(ax: Axes, key: str, title: str, seeds: list[dict[str, dict[str, float]]]) -> None:
    for place, (name, way) in enumerate(WAYS.items()):
        values = [seed[name][key] for seed in seeds]
        spread = stdev(values) if len(values) > 1 else None
        ax.barh(place, fmean(values), xerr=spread, color=color_of(way.family), height=0.6)
        if key in published.ELBO[name]:
            ax.plot(published.ELBO[name][key], place, "o", mfc="white", mec="black",
                    label="published")  # fmt: skip
    ax.set_yticks(range(len(WAYS)), list(WAYS))
    ax.invert_yaxis()
    label_axes(ax, title, "")
