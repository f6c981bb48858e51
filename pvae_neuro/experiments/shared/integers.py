"""Integer networks of models, as experiments on digits compare them with floats."""

from __future__ import annotations

from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel

CIRCUITS = ("lateral", "predictive")
CALIBRATION_DIGITS = 64


def integers_of(
    context: Context, model: SavedModel, circuit: str, count: int = CALIBRATION_DIGITS
) -> IntegerNetwork:
    """The integers of a model in one of its circuits, calibrated on so many training digits."""
    digits = context.images("mnist", "train").pixels[:count]
    return quantize(model, digits, QuantizeConfig(topology=circuit))
