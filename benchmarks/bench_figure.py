"""Figure of a benchmark: cost per image and iteration against size and against activity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvae_neuro.bench.run import BenchResult, CaseResult
from pvae_neuro.bench.timing import Spread
from pvae_neuro.utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#2d3748"
_COLORS = {
    "fast": "#dd6b20", "fast-bare": "#dd6b20", "reference": "#718096", "onnx": "#805ad5",
    "pytorch": "#2b6cb0", "pytorch-bare": "#2b6cb0", "pytorch-compiled": "#4299e1",
    "pytorch-bare-compiled": "#4299e1", "snntorch": "#319795", "norse": "#38a169",
    "lava-stock": "#c53030", "lava": "#97266d", "lava-batch": "#d53f8c",
}  # fmt: skip
_DASHED = ("fast-bare", "pytorch-bare", "pytorch-bare-compiled", "lava-stock")
_FIGURE_WIDTH, _ROW_HEIGHT, _LEGEND_WIDTH = 9.0, 3.4, 1.6
_MIDDLE_ACTIVITY = 0.12
# Of logarithmic axes, as a factor.
_MARGIN = 1.4


def figure(result: BenchResult, batch: int | None = None) -> Figure:
    """A row of two panels for each topology, of synthetic cases; the largest batch by default."""
    from matplotlib.figure import Figure

    cases = [c for c in result.cases if c.case.model is None]
    chosen = batch or max((len(c.case.images) for c in cases), default=0)
    threads = max((c.case.threads for c in cases), default=0)
    cases = [c for c in cases if len(c.case.images) == chosen and c.case.threads == threads]
    if not cases:
        raise SystemExit(f"figure: expected synthetic cases of batch {chosen}, got none")
    topologies = list(dict.fromkeys(c.case.network.name for c in cases))
    drawn = Figure(
        figsize=(_FIGURE_WIDTH + _LEGEND_WIDTH, _ROW_HEIGHT * len(topologies) + 0.4),
        layout="constrained",
    )
    axes = drawn.subplots(len(topologies), 2, squeeze=False)
    for row, topology in zip(axes, topologies, strict=True):
        _draw_row(row[0], row[1], [c for c in cases if c.case.network.name == topology])
    _legend(drawn, axes.ravel().tolist())
    plural = "s" * (threads > 1)
    title = f"{result.to_dict()['machine']['processor']}; batch {chosen}, {threads} thread{plural}"
    drawn.suptitle(title, fontsize=10, color=INK)
    return drawn


def _draw_row(left: Axes, right: Axes, cases: list[CaseResult]) -> None:
    activity = _nearest([c.case.activity_target or 0.0 for c in cases], _MIDDLE_ACTIVITY)
    sizes = sorted({c.case.latents for c in cases})
    middle = sizes[len(sizes) // 2]
    topology = cases[0].case.network.name
    _draw(left, [c for c in cases if c.case.activity_target == activity], lambda c: c.case.latents)
    _label(left, "latents K", f"{topology}, {100 * activity:g} % active")
    left.set_xticks(sizes, [f"{size}" for size in sizes])
    _draw(right, [c for c in cases if c.case.latents == middle], lambda c: 100 * c.case.activity)
    _label(right, "active neurons, %", f"{topology}, K = {middle}")
    shares = sorted({100 * (c.case.activity_target or 0.0) for c in cases})
    right.set_xticks(shares, [f"{share:g}" for share in shares])
    for ax in (left, right):
        ax.minorticks_off()


def _nearest(values: list[float], wanted: float) -> float:
    return min(values, key=lambda value: abs(value - wanted))


def _draw(ax: Axes, cases: list[CaseResult], place: Callable[[CaseResult], float]) -> None:
    """Lines of medians with bars from quartile to quartile; both axes logarithmic."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    seen: list[tuple[float, Spread]] = []
    for engine, color in _COLORS.items():
        found = [(place(c), m.microseconds) for c in cases if (m := c.measurement(engine))]
        if not found:
            continue
        found.sort(key=lambda item: item[0])
        seen += found
        x, spreads = [item[0] for item in found], [item[1] for item in found]
        below = [s.median - s.q25 for s in spreads]
        above = [s.q75 - s.median for s in spreads]
        ax.errorbar(
            x, [s.median for s in spreads], yerr=[below, above], label=engine, lw=1.6, marker="o",
            ms=3.5, color=color, ls="--" if engine in _DASHED else "-",
        )  # fmt: skip
    if seen:
        places = [item[0] for item in seen]
        ax.set_xlim(min(places) / _MARGIN, max(places) * _MARGIN)
        lowest, highest = min(s.q25 for _, s in seen), max(s.q75 for _, s in seen)
        ax.set_ylim(lowest / _MARGIN, highest * _MARGIN)


def _label(ax: Axes, xlabel: str, title: str) -> None:
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel("µs per image and iteration", fontsize=9, color=INK)
    ax.set_title(title, fontsize=10, color=INK, loc="left")
    ax.tick_params(labelsize=8, colors=INK)
    ax.grid(axis="y", lw=0.4, alpha=0.5)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _legend(drawn: Figure, axes: list[Axes]) -> None:
    labels: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            labels.setdefault(label, handle)
    drawn.legend(
        list(labels.values()), list(labels), loc="outside right center", frameon=False, fontsize=9
    )


def save_figure(result: BenchResult, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure(result).savefig(temporary, dpi=150)
