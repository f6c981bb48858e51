"""Defaults agree: what a verb does where nothing is said, its function in Python does too."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass

import pytest

from pvae_neuro.cli.main import VERBS
from pvae_neuro.cost import cost_of
from pvae_neuro.data import PatchConfig, extract_patches
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.experiments import Context
from pvae_neuro.export import export_model
from pvae_neuro.exporters.quantize import QuantizeConfig
from pvae_neuro.narrow.pareto import pareto
from pvae_neuro.placement import place
from pvae_neuro.sim.engine import Engine
from pvae_neuro.training.finetuning.config import FinetuneConfig
from pvae_neuro.verification.against_float import Tolerances
from pvae_neuro.verification.verify import verify

# What is behind a verb: functions, and records of settings.
BEHIND = {
    "export": (export_model, QuantizeConfig),
    "run": (Engine.run,),
    "verify": (verify, Tolerances),
    "evaluate": (evaluate,),
    "cost": (cost_of,),
    "place": (place,),
    "pareto": (pareto,),
    "finetune": (FinetuneConfig,),
    "patches": (extract_patches, PatchConfig),
    "experiment": (Context,),
}
# Compared elsewhere, or without a function of their own.
WITHOUT = {
    *("demo", "models", "samples", "train", "import", "inspect", "plot", "bench", "doctor"),
}
# Paths and names that are typed; variables that go into a file of counts and potentials.
OF_THEIR_OWN = {"model", "out", "models", "data_root", "record"}
# In Python None stands for what the command line calls auto.
AUTO = "auto"


def defaults(subject):
    """Defaults by name of a function, a dataclass, or a pydantic model."""
    if hasattr(subject, "model_fields"):
        return {name: field.get_default() for name, field in subject.model_fields.items()}
    if is_dataclass(subject):
        return {field.name: field.default for field in fields(subject)}
    return {name: each.default for name, each in inspect.signature(subject).parameters.items()}


def as_typed(value):
    """A value of Python as the command line writes it, where it takes several kinds there."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_every_verb_is_looked_at():
    assert BEHIND.keys() | WITHOUT == VERBS.keys()


@pytest.mark.parametrize("verb", BEHIND)
def test_a_verb_and_its_function_have_the_same_defaults(verb):
    behind = {name: value for part in BEHIND[verb] for name, value in defaults(part).items()}
    typed = defaults(VERBS[verb])
    common = (typed.keys() & behind.keys()) - OF_THEIR_OWN
    assert common, verb
    for name in common:
        expected = None if typed[name] == AUTO and name.startswith("engine") else typed[name]
        assert expected in (behind[name], as_typed(behind[name])), f"{verb}: {name}"


def test_training_and_figures_have_the_same_defaults():
    pytest.importorskip("torch", reason="needs torch")
    from pvae_neuro.plots.model import plot_model
    from pvae_neuro.training.train import TrainConfig

    train, config = defaults(VERBS["train"]), defaults(TrainConfig)
    # None leaves the setting to the configuration.
    said = {name for name in train.keys() & config.keys() if train[name] is not None}
    assert {"model", "seed"} <= said
    for name in said:
        assert train[name] == config[name], name
    plot, figure = defaults(VERBS["plot"]), defaults(plot_model)
    assert (plot["steps"], plot["seed"]) == (figure["steps"], figure["seed"])
