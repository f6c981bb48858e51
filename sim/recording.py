"""What a run leaves behind: any variables asked for, and figures of every iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.readout import Summary, activity, error_unit, reconstruct
from pvae_neuro.sim.trajectory import trajectory_array
from pvae_neuro.utils.html import html_table
from pvae_neuro.utils.show import show

Record = Literal["last", "summary", "full"] | Sequence[str]
Reconstruct = Callable[[IntegerNetwork, NDArray[Any]], NDArray[np.float32]]
RECORDS = ("last", "summary", "full")
_NO_ERROR = (
    "recording: it has no squared error; expected a network with a readout, run with a record "
    "other than 'last'"
)


@dataclass(frozen=True, eq=False)
class Recording:
    """What an engine recorded of N samples over T iterations, n on each of F frames.

    Attributes
    ----------
    last : dict of str to int [N, n]
        Every variable after the last iteration and ``final``, by ``population.variable``.
    variables : dict of str to int [N, T + 1, n]
        The variables that were asked for, at the end of each iteration, then after ``final``. With
        ``reset`` so for each frame, one frame after the other: [N, F (n + 1), n].
    source : str or None
        ``population.variable`` that the readout reads.
    code : str or None
        ``population.variable`` of what was inferred: spike counts, or coefficients.
    reconstruction : float32 [N, M] or None
        The readout's variable, after ``final``, through its weights.
    error_unit : float
        Value of one unit of ``squared_error``.
    log_rate : str or None
        ``population.variable`` that the readout's population draws its counts from.
    log_rate_unit : float
        Value of one unit of it.
    spikes, active, saturated : int64 [N, T] or None
        Per iteration, of the code: sum of counts, neurons that fired, neurons at the largest count;
        of magnitudes, in units of the code, where it is not of counts.
        Not with ``last``, and not without a readout.
    squared_error : int64 [N, T] or None
        Per iteration: sum over pixels of (x - reconstruction)**2 by the counts drawn after it, in
        units of ``error_unit``; integers, so that engines can be compared exactly. Of the frame
        that was shown in the iteration.
    active_after, saturated_after : int64 [N, R] or None
        The same as ``active`` and ``saturated`` of the draw after the last iteration of each run: R
        is 1, or F with ``reset``.
    frames, hold : int
        Number of frames F, 1 for still images, and iterations n on each.
    reset : bool
        Whether every frame was a run of its own.
    """

    last: dict[str, NDArray[Any]]
    variables: dict[str, NDArray[Any]]
    source: str | None
    code: str | None
    reconstruction: NDArray[np.float32] | None
    error_unit: float
    log_rate: str | None = None
    log_rate_unit: float = 1.0
    spikes: NDArray[np.int64] | None = None
    active: NDArray[np.int64] | None = None
    saturated: NDArray[np.int64] | None = None
    squared_error: NDArray[np.int64] | None = None
    active_after: NDArray[np.int64] | None = None
    saturated_after: NDArray[np.int64] | None = None
    frames: int = 1
    hold: int = 1
    reset: bool = False

    def __repr__(self) -> str:
        said = [f"{self.samples} samples", *(f"{name} {value}" for name, value in self._figures())]
        said.append(f"recorded {show(', '.join(self.variables) or 'last values')[1:-1]}")
        return f"<Recording: {', '.join(said)}>"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [("samples", self.samples), *self._figures()]
        rows += [(name, show(values)) for name, values in self.variables.items()]
        return html_table("Recording", rows)

    def _figures(self) -> list[tuple[str, str]]:
        """Figures of the last iteration, in words."""
        found = []
        if self.frames > 1:
            found.append(("frames", f"{self.frames} of {self.hold} iterations"))
        else:
            found.append(("iterations", f"{self.hold}"))
        if self.squared_error is not None:
            found.append(("MSE", f"{self.mse[-1]:.4g}"))
        if self.code is not None:
            found.append(("zeros", f"{(self.inferred == 0).mean():.1%}"))
        return found

    @property
    def samples(self) -> int:
        """Number of samples N."""
        return len(next(iter(self.last.values())))

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Recorded variable by ``population.variable``: int [N, T + 1, n].

        Raises
        ------
        InputError
            If it was not recorded.
        """
        if name not in self.variables:
            known = ", ".join(self.variables) or "none"
            raise InputError(f"recording: {name!r} was not recorded; recorded were: {known}")
        return self.variables[name]

    @property
    def inferred(self) -> NDArray[Any]:
        """The code after ``final``: int [N, K].

        Raises
        ------
        InputError
            If nothing is drawn and nothing read out.
        """
        if self.code is None:
            raise InputError("recording: the network draws no counts and has no readout")
        return self.last[self.code]

    @property
    def readout(self) -> NDArray[Any]:
        """The readout's variable after ``final``: int [N, n]."""
        if self.source is None:
            raise InputError("recording: the network has no readout")
        return self.last[self.source]

    @property
    def mse(self) -> NDArray[np.float64]:
        """Squared error of the sampled reconstruction, by iteration: float64 [T].

        In squared units of the input, summed over pixels, mean over samples, by the counts drawn
        after the iteration.

        Raises
        ------
        InputError
            If the network has no readout, or the figures of iterations were not recorded.
        """
        if self.squared_error is None:
            raise InputError(_NO_ERROR)
        # In floats: the error of each sample fits 64 bits, their sum need not.
        mean: NDArray[np.float64] = self.squared_error.mean(axis=0, dtype=np.float64)
        return mean * self.error_unit

    @property
    def held(self) -> Frames:
        """How the run went through its frames."""
        return Frames(self.frames, self.hold, self.reset)

    @property
    def frame_mse(self) -> NDArray[np.float64]:
        """The squared error :attr:`mse` after the last iteration on each frame: float64 [F]."""
        ends: NDArray[np.float64] = self.held.at_ends(self.mse)
        return ends

    @property
    def frame_spikes(self) -> NDArray[np.int64]:
        """Spikes on each frame: int64 [N, F].

        Raises
        ------
        InputError
            If the network has no readout, or the figures of iterations were not recorded.
        """
        if self.spikes is None:
            raise InputError(
                "recording: it has no spikes; expected a network with a readout, run with a "
                "record other than 'last'"
            )
        total: NDArray[np.int64] = self.held.by_frame(self.spikes).sum(axis=-1)
        return total

    @property
    def settling(self) -> NDArray[np.int64]:
        """Iterations on each frame after which its squared error has settled: int64 [N, F].

        The first that ends a window of 16 iterations, within the frame, over which the error fell
        by less than 1 %; :attr:`hold` where there is none.

        Raises
        ------
        InputError
            As for :attr:`mse`.
        """
        if self.squared_error is None:
            raise InputError(_NO_ERROR)
        return self.held.settling(self.squared_error)

    @property
    def potential(self) -> NDArray[np.float32]:
        """Membrane potential of the latents, their log-rate in nats: float32 [N, T + 1, K].

        At the end of each iteration, where the counts of the next one are drawn from it, and after
        ``final``. Exact.

        Raises
        ------
        InputError
            If the network draws no counts from a variable, or the variable was not recorded.
        """
        if self.log_rate is None:
            raise InputError("recording: the network draws no counts from a potential")
        if self.log_rate not in self.variables:
            raise InputError(
                f"recording: the potential was not recorded; run with the record 'full' or "
                f"[{self.log_rate!r}]"
            )
        return self.variables[self.log_rate] * np.float32(self.log_rate_unit)

    @property
    def rates(self) -> NDArray[np.float32]:
        """Expected counts of an iteration: ``exp(potential)``, float32 [N, T + 1, K].

        Raises
        ------
        InputError
            As for :attr:`potential`.
        """
        return np.exp(self.potential)


