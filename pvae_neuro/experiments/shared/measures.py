"""Measures that several experiments use: distance and interpolation."""

from __future__ import annotations

import math

import numpy as np


def distance(r2: float, zeros: float) -> float:
    """Distance from perfect reconstruction at perfect sparsity.

    ``d = sqrt((1 - R²)² + (1 - zeros)²)``, arXiv:2410.19315, figure 4.
    """
    return math.hypot(1.0 - r2, 1.0 - zeros)


def interpolate(points: list[tuple[float, float]], at: float) -> float | None:
    """Value at ``at``, linear between neighbouring points (x, value); None outside of them."""
    ordered = np.array(sorted(points), dtype=np.float64)
    if not len(ordered) or not ordered[0, 0] <= at <= ordered[-1, 0]:
        return None
    return float(np.interp(at, ordered[:, 0], ordered[:, 1]))
