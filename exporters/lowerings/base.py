"""What a lowering is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pvae_neuro.errors import ModelFileError
from pvae_neuro.exporters.calibrate import CALIBRATION_STEPS, Calibration
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.network.connection import MANTISSA_BITS
from pvae_neuro.saved.model_file import SavedModel, check_model


class Lowering(ABC):
    """From a saved model to one circuit.

    Attributes
    ----------
    name : str
        Of the circuit, as ``QuantizeConfig.topology``.
    families : tuple of str
        Model families that it takes.
    multiplied_out : bool
        Whether products of the model's arrays become weights, so that float rounding differs from
        that of the model's own formulas.
    most_weight_bits : int
        Widest weights that it lowers to; beyond 8 bits they are two synapses.
    latent_units, compensates : bool
        Whether it takes :attr:`Scales.latent_units` and :attr:`Scales.compensate`.
    searched : tuple of str
        Connections whose exponents :attr:`Scales.exponent_steps` may move.
    """

    name: ClassVar[str]
    families: ClassVar[tuple[str, ...]]
    multiplied_out: ClassVar[bool] = False
    most_weight_bits: ClassVar[int] = MANTISSA_BITS
    latent_units: ClassVar[bool] = False
    compensates: ClassVar[bool] = False
    searched: ClassVar[tuple[str, ...]] = ()

    def takes(self, model: SavedModel) -> bool:
        """Whether an iteration of this circuit is one time step of the model.

        With several inner updates per time step it is none, even where the circuit exists.
        """
        config = model.config
        fits = config.family in self.families and config.inner_updates == 1
        return fits and self.obstacle(model) is None

    def obstacle(self, model: SavedModel) -> str | None:
        """Why a model of one of the families has no such circuit; None where it has one."""
        if model.config.inner_updates != 1:
            return f"expected 1 inner update per step, got {model.config.inner_updates}"
        return None

    def remedy(self, model: SavedModel) -> str | None:
        """Name of the remedy of the obstacle, as :class:`ModelFileError` has it, or None."""
        return None

    def check(self, model: SavedModel) -> None:
        """Raise :class:`ModelFileError` if the model cannot be lowered to this circuit.

        Its family and its numbers are checked.
        """
        if model.config.family not in self.families:
            raise ModelFileError(
                f"circuit {self.name!r}: expected a model of family {' or '.join(self.families)}, "
                f"got {model.config.family!r}"
            )
        if (obstacle := self.obstacle(model)) is not None:
            raise ModelFileError(f"circuit {self.name!r}: {obstacle}", self.remedy(model))
        check_model(model, f"circuit {self.name!r}")

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """Graded spikes, ``population.variable``, whose widths ``Scales.message_bits`` sets."""
        return ()

    def calibration_steps(self, model: SavedModel) -> int:
        """Iterations of calibration: until ranges hardly grow."""
        return CALIBRATION_STEPS

    @abstractmethod
    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""

    @abstractmethod
    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; every choice is kept with its reason."""
