"""Every experiment by name, and how to run one."""

from __future__ import annotations

from importlib import import_module

from pvae_neuro.errors import InputError
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import ExperimentResult
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.suggest import suggest

# The module of an experiment has its name, with underscores, and a function
# run(context) -> ExperimentResult.
_SUMMARIES = {
    "convergence": "R², zeros and ‖du‖ over 1,000 iterations",
    "mnist-table": "MSE, R², zeros, accuracy and size of every model on MNIST",
    "rate-distortion": "R² against zeros over β and T, and LCA over λ, on patches",
    "ood": "models trained on MNIST, tested on other images",
    "sample-efficiency": "nearest neighbours with few labels",
    "amortization-gap": "one dictionary, three ways to infer",
    "features": "dictionary elements by kurtosis; Gabor fits",
    "tuning": "orientation tuning, contrast response and its latency",
    "non-stationary": "rotating and jittering digits, tracked",
}


def experiment_names() -> tuple[str, ...]:
    """Names of all experiments, in the order of the documentation."""
    return tuple(_SUMMARIES)


def experiment_summary(name: str) -> str:
    """What an experiment shows; :class:`InputError` with the nearest names if there is no such."""
    if name not in _SUMMARIES:
        raise InputError(f"experiment {name!r}: no such experiment{suggest(name, _SUMMARIES)}")
    return _SUMMARIES[name]


@checked
def run_experiment(name: str, context: Context) -> ExperimentResult:
    """Run an experiment and write its files into ``context.out``.

    The files are ``result.json``, ``result.csv``, ``result.md``, ``figure.svg`` and
    ``figure.png``.

    Raises
    ------
    InputError
        If there is no such experiment, or its data are absent.
    MissingDependencyError
        If torch, matplotlib or scikit-learn is missing.
    """
    experiment_summary(name)
    module = import_module(f"pvae_neuro.experiments.{name.replace('-', '_')}")
    with context.timed():
        result: ExperimentResult = module.run(context)
    result.write(context)
    return result
