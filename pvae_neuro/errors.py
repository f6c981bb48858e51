"""The exceptions that this package raises on its own account.

Each message names the object, what was expected, what came, and what to do about it. All derive
from :class:`PvaeNeuroError`; those that reject a value are a :class:`ValueError` too, so that code
which knows nothing of this package still handles them.
"""

from __future__ import annotations

from typing import Any


class PvaeNeuroError(Exception):
    """Base of every error that pvae-neuro raises on purpose."""


class PvaeNeuroWarning(UserWarning):
    """Something that was chosen, skipped or converted, and may not be what is meant."""


class InputError(PvaeNeuroError, ValueError):
    """Images, shapes, ranges or options that a call cannot accept.

    Attributes
    ----------
    remedy : str or None
        The argument that helps, for a caller that has its own word for it: ``clip``, ``frames``,
        ``input_range``, ``key``, ``layout``, ``max_memory``, ``scale``, ``size`` or ``split``.
    """

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class ModelFileError(PvaeNeuroError, ValueError):
    """A saved float model (``.safetensors`` or a checkpoint folder) that cannot be used.

    Attributes
    ----------
    remedy : str or None
        What to train again with: ``hard_clamp`` or ``rectifiers``.
    """

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class ArtifactError(PvaeNeuroError, ValueError):
    """An ``.onnx`` file that is not ours, is damaged, or is newer than this package."""


class NetworkError(PvaeNeuroError, ValueError):
    """An :class:`~pvae_neuro.network.IntegerNetwork` whose parts do not fit together."""


class CertificateError(PvaeNeuroError, ValueError):
    """A network for which range, sampler or stability cannot be proved.

    Attributes
    ----------
    remedy : str or None
        What to do about it, for a caller that has its own words for it:

        * ``narrower``: a lower largest count, fewer fractional bits or fewer weight bits,
        * ``predictive``: 8-bit weights, or the circuit without recurrent connections,
        * ``weights``: a model with smaller weights,
        * ``inputs``: inputs of a smaller range,
        * ``counts``: a larger largest count, or a lower clamp of the potential,
        * ``clip``: a program that clips its variable.
    """

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class QualityError(PvaeNeuroError, ValueError):
    """A network that is proved, and was measured to be far from its float model or of no use.

    Attributes
    ----------
    remedy : str or None
        As for :class:`CertificateError`.
    report : ParityReport or None
        What was measured; None where it did not come to that.
    """

    def __init__(self, message: str, remedy: str | None = None, report: Any = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.report = report


class EngineError(PvaeNeuroError, RuntimeError):
    """An engine that failed, or gave no answer in its time."""


class MissingDependencyError(PvaeNeuroError, ImportError):
    """A feature whose optional dependency is not installed here."""


class EngineUnavailableError(MissingDependencyError):
    """An engine that cannot run here, because a dependency or a device is missing."""


class PlacementError(PvaeNeuroError, ValueError):
    """A network that does not fit on a board.

    Attributes
    ----------
    reasons : tuple of str
        What is short, each with the object and the limit.
    remedies : tuple of str
        What would make it fit.
    remedy : str or None
        ``board`` where another board, or other limits of this one, are among them.
    """

    def __init__(
        self,
        message: str,
        reasons: tuple[str, ...] = (),
        remedies: tuple[str, ...] = (),
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reasons = reasons
        self.remedies = remedies
        self.remedy = remedy
