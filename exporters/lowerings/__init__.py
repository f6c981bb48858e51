"""Lowerings: from a saved model to its circuit, in real numbers and in integers.

One file a circuit. A lowering is a class with a name, the families that it takes, and two methods;
``docs/lowerings.md`` shows how to write one. Those below are known to :func:`lowering_of`.
"""

from __future__ import annotations

from pvae_neuro.errors import InputError
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.lateral import Lateral
from pvae_neuro.exporters.lowerings.predictive import Predictive
from pvae_neuro.network import FloatCircuit
from pvae_neuro.saved.model_file import SavedModel

__all__ = ["LOWERINGS", "Lowering", "float_circuit_of", "lowering_of"]

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


def float_circuit_of(model: SavedModel, dtype: str = "float32") -> FloatCircuit | None:
    """The model in real numbers, by the circuit that computes as its PyTorch family does.

    None for a model that no lowering takes. Circuits of one model differ by rounding alone.
    """
    # Predictive circuits follow the models' own formulas; lateral ones multiply them out.
    for lowering in sorted(LOWERINGS.values(), key=lambda one: one.multiplied_out):
        if lowering.takes(model):
            return lowering.circuit(model, dtype)
    return None
