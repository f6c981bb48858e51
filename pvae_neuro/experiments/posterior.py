"""How well posteriors know what they do not know: coverage of the true pixel by their bands.

Each model infers test digits. Of samples of its posterior, each decoded, the central band of a
level is asked whether it holds the true pixel: of the latents' uncertainty alone, and with the
variance that the model gives its pixels. A posterior that is right covers a level exactly; the gap
is the distance from it, averaged over levels. The width says at what price: a band may cover by
being wide.

Then noise is added to the digits. A posterior that knows what it does not know is wider where the
error, against the digit without noise, is larger; the growth of both is compared.

Counts are samples of the posterior, so a spiking network has such bands for nothing: those of the
integers of the shipped model stand beside. Ink is judged
apart, since most pixels of digits are background in every image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.artifact import program_hash
from pvae_neuro.evaluation.measures.calibration import coverage, places_in_samples
from pvae_neuro.evaluation.measures.codes import posterior_reconstructions
from pvae_neuro.experiments.shared.claims import Claim, at_least, at_most
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.families import SHIPPED, iterations_of
from pvae_neuro.experiments.shared.integers import integers_of
from pvae_neuro.experiments.shared.noise import noisy
from pvae_neuro.experiments.shared.recipes import mnist_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import band, color_of, label_axes, legend_below
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.plots.style import GUIDE
from pvae_neuro.saved.model_file import LINEAR_FAMILY, Float32, SavedModel
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.sim.readout import reconstruct
from pvae_neuro.zoo import load_pretrained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INTEGERS = "shipped model in integers"
NOISE = 0.3
"""Standard deviation of the noise that corrupts digits; pixels lie in [0, 1]."""

LARGEST_GAP = 0.02
"""How far coverage by integers may lie from that by the float model, at any level."""

_DIGITS_PER_BLOCK = 50
PAIRS = {"iterative": (LINEAR_FAMILY, "igvae"), "one pass": ("pvae-linear", "gvae-linear")}
"""A Poisson and a Gaussian family with the same decoder, by their kind of inference."""

LEVELS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))
_COLUMNS = [
    Column("gap", "gap, latents alone", ".3f"),
    Column("gap_observed", "gap, with the variance of pixels", ".3f"),
    Column("gap_ink", "gap on ink, with it", ".3f"),
    Column("covered", "coverage of 90 %, latents alone", ".3f"),
    Column("covered_observed", "coverage of 90 %, with it", ".3f"),
    Column("width", "sd of a pixel, latents alone", ".4f"),
    Column("width_observed", "sd of a pixel, with it", ".4f"),
    Column("error", "root of the mean squared error of a pixel", ".4f"),
    Column("width_noisy", f"sd of a pixel under noise {NOISE:g}, latents alone", ".4f"),
    Column("error_noisy", "error of a pixel under noise, against the clean digit", ".4f"),
    Column("grown", "growth of the sd under noise", ".3f"),
]


@dataclass(frozen=True)
class Subject:
    """A trained model under a name."""

    name: str
    family: str
    model: SavedModel

    network: IntegerNetwork | None = None
    """The integers that are sampled in the place of the float model."""


def _claim(key: str, kind: str, column: str, statement: str) -> Claim:
    poisson, gaussian = PAIRS[kind]
    return Claim(
        f"{key}-{kind.replace(' ', '-')}",
        "beyond",
        f"{statement} ({kind} inference: {poisson} against {gaussian})",
        "not published",
        "MNIST test digits; bands of 10 to 90 % of sampled reconstructions, gap averaged over them",
        at_most(f"{poisson}: {column}", f"{gaussian}: {column}", form=".3f"),
        "hour",
    )


_NOISY = (
    f"MNIST test digits with normal noise of sd {NOISE:g}, clipped to [0, 1]; mean sd of a pixel "
    "over sampled reconstructions, divided by that without noise"
)
CLAIMS = (
    *(claim
    for kind in PAIRS
    for claim in (
        _claim("latents", kind, "gap", "Bands of counts cover the true pixel better"),
        _claim(
            "observed", kind, "gap_observed",
            "With the variance of pixels, bands of counts cover the true pixel better",
        ),
        _claim("ink", kind, "gap_ink", "Bands of counts cover the true pixel of ink better"),
    )),
    *(
        Claim(
            f"grows-{name}",
            "beyond",
            f"The posterior of {name} is wider where noise corrupts the image",
            "not published",
            _NOISY,
            at_least(f"{name}: grown", 1.0, form=".3f"),
            "hour",
        )
        for name in (*(pair[0] for pair in PAIRS.values()), SHIPPED, INTEGERS)
    ),
    Claim(
        "integers",
        "beyond",
        "With the variance of pixels, counts of integers cover the true pixel as floats do",
        "not published",
        "MNIST test digits; lateral circuit, words of its own; largest distance of coverage over "
        "levels",
        at_most("integers: distance", LARGEST_GAP, form=".4f"),
        "hour",
    ),
)  # fmt: skip


def run(context: Context) -> ExperimentResult:
    """Sample the posterior of every model, and compare its bands with their levels."""
    names = [name for pair in PAIRS.values() for name in pair]
    subjects = [Subject(name, name, mnist_model(context, name)) for name in names]
    shipped = Subject(SHIPPED, LINEAR_FAMILY, load_pretrained())
    network = integers_of(context, shipped.model, "lateral")
    subjects += [shipped, replace(shipped, name=INTEGERS, network=network)]
    found = {}
    for done, subject in enumerate(subjects):
        context.progress("sample posteriors", done, len(subjects))
        found[subject.name] = _measure(context, subject)
    rows = [
        Row(each.name, found[each.name]["figures"], {}, budget_of(each.model)) for each in subjects
    ]
    return ExperimentResult(
        "posterior",
        "Coverage of the true pixel by the posterior's band",
        _COLUMNS,
        rows,
        _draw,
        {each.name: (each.family, found[each.name]["curves"]) for each in subjects},
        {"integers: distance": _distance(found)},
        curves={name: value["curves"] for name, value in found.items()},
        notes=_notes(),
    )


def _measure(context: Context, subject: Subject) -> dict[str, Any]:
    pixels = context.images("mnist", "test", context.pick(quick=50, hour=1000)).pixels
    samples = context.pick(quick=32, hour=100)
    steps = iterations_of(subject.family, context.pick(quick=64, hour=1000))

    def compute() -> dict[str, Any]:
        model = model_from_saved(subject.model)
        draw = _sampler(context, subject, steps, samples)
        drawn, corrupted = draw(pixels), draw(noisy(pixels, NOISE, context.seed))
        noise = model.observation_variance.numpy()
        alone, observed = (places_in_samples(drawn, pixels, each) for each in (0.0, noise))
        curves = {
            "alone": coverage(alone, LEVELS),
            "observed": coverage(observed, LEVELS),
            "ink": coverage(observed[pixels > 0], LEVELS),
        }
        spread = drawn.var(axis=0, dtype=np.float64)
        mean = drawn.mean(axis=0, dtype=np.float64)
        figures = {
            "gap": _gap(curves["alone"]),
            "gap_observed": _gap(curves["observed"]),
            "gap_ink": _gap(curves["ink"]),
            "covered": curves["alone"][LEVELS[-1]],
            "covered_observed": curves["observed"][LEVELS[-1]],
            "width": float(np.sqrt(spread).mean()),
            "width_observed": float(np.sqrt(spread + noise).mean()),
            "error": _root_mean_square(pixels - mean),
            "error_noisy": _root_mean_square(pixels - corrupted.mean(axis=0, dtype=np.float64)),
            "width_noisy": float(corrupted.std(axis=0, dtype=np.float64).mean()),
        }
        figures["grown"] = figures["width_noisy"] / max(figures["width"], 1e-12)
        return {
            "figures": figures,
            "curves": {key: list(curve.values()) for key, curve in curves.items()},
        }

    return context.cached(
        subject.name, subject.model, compute, images=len(pixels), samples=samples, steps=steps,
        levels=LEVELS, noise=NOISE,
        network=None if subject.network is None else program_hash(subject.network),
    )  # fmt: skip


def _sampler(
    context: Context, subject: Subject, steps: int, samples: int
) -> Callable[[Float32], Float32]:
    """What gives reconstructions of images from samples of the posterior, [S, N, M]."""
    model, network = subject.model, subject.network
    if network is None:
        return lambda pixels: posterior_reconstructions(model, pixels, steps, samples, context.seed)
    engine, counts = fastest_engine(network), str(network.code)

    def draw(pixels: Float32) -> Float32:
        parts = []
        # Recordings hold every iteration.
        for first in range(0, len(pixels), _DIGITS_PER_BLOCK):
            run = engine.run(
                network, pixels[first : first + _DIGITS_PER_BLOCK], steps + samples - 1,
                context.seed, first_sample=first, record=[counts], progress=False,
            )  # fmt: skip
            parts.append(reconstruct(network, run.variables[counts][:, -samples:]))
        return np.concatenate(parts).swapaxes(0, 1)

    return draw


def _root_mean_square(values: NDArray[np.floating[Any]]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _distance(found: dict[str, dict[str, Any]]) -> float:
    """Largest distance of coverage by integers from that by floats, with the variance of pixels."""
    real, integers = (found[name]["curves"] for name in (SHIPPED, INTEGERS))
    return max(
        float(np.abs(np.subtract(real[key], integers[key])).max()) for key in ("observed", "ink")
    )


def _gap(covered: dict[float, float]) -> float:
    """Mean distance of coverage from its level."""
    return float(np.mean([abs(share - level) for level, share in covered.items()]))


def _notes() -> list[str]:
    return [
        "Samples are those of successive iterations: an encoder draws each afresh, iterative "
        "models draw about their fixed point.",
        "The variance of pixels is the one that the model learned, one half for encoders, whose "
        "squared error is a negative log-likelihood only with it.",
        "A background that integers reconstruct as exactly zero lies in the middle of its band, so "
        "that latents alone may seem to cover more than in floats.",
        "Where one variance serves all pixels, it is too wide for background and decides the gap "
        "over all pixels; hence ink apart.",
    ]


def _draw(figure: Figure, seeds: list[dict[str, tuple[str, dict[str, list[float]]]]]) -> None:
    axes = figure.subplots(1, 3, sharey=True)
    panels = {
        "alone": "latents alone",
        "observed": "with the variance of pixels",
        "ink": "the same, ink",
    }
    for ax, (key, title) in zip(axes, panels.items(), strict=True):
        for name, (family, _) in seeds[0].items():
            curves = [found[name][1][key] for found in seeds]
            _draw_curve(ax, name, family, curves)
        ax.plot([0, 1], [0, 1], color=GUIDE, lw=1, label="right")
        label_axes(ax, "level of the band", "coverage" if ax is axes[0] else "", title)
    axes[0].set_xlim(0, 1)
    axes[0].set_ylim(0, 1)
    legend_below(figure, list(axes), columns=6)


def _draw_curve(
    ax: Axes, name: str, family: str, curves: Sequence[Sequence[float] | NDArray[np.float64]]
) -> None:
    style = {
        SHIPPED: {"ls": "--", "marker": "*", "ms": 6},
        INTEGERS: {"ls": ":", "marker": "+", "ms": 6},
    }.get(name, {"marker": "o", "ms": 4})
    band(ax, LEVELS, curves, color=color_of(family), label=name, **style)
