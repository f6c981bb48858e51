"""Lowerings: from a saved model to its circuit, in real numbers and in integers.

One file a family of models. A lowering is a class with the name of its circuit, the families that
it takes, and two methods; ``docs/lowerings.md`` shows how to write one.
"""

from __future__ import annotations

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.chain.lowering import Chain
from pvae_neuro.exporters.lowerings.conv import Conv
from pvae_neuro.exporters.lowerings.feedforward import FeedForward
from pvae_neuro.exporters.lowerings.fully_conv import FullyConv
from pvae_neuro.exporters.lowerings.hierarchical import Hierarchical
from pvae_neuro.exporters.lowerings.lateral import Lateral
from pvae_neuro.exporters.lowerings.lca import LCAPredictive
from pvae_neuro.exporters.lowerings.lca_lateral import LCALateral
from pvae_neuro.exporters.lowerings.mlp import MLP
from pvae_neuro.exporters.lowerings.pc import PredictiveCoding
from pvae_neuro.exporters.lowerings.predictive import Predictive
from pvae_neuro.exporters.lowerings.refusals import reason_of
from pvae_neuro.network import FloatCircuit
from pvae_neuro.saved.model_file import SavedModel

__all__ = [
    "LOWERINGS",
    "Lowering",
    "float_circuit_of",
    "lowering_of",
    "topologies",
]

# Where a family has several circuits, the first is the default.
LOWERINGS: list[Lowering] = [
    Predictive(),
    Lateral(),
    PredictiveCoding(),
    MLP(),
    Conv(),
    FullyConv(),
    Hierarchical(),
    Chain(),
    FeedForward(),
    LCAPredictive(),
    LCALateral(),
]


def topologies(family: str | None = None) -> tuple[str, ...]:
    """Names of the circuits that models of a family, or any models, are lowered to."""
    found = (each.name for each in LOWERINGS if family is None or family in each.families)
    return tuple(dict.fromkeys(found))


def lowering_of(topology: str | None, family: str) -> Lowering:
    """Return the lowering of models of a family to the circuit of that name, or to their first.

    Raises
    ------
    ModelFileError
        If models of this family are not exported.
    InputError
        If they are, to other circuits.
    """
    known = topologies(family)
    if not known:
        exported = ", ".join(dict.fromkeys(f for each in LOWERINGS for f in each.families))
        raise ModelFileError(
            f"family {family!r}: {reason_of(family)}, so it stays a float model; exported are: "
            f"{exported}"
        )
    if topology is not None and topology not in known:
        raise InputError(
            f"topology: expected one of {', '.join(known)} for the family {family!r}; got "
            f"{topology!r}"
        )
    return next(
        each for each in LOWERINGS if family in each.families and topology in (None, each.name)
    )


def float_circuit_of(model: SavedModel, dtype: str = "float32") -> FloatCircuit | None:
    """The model in real numbers, by the circuit that computes as its PyTorch family does.

    None for a model that no lowering takes. Circuits of one model differ by rounding alone.
    """
    # Predictive circuits follow the models' own formulas; lateral ones multiply them out.
    for lowering in sorted(LOWERINGS, key=lambda one: one.multiplied_out):
        if lowering.takes(model):
            return lowering.circuit(model, dtype)
    return None