def recorded_variables(network: IntegerNetwork, record: Record) -> tuple[str, ...]:
    """Names of the variables that a kind of record, or a list of names, asks for.

    Raises
    ------
    InputError
        If it is neither a kind nor a list of the network's variables.
    """
    if record == "full":
        return network.variables
    if isinstance(record, str):
        if record not in RECORDS:
            raise InputError(
                f"record: expected one of {', '.join(RECORDS)} or a list of variables; "
                f"got {record!r}"
            )
        return ()
    for name in record:
        if name not in network.variables:
            raise InputError(
                f"record: expected variables of {', '.join(network.variables)}; got {name!r}"
            )
    return tuple(dict.fromkeys(record))


def variable_dtype(network: IntegerNetwork, name: str) -> np.dtype[Any]:
    """Narrowest of uint8, int16 and int32 that holds every value of a variable."""
    known: dict[str, np.dtype[Any]] = network.compiled.setdefault("types of variables", {})
    if name not in known:
        known[name] = _narrowest(network, name)
    return known[name]


def _narrowest(network: IntegerNetwork, name: str) -> np.dtype[Any]:
    bounds = network.ranges.variables[name]
    for dtype in (np.uint8, np.int16):
        limits = np.iinfo(dtype)
        if limits.min <= bounds.smallest and bounds.largest <= limits.max:
            return np.dtype(dtype)
    return np.dtype(np.int32)


