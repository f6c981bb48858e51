"""Check that a network with recurrent inhibition stays stable; if not, raise its diagonal.

Rounding can leave the inhibition matrix with a negative eigenvalue, along which activity feeds
itself over hundreds of iterations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.evaluation.figures import of_circuit
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.lowerings.lateral import raise_diagonal
from pvae_neuro.exporters.remedies import REMEDIES
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.noise import population_noise

TRIAL_STEPS = 1000
TRIAL_IMAGES = 16
# A lateral network that diverges leaves this far behind (5 bits: three times the float MSE).
EXCESS_PERCENT = 5.0
# Single iterations of a few images are noisy: an excess counts beyond this many standard errors,
# taken from the means of blocks of iterations.
STANDARD_ERRORS = 2.0
BLOCKS = 5
LEAST_WINDOW = 20
# Shares of the smallest eigenvalue that the diagonal may make good, tried in turn: each costs a
# little agreement with float, so none where none is needed.
DIAGONAL_SHARES = (0.0, 0.5, 1.0)
TRIAL_SEED = 1
# What a file can hold.
LARGEST_EXCESS = 1e30

Trial = Callable[[FloatCircuit | IntegerNetwork], "NDArray[np.float64]"]


def stabilize(
    network: IntegerNetwork,
    model: SavedModel,
    inputs: NDArray[np.floating[Any]],
    steps: int = TRIAL_STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> IntegerNetwork:
    """Return the network with the smallest addition to its diagonal that passes the trial run.

    Where none passes, that with the largest: see :func:`instability`.

    Integer network and the float circuit of its topology run with the same words; the mean MSE over
    the last tenth of the iterations may exceed float's by ``EXCESS_PERCENT``, plus two standard
    errors.

    Parameters
    ----------
    network : IntegerNetwork
        With recurrent inhibition, straight from its lowering.
    model : SavedModel
    inputs : float [N, M]
        The first ``TRIAL_IMAGES`` are used.
    steps : int
    progress : callable, optional
        Told (image-iterations done, of how many).

    Returns
    -------
    IntegerNetwork
        Its ``measurements`` hold the excess.
    """
    images = inputs[:TRIAL_IMAGES]
    trial = _trial(images, steps, progress)
    # In float64 the trial ends alike on every processor.
    by_float = trial(lowering_of(network.name, model.config.family).circuit(model, "float64"))
    for share in DIAGONAL_SHARES:
        raised = raise_diagonal(network, share)
        percent, error = _excess(trial(raised), by_float)
        found = replace(
            raised,
            measurements=replace(
                raised.measurements,
                excess_percent=percent,
                excess_error=error,
                stability_iterations=steps,
            ),
        )
        if instability(found) is None:
            break
    return found


def instability(network: IntegerNetwork) -> str | None:
    """What the trial run found amiss; None where nothing."""
    percent, error = network.measurements.excess_percent, network.measurements.excess_error
    if percent is None or error is None or percent <= EXCESS_PERCENT + STANDARD_ERRORS * error:
        return None
    return (
        f"recurrent inhibition: after {network.measurements.stability_iterations:g} iterations the "
        f"integer network's MSE is {percent:+.1f} % of float's (standard error {error:.2g} %), "
        f"expected at most {EXCESS_PERCENT} %: it is unstable, whatever its diagonal; "
        f"{REMEDIES['predictive']}"
    )


def _trial(
    images: NDArray[np.floating[Any]], steps: int, progress: Callable[[int, int], None] | None
) -> Trial:
    """Return the run whose result is the MSE at its end, averaged in blocks."""
    of = (1 + len(DIAGONAL_SHARES)) * steps * len(images)
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, of)

    def trial(subject: FloatCircuit | IntegerNetwork) -> NDArray[np.float64]:
        if isinstance(subject, FloatCircuit):
            mse = _errors(subject, images, steps, tell)
        else:
            mse = evaluate(subject, images, steps=steps, seed=TRIAL_SEED, progress=tell).mse
        end = mse[-_window(steps) :]
        return np.array([block.mean() for block in np.array_split(end, min(BLOCKS, len(end)))])

    return trial


def _errors(
    circuit: FloatCircuit,
    images: NDArray[np.floating[Any]],
    steps: int,
    tell: Callable[[int], None],
) -> NDArray[np.float64]:
    """Mean squared error of a float circuit after each iteration: float64 [T]."""
    x = circuit.input.check(images)
    held = Frames(1, steps)
    places = range(held.steps), range(len(x))
    words = {p.name: population_noise(p, TRIAL_SEED, *places) for p in circuit.drawing}

    def observe(step: int, _: Any) -> None:
        # The last step, after `final`, is no iteration more.
        if step < steps:
            tell(len(x))

    found: NDArray[np.float64] = of_circuit(circuit, x[:, None], words, held, observe=observe).error
    return found.mean(axis=0)


def _window(steps: int) -> int:
    """Iterations at the end that count: a network may diverge late."""
    return max(1, min(max(steps // 10, LEAST_WINDOW), steps // 2))


def _excess(mse: NDArray[np.float64], by_float: NDArray[np.float64]) -> tuple[float, float]:
    """Return the excess over float in percent, and its standard error over the blocks."""
    mean = float(by_float.mean())
    if mean == 0.0:
        # Float reconstructs without error: so must integers.
        return (0.0 if not mse.any() else LARGEST_EXCESS), 0.0
    percent = 100 * (mse - by_float) / mean
    blocks = len(percent)
    error = percent.std(ddof=1) / np.sqrt(blocks) if blocks > 1 else 0.0
    return min(float(percent.mean()), LARGEST_EXCESS), min(float(error), LARGEST_EXCESS)
