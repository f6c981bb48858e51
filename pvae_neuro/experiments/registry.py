"""Every experiment by its name, and how one is run."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from pvae_neuro.errors import InputError
from pvae_neuro.experiments.context import Context
from pvae_neuro.experiments.result import ExperimentResult
from pvae_neuro.utils.suggest import suggest


@dataclass(frozen=True)
class ExperimentEntry:
    """One experiment.

    Attributes
    ----------
    name : str
        As the command line takes it.
    summary : str
        What it shows.
    module : str
        Below ``pvae_neuro.experiments``; has a function ``run(context) -> ExperimentResult``.
    """

    name: str
    summary: str

    @property
    def module(self) -> str:
        """Module name: the experiment's own with underscores."""
        return self.name.replace("-", "_")


_ENTRIES = (
    ExperimentEntry("convergence", "R², zeros and ‖du‖ over 1,000 iterations"),
    ExperimentEntry("mnist-table", "MSE, R², zeros, accuracy and size of every model on MNIST"),
    ExperimentEntry("rate-distortion", "R² against zeros over β and T, and LCA over λ, on patches"),
    ExperimentEntry("ood", "trained on MNIST, shown something else"),
    ExperimentEntry("sample-efficiency", "nearest neighbours with few labels"),
    ExperimentEntry("amortization-gap", "one dictionary, three ways to infer"),
    ExperimentEntry("features", "dictionary elements by kurtosis; Gabor fits"),
    ExperimentEntry("tuning", "orientation tuning, contrast response and its latency"),
    ExperimentEntry("non-stationary", "rotating and jittering digits, tracked"),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


class ExperimentModule(Protocol):
    """What an experiment's file holds."""

    def run(self, context: Context) -> ExperimentResult:
        """Run it."""


def experiment_names() -> tuple[str, ...]:
    """Names of all experiments, in the order of the documentation."""
    return tuple(_BY_NAME)


def experiment_entry(name: str) -> ExperimentEntry:
    """Look an experiment up.

    Raises
    ------
    InputError
        If there is no such experiment; suggests the nearest names.
    """
    if name not in _BY_NAME:
        raise InputError(f"experiment {name!r}: no such experiment{suggest(name, _BY_NAME)}")
    return _BY_NAME[name]


def run_experiment(name: str, context: Context) -> ExperimentResult:
    """Run an experiment and write its files into ``context.out``.

    Parameters
    ----------
    name : str
        One of :func:`experiment_names`.
    context : Context
        Where to, on what data, how long, and who is told.

    Returns
    -------
    ExperimentResult
        As written: ``result.json``, ``result.csv``, ``result.md``, ``figure.svg``, ``figure.png``.

    Raises
    ------
    InputError
        If there is no such experiment, or its data are absent.
    EngineUnavailableError
        If torch, matplotlib or scikit-learn is missing.
    """
    entry = experiment_entry(name)
    module: ExperimentModule = import_module(f"pvae_neuro.experiments.{entry.module}")
    with context.timed():
        result = module.run(context)
    result.write(context)
    return result
