"""Every experiment by name, and how to run one."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Protocol, cast

from pvae_neuro.errors import InputError
from pvae_neuro.experiments.shared.claims import Claim
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import ExperimentResult
from pvae_neuro.experiments.shared.summary import ExperimentSummary
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import StageProgress
from pvae_neuro.utils.suggest import suggest


class Experiment(Protocol):
    """What an experiment is: a module, or any object, with these two."""

    CLAIMS: tuple[Claim, ...]
    """What it tests, in the order of its tables."""

    def run(self, context: Context) -> ExperimentResult:
        """Find everything with one seed."""
        ...


# The module of an experiment has its name, with underscores.
_SUMMARIES = {
    "convergence": "R², zeros and ‖du‖ over 1,000 iterations",
    "mnist-table": "MSE, R², zeros, accuracy and size of every model on MNIST",
    "shipped": "the shipped MNIST model and its integers, by the authors' protocol",
    "mnist-frontier": "MSE against zeros of recipes with the same processor time, on MNIST",
    "mnist-objective": "the papers' objective on MNIST, and that of the shipped model",
    "mnist-order": "errors of four families on MNIST by the published definitions",
    "rate-distortion": "R² against zeros over β and T, and LCA over λ, on patches",
    "ood": "models trained on MNIST, tested on other images",
    "sample-efficiency": "nearest neighbours with few labels",
    "elbo": "evidence bounds and active latents of linear VAEs",
    "amortization-gap": "one dictionary, three ways to infer",
    "features": "dictionary elements by kurtosis; Gabor fits",
    "tuning": "orientation tuning, contrast response and its latency",
    "hierarchy": "accuracy per spike, samples and completion of a model of two levels",
    "posterior": "coverage of the true pixel by the posterior's band, Poisson against Gaussian",
    "non-stationary": "rotating, jittering and morphing digits, tracked: error and lag",
    "beyond-gaussian": "generalized predictive coding against backpropagation and Gaussian PC",
    "photographs": "a model trained on crops, on images up to 8 times as high and wide",
    "codes": "accuracy per bit, per spike, at equal zeros, under noise",
}


_ADDED: dict[str, Experiment] = {}


def add_experiment(name: str, summary: str, experiment: Experiment) -> None:
    """Make an experiment of your own known under a name; ``summary`` says what it shows."""
    _SUMMARIES[name] = summary
    _ADDED[name] = experiment


def experiment_names() -> tuple[str, ...]:
    """Names of all experiments, in the order of the documentation."""
    return tuple(_SUMMARIES)


def experiment_summary(name: str) -> str:
    """What an experiment shows; :class:`InputError` with the nearest names if there is no such."""
    if name not in _SUMMARIES:
        raise InputError(f"experiment {name!r}: no such experiment{suggest(name, _SUMMARIES)}")
    return _SUMMARIES[name]


def experiment_claims(name: str) -> tuple[Claim, ...]:
    """Claims that an experiment tests."""
    return _experiment(name).CLAIMS


@checked
def run_experiment(name: str, context: Context, seeds: int = 1) -> ExperimentSummary:
    """Run an experiment and write its files into ``context.out``.

    The files are ``result.json``, ``result.csv``, ``result.md``, ``figure.svg`` and
    ``figure.png``. Seeds are ``context.seed`` and those that follow it.

    Raises
    ------
    InputError
        If there is no such experiment, its data are absent, or ``seeds`` is below 1.
    MissingDependencyError
        If torch, matplotlib or scikit-learn is missing.
    """
    if seeds < 1:
        raise InputError(f"seeds: expected at least 1, got {seeds}")
    experiment = _experiment(name)
    chosen = list(range(context.seed, context.seed + seeds))
    contexts = [
        replace(context, seed=seed, progress=_of_seed(context.progress, seed, seeds))
        for seed in chosen
    ]
    results = []
    for each in contexts:
        with each.timed():
            results.append(experiment.run(each))
    times = [(each.minutes, each.core_minutes) for each in contexts]
    context.minutes, context.core_minutes = map(sum, zip(*times, strict=True))
    summary = ExperimentSummary(context.budget, chosen, times, results, experiment.CLAIMS)
    summary.write(context.out)
    return summary


def _experiment(name: str) -> Experiment:
    experiment_summary(name)
    module = f"pvae_neuro.experiments.{name.replace('-', '_')}"
    return _ADDED.get(name) or cast(Experiment, import_module(module))


def _of_seed(progress: StageProgress, seed: int, seeds: int) -> StageProgress:
    """The same progress with the seed before each stage, where there are several."""
    if seeds == 1:
        return progress
    return lambda stage, done, total: progress(f"seed {seed}: {stage}", done, total)
