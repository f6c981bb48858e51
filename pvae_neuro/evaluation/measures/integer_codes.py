"""What measures read: codes, samples, errors and divergences; of an integer network here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Engine, fastest_engine, get_engine
from pvae_neuro.utils.progress import Advance, no_advance

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Codes:
    """What a model infers of N images, after some number of iterations.

    Attributes
    ----------
    code : float32 [N, K]
        What classifiers read, :meth:`~pvae_neuro.models.base.Model.code`: means, never a sample.
    z : float32 [N, K]
        A sample of the latents, drawn after the iteration.
    error : float64 [N]
        Squared error of that sample's reconstruction, summed over pixels.
    kl : float64 [K] or None
        KL divergence of the iteration, averaged over the images; None where the family has none.
    """

    code: Float32
    z: Float32
    error: NDArray[np.float64]
    kl: NDArray[np.float64] | None

    def __repr__(self) -> str:
        return f"<Codes of {len(self.code)} images, {self.code.shape[1]} latents>"


def codes_of_network(
    network: IntegerNetwork,
    images: ArrayLike,
    steps: int,
    seed: int = 0,
    *,
    engine: str | Engine | None = None,
    progress: Advance = no_advance,
) -> Codes:
    """Codes that an integer network infers of still images [N, M], after so many iterations.

    The code is the exponential of the log-rates that counts are drawn of, or what is inferred
    itself where the latents draw nothing. ``engine`` is by default the fastest that works here.

    Raises
    ------
    InputError
        If the network has no readout, the images do not fit it, or no variable holds the means that
        its latents draw of.
    """
    if network.log_rate is None and network.latents in network.drawing:
        raise InputError(
            f"codes: expected a network with a variable of the means that {network.code} is drawn "
            f"of, which measures read; {network.name!r} has none, since it compares random words "
            f"itself; measure its float model"
        )
    runner = get_engine(engine) if isinstance(engine, str) else engine or fastest_engine(network)
    pixels = network.input.floats(images)
    run = runner.run(network, pixels, steps, seed, record="last", progress=progress)
    if run.reconstruction is None:
        raise InputError(f"codes: the network {network.name!r} has no readout")
    z = run.inferred.astype(np.float32)
    code = z if run.log_rate is None else np.exp(run.last[run.log_rate] * run.log_rate_unit)
    error = np.square(pixels - run.reconstruction, dtype=np.float64).sum(axis=1)
    return Codes(code.astype(np.float32), z, error, None)
