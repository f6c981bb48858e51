"""The papers' experiments, a file each; folders hold parts of large ones, and what several use."""

from pvae_neuro.experiments.registry import add_experiment, experiment_names, run_experiment
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import ExperimentResult
from pvae_neuro.experiments.shared.summary import ExperimentSummary

__all__ = [
    "Context",
    "ExperimentResult",
    "ExperimentSummary",
    "add_experiment",
    "experiment_names",
    "run_experiment",
]
