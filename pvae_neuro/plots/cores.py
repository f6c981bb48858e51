"""The cores of a board, and what lies on each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pvae_neuro.plots.style import GUIDE, INK, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pvae_neuro.placement import Core, Placement

_SIDE = 0.84
COLORS = ("#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#c53030", "#b7791f", "#319795", "#97266d")
_CHIPS_IN_A_ROW = 4
# Cells between two chips, and room for their titles.
_GAP = 2
# Free cores that are shown of a chip.
_MOST_CORES = 1024


def core_grid(placement: Placement, ax: Axes | None = None) -> Axes:
    """Draw the chips of a placement: a square for each core, filled as far as the core is.

    The colour is the population's. The filling is the share of the limit of which most is used.
    Cores are drawn in the order of their numbers; where they lie on a chip is not public.

    Parameters
    ----------
    placement : Placement
    ax : Axes, optional
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    given = ax is not None
    ax = axes(ax)
    board = placement.board
    chips = 1 + placement.cores[-1].chip
    shown = min(board.cores_per_chip, max(len(placement.cores), _MOST_CORES))
    rows = math.ceil(shown / board.columns)
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(placement.slices)}
    if not given:
        width = min(chips, _CHIPS_IN_A_ROW) * (board.columns + _GAP)
        height = math.ceil(chips / _CHIPS_IN_A_ROW) * (rows + _GAP)
        largest = 0.3 if chips == 1 else 0.15
        ax.figure.set_size_inches(1 + largest * width, 1.2 + largest * height)  # type: ignore[union-attr]

    def corner(number: int) -> tuple[float, float]:
        chip, place = divmod(number, shown)
        down, across = divmod(chip, _CHIPS_IN_A_ROW)
        y, x = divmod(place, board.columns)
        return across * (board.columns + _GAP) + x, -down * (rows + _GAP) - y

    for chip in range(chips if chips > 1 else 0):
        left, low = corner(chip * shown)
        ax.text(left, low + 1.1, f"chip {chip}", fontsize=8, color=INK)
    frames = [Rectangle(corner(number), _SIDE, _SIDE) for number in range(chips * shown)]
    ax.add_collection(PatchCollection(frames, facecolor="none", edgecolor=GUIDE, linewidth=0.6))
    for name, cores in placement.by_population.items():
        on = [frames[core.chip * shown + core.number % board.cores_per_chip] for core in cores]
        filled = [
            Rectangle(frame.get_xy(), _SIDE, _SIDE * _share(placement, core))
            for frame, core in zip(on, cores, strict=True)
        ]
        color = colors[name]
        ax.add_collection(PatchCollection(on, facecolor=color, alpha=0.25, linewidth=0))
        ax.add_collection(PatchCollection(filled, facecolor=color, linewidth=0))
    handles = [
        Rectangle((0, 0), 1, 1, color=color, label=f"{name}, {len(cores)} cores")
        for (name, cores), color in zip(
            placement.by_population.items(), colors.values(), strict=True
        )
    ]
    ax.legend(
        handles=handles, frameon=False, fontsize=8, labelcolor=INK, loc="upper left",
        bbox_to_anchor=(0, 0), ncols=min(4, len(handles)),
    )  # fmt: skip
    ax.set_title(
        f"{placement.source.name} on {board.title}: {len(placement.cores)} of {board.cores} cores",
        fontsize=10, color=INK, loc="left", pad=12,
    )  # fmt: skip
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.set_axis_off()
    return ax


def _share(placement: Placement, core: Core) -> float:
    """Used share of the limit of which most is used."""
    return max(
        (core.used[name] / most for name, most in placement.maximum.items() if most), default=0.0
    )
