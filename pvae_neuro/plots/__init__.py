"""Figures of models and of proofs of equality, drawn by matplotlib.

Functions that draw on axes take them as ``ax`` and return them; without any they make a pyplot
figure. :func:`plot_model` returns a whole figure. Each name is loaded at its first use, and
matplotlib when something is drawn::

    import pvae_neuro as pn

    digits, _ = pn.sample_digits()
    ax = pn.plots.image_grid({"input": pn.plots.as_images(digits[:8], (28, 28))})
    ax.figure.savefig("digits.svg")
"""

from __future__ import annotations

import sys
from typing import Any

from pvae_neuro.utils import lazy

_HOMES = lazy.homes(__file__)

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    return lazy.load(sys.modules[__name__], name, _HOMES)


def __dir__() -> list[str]:
    return __all__
