"""What would cost less, and its price in squared error: measured on the same images and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.cost.activity import check_target, reach_activity
from pvae_neuro.cost.cost import Cost, active_share, cost_of
from pvae_neuro.cost.counts import QUANTITIES
from pvae_neuro.cost.dead_zone import with_dead_zone
from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.network.partly_rounded import percent_above
from pvae_neuro.sim.engine import Engine, fastest_engine, get_engine
from pvae_neuro.sim.frames import WINDOW
from pvae_neuro.utils.progress import Advance

# Images that the search for an activity target runs.
SEARCH_IMAGES = 32


@dataclass(frozen=True, eq=False)
class Lever:
    """A change, what it saves, and its price.

    Attributes
    ----------
    name : str
        ``until``, ``dead_zone`` or ``activity``.
    setting : float
        Window, threshold, or share that fires.
    iterations : float
        Mean over images.
    ratio : dict of str to float
        Quantities of a whole image over those without the change; only where those are not 0.
    mse_percent, error : float
        Squared error above that without the change, in percent of it, and its standard error over
        images, each paired with itself. Of ``until`` that at the stop against the last iteration,
        else the mean of the second half of the iterations. Not a number without a readout, or for
        one image.
    mse : float
        Squared error at the stop, or at the last iteration.
    reached : float or None
        Activity that was reached.
    factor : float or None
        Of the leak.
    network : IntegerNetwork
        Which has the change; the same one for ``until``.
    """

    name: str
    setting: float
    iterations: float
    ratio: dict[str, float]
    mse_percent: float
    error: float
    mse: float
    network: IntegerNetwork
    reached: float | None = None
    factor: float | None = None

    def __repr__(self) -> str:
        messages = self.ratio.get("messages", float("nan"))
        return (
            f"<Lever {self.name} {self.setting:g}: messages x {messages:.3f}, "
            f"MSE {self.mse_percent:+.2f} ± {self.error:.2f} %>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: value for name, value in vars(self).items() if name != "network"}


@dataclass(frozen=True, eq=False)
class Levers:
    """Changes to try; what a network cannot have is refused before anything runs.

    Parameters
    ----------
    network : IntegerNetwork
    steps : int
        Iterations.
    until : bool
        Stop an image once its squared error has fallen by less than 1 % over 16 iterations.
    dead_zone : sequence of int
        Thresholds of the error neurons; see :func:`~pvae_neuro.cost.dead_zone.with_dead_zone`.
    activity : sequence of float
        Shares of the latents that are to fire in an iteration; see
        :func:`~pvae_neuro.cost.activity.reach_activity`.

    Raises
    ------
    InputError
        If a number is out of range, or the network has no readout, error neurons or leak.
    """

    network: IntegerNetwork
    steps: int
    until: bool = False
    dead_zone: Sequence[int] = ()
    activity: Sequence[float] = ()

    def __post_init__(self) -> None:
        if self.until and self.network.readout is None:
            raise InputError(
                f"until: the network {self.network.name!r} has no readout, so no squared error "
                f"to settle"
            )
        if self.until and self.steps <= WINDOW:
            raise InputError(
                f"until: expected more iterations than the window of {WINDOW}, got {self.steps}"
            )
        for threshold in self.dead_zone:
            with_dead_zone(self.network, threshold)
        for target in self.activity:
            check_target(self.network, target)

    def pull(
        self,
        cost: Cost,
        inputs: ArrayLike,
        engine: str | Engine | None = None,
        progress: Advance | bool | None = None,
    ) -> list[Lever]:
        """Try each by itself, on the images, with the seed and on the cores of ``cost``."""
        images = cost.network.input.check(inputs)
        named = get_engine(engine) if isinstance(engine, str) else engine
        runner = named or fastest_engine(cost.network)

        def run(network: IntegerNetwork) -> Cost:
            return cost_of(
                network, images, steps=cost.steps, seed=cost.seed, engine=runner,
                cores=cost.parts, progress=progress,
            )  # fmt: skip

        def share(network: IntegerNetwork) -> float:
            some = images[:SEARCH_IMAGES]
            found = active_share(
                network, runner.run(network, some, cost.steps, cost.seed, progress=progress)
            )
            return float("nan") if found is None else float(found.mean())

        found = [until_settled(cost)] if self.until else []
        for threshold in self.dead_zone:
            network = with_dead_zone(cost.network, threshold)
            found.append(_compared("dead_zone", threshold, run(network), cost))
        for target in self.activity:
            network, factor = reach_activity(cost.network, target, share)
            found.append(_compared("activity", target, run(network), cost, factor))
        return found


def until_settled(cost: Cost) -> Lever:
    """What is left where each image stops once its squared error has settled."""
    if cost.error is None or cost.settling is None:
        raise InputError(f"until: the network {cost.network.name!r} has no squared error to settle")
    stop = cost.settling
    done = np.arange(cost.steps) < stop[:, None]
    spent = (cost.by_iteration * done[..., None]).sum(axis=1) + cost.final
    stopped = cost.error[np.arange(cost.samples), stop - 1]
    return Lever(
        "until",
        WINDOW,
        float(stop.mean()),
        _ratio(spent, _whole(cost)),
        *_above(stopped, cost.error[:, -1]),
        float(stopped.mean()),
        cost.network,
    )


def _compared(
    name: str, setting: float, changed: Cost, cost: Cost, factor: float | None = None
) -> Lever:
    half = cost.steps // 2
    price, mse = (float("nan"),) * 2, float("nan")
    if changed.error is not None and cost.error is not None:
        late = (each[:, half:].mean(axis=1) for each in (changed.error, cost.error))
        price, mse = _above(*late), float(changed.error[:, -1].mean())
    return Lever(
        name,
        setting,
        float(cost.steps),
        _ratio(_whole(changed), _whole(cost)),
        *price,
        mse,
        changed.network,
        None if changed.active is None or factor is None else float(changed.active.mean()),
        factor,
    )


def _whole(cost: Cost) -> NDArray[np.int64]:
    """Counts of whole images: int64 [N, quantities]."""
    return cost.by_iteration.sum(axis=1) + cost.final


def _ratio(ours: NDArray[Any], theirs: NDArray[Any]) -> dict[str, float]:
    total, base = ours.sum(axis=0), theirs.sum(axis=0)
    return {name: float(a / b) for name, a, b in zip(QUANTITIES, total, base, strict=True) if b}


def _above(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """Percent above and its standard error; the error of one image is not known."""
    if len(ours) < 2:
        base = float(theirs.mean())
        return (100 * (float(ours.mean()) / base - 1) if base else float("nan")), float("nan")
    return percent_above(ours, theirs)
