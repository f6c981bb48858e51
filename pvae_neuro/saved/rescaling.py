"""Rescale the spikes of a trained model: more and smaller spikes, the same reconstruction.

A linear iterative Poisson VAE follows (arXiv 2410.19315, eq. 7; ``S`` clamps)::

    z ~ Poisson(exp(u)),    u <- S(u + S(eta [Phi^T Sigma^-1 (x - Phi z) - b]))

Replace Phi, eta, b and u by ``Phi / c``, ``c eta``, ``b / c`` and ``u + log c``. Rates are then c
times as high and each spike contributes 1/c as much. Away from the clamps the expected update of u
is the same, and so is the path of the mean reconstruction ``Phi exp(u)``. Its variance,
``sum_k Phi_k^2 exp(u_k)``, is 1/c of what it was: more spikes make the reconstruction more precise.

Higher rates also make more latents fire. The leak is the cost of a spike and controls how many
latents stay at zero: if it is not divided by c, each small spike costs as much as a large one did.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pvae_neuro.errors import InputError
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel, check_model, config_of
from pvae_neuro.utils.arguments import checked


@checked
def rescale_counts(model: SavedModel, factor: float, leak: float = 1.0) -> SavedModel:
    """Make a model fire ``factor`` times as often, with spikes smaller by the same factor.

    Parameters
    ----------
    model : SavedModel
        A linear iterative Poisson VAE.
    factor : float
        c, above 0. The upper bound of u rises by its logarithm; the largest rate is
        ``exp(clamp_u)``, which integer networks must be able to count.
    leak : float
        Factor of the leak ``b``, above 0. ``1 / factor`` keeps the expected path of the
        reconstruction; larger factors keep more latents at zero and make it less accurate.

    Returns
    -------
    SavedModel
        Its ``config.training`` records both factors, multiplied over all rescalings.

    Raises
    ------
    InputError
        If the model is of another family, or a factor is not above 0 and finite.
    ModelFileError
        If a number of the rescaled model is beyond use.
    """
    if model.config.family != LINEAR_FAMILY:
        raise InputError(
            f"rescale_counts: expected a model of family {LINEAR_FAMILY}, whose reconstruction is "
            f"linear in the counts; got {model.config.family}"
        )
    for name, value in (("factor", factor), ("leak", leak)):
        if not _above_zero(value):
            raise InputError(f"rescale_counts: expected a {name} above 0, got {value!r}")
    rise = math.log(factor)
    # What leaves float32 becomes infinite, which the check below names.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        divided = [name for name in ("dictionary", "readout") if name in model.arrays]
        arrays = dict(model.arrays)
        arrays |= {name: _single(arrays[name] / factor) for name in divided}
        arrays |= {
            "initial_potential": _single(model.initial_potential + rise),
            "log_step_size": _single(model.log_step_size + rise),
            "log_bias": _single(model.log_bias + math.log(leak)),
        }
    where = f"model rescaled by {factor:g}"
    config = config_of(
        {
            **model.config.model_dump(),
            "clamp_u": model.config.clamp_u + rise,
            "training": {
                **model.config.training,
                "count_factor": _factor_of(model, "count_factor") * factor,
                "leak_factor": _factor_of(model, "leak_factor") * leak,
            },
        },
        where,
    )
    rescaled = replace(model, config=config, arrays=arrays)
    check_model(rescaled, where)
    return rescaled


def _factor_of(model: SavedModel, name: str) -> float:
    """Product of earlier factors; 1 where the provenance holds no number above 0."""
    value = model.config.training.get(name, 1.0)
    return float(value) if _above_zero(value) else 1.0


def _above_zero(value: object) -> bool:
    return isinstance(value, int | float) and 0.0 < value < math.inf


def _single(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(values, np.float32)
