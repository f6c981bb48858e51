"""The papers' experiments, each a file; ``pvae-neuro experiment NAME`` runs them."""

from pvae_neuro.experiments.registry import experiment_names, run_experiment
from pvae_neuro.experiments.result import ExperimentResult

__all__ = ["ExperimentResult", "experiment_names", "run_experiment"]