class Recorder:
    """Collects blocks of samples into a :class:`Recording`.

    Parameters
    ----------
    network : IntegerNetwork
    samples : int
    frames : Frames
    variables : tuple of str
        To record at every step.
    summary : bool
        Whether figures of every iteration are kept.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        samples: int,
        frames: Frames,
        variables: tuple[str, ...],
        summary: bool,
    ) -> None:
        self._network, self._frames = network, frames
        sizes = {name: _size(network, name) for name in network.variables}
        self._last = {
            name: np.zeros((samples, size), variable_dtype(network, name))
            for name, size in sizes.items()
        }
        self._variables = {
            name: trajectory_array(
                (samples, frames.steps, sizes[name]), variable_dtype(network, name)
            )
            for name in variables
        }
        shapes = [(samples, frames.iterations)] * 4 + [(samples, frames.runs)] * 2
        self._summary = [np.zeros(shape, np.int64) for shape in shapes] if summary else None

    def add(
        self,
        first: int,
        last: dict[str, NDArray[Any]],
        variables: dict[str, NDArray[Any]],
        summary: Summary | None,
        run: int = 0,
    ) -> None:
        """Take a run of a block of samples whose first one has the row ``first``."""
        rows = slice(first, first + len(next(iter(last.values()))))
        for name, array in self._last.items():
            array[rows] = last[name]
        steps, iterations = (
            slice(run * total // self._frames.runs, (run + 1) * total // self._frames.runs)
            for total in (self._frames.steps, self._frames.iterations)
        )
        for name, array in self._variables.items():
            array[rows, steps] = variables[name]
        if self._summary is None or summary is None or self._network.code is None:
            return
        for array, values in zip(self._summary, summary, strict=False):
            if values is not None:
                array[rows, iterations] = values
        active, saturated = activity(self._network, last[self._network.code])
        self._summary[4][rows, run], self._summary[5][rows, run] = active, saturated

    def finish(
        self,
        reconstruct: Callable[[IntegerNetwork, NDArray[Any]], NDArray[np.float32]] = reconstruct,
    ) -> Recording:
        """Return the recording; ``reconstruct`` reads the last values out."""
        network = self._network
        readout = network.readout
        source = None if readout is None else f"{readout.population}.{readout.variable}"
        spikes, active, saturated, error, *after = self._summary or (None,) * 6
        return Recording(
            last=self._last,
            variables=self._variables,
            source=source,
            code=network.code,
            reconstruction=None if source is None else reconstruct(network, self._last[source]),
            error_unit=1.0 if source is None else error_unit(network),
            log_rate=network.log_rate,
            log_rate_unit=_log_rate_unit(network),
            spikes=spikes,
            active=active,
            saturated=saturated,
            squared_error=error,
            active_after=after[0],
            saturated_after=after[1],
            **vars(self._frames),
        )


def _log_rate_unit(network: IntegerNetwork) -> float:
    latents = network.latents
    if latents is None or network.log_rate is None:
        return 1.0
    return float(2.0**-latents.drawn_by.frac_bits)


def _size(network: IntegerNetwork, name: str) -> int:
    return network.population_of[name.partition(".")[0]].size
