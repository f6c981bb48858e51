"""Lowerings: from a saved model to its circuit, in real numbers and in integers.

One file a circuit. A lowering is a class with a name, the families that it takes, and two methods;
``docs/lowerings.md`` shows how to write one. Those below are known to :func:`lowering_of`.
"""

from __future__ import annotations

from pvae_neuro.errors import InputError
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.lateral import Lateral
from pvae_neuro.exporters.lowerings.predictive import Predictive

__all__ = ["LOWERINGS", "Lowering", "lowering_of"]

LOWERINGS: dict[str, Lowering] = {lowering.name: lowering for lowering in (Lateral(), Predictive())}


def lowering_of(topology: str) -> Lowering:
    """Return the lowering to the circuit of that name.

    Raises
    ------
    InputError
        If there is none.
    """
    if topology not in LOWERINGS:
        raise InputError(f"topology: expected one of {', '.join(LOWERINGS)}; got {topology!r}")
    return LOWERINGS[topology]
