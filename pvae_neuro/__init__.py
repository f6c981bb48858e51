"""Iterative Poisson VAEs on neuromorphic hardware: train, quantize, export, run, prove equal.

The public surface is what this file lists. Each name is loaded at its first use, so that
importing the package needs no optional dependency::

    import pvae_neuro as pn

    model = pn.load_pretrained()
    digits, labels = pn.sample_digits()
    result = pn.export_model(model, "model.onnx", digits, pn.QuantizeConfig(topology="lateral"))
    report = pn.verify(result.network, model, digits, engines=("reference", "onnx", "lava"))
    assert report.passed
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvae_neuro.artifact import Artifact as Artifact
    from pvae_neuro.artifact import load_artifact as load_artifact
    from pvae_neuro.data import Feeder as Feeder
    from pvae_neuro.data import PatchConfig as PatchConfig
    from pvae_neuro.data import extract_patches as extract_patches
    from pvae_neuro.data import load_images as load_images
    from pvae_neuro.data import make_feeder as make_feeder
    from pvae_neuro.errors import ArtifactError as ArtifactError
    from pvae_neuro.errors import CertificateError as CertificateError
    from pvae_neuro.errors import EngineError as EngineError
    from pvae_neuro.errors import EngineUnavailableError as EngineUnavailableError
    from pvae_neuro.errors import InputError as InputError
    from pvae_neuro.errors import ModelFileError as ModelFileError
    from pvae_neuro.errors import NetworkError as NetworkError
    from pvae_neuro.errors import PvaeNeuroError as PvaeNeuroError
    from pvae_neuro.evaluation.evaluate import Evaluation as Evaluation
    from pvae_neuro.evaluation.evaluate import evaluate as evaluate
    from pvae_neuro.evaluation.infer import Trace as Trace
    from pvae_neuro.evaluation.infer import infer as infer
    from pvae_neuro.experiments import ExperimentResult as ExperimentResult
    from pvae_neuro.experiments import experiment_names as experiment_names
    from pvae_neuro.experiments import run_experiment as run_experiment
    from pvae_neuro.experiments.context import Context as Context
    from pvae_neuro.export import ExportResult as ExportResult
    from pvae_neuro.export import export_model as export_model
    from pvae_neuro.exporters.certify import Certificate as Certificate
    from pvae_neuro.exporters.certify import certify as certify
    from pvae_neuro.exporters.quantize import QuantizeConfig as QuantizeConfig
    from pvae_neuro.exporters.quantize import quantize as quantize
    from pvae_neuro.models.base import Model as Model
    from pvae_neuro.models.poisson.ipvae import IPVAE as IPVAE
    from pvae_neuro.models.registry import build_model as build_model
    from pvae_neuro.models.registry import model_from_saved as model_from_saved
    from pvae_neuro.models.registry import model_names as model_names
    from pvae_neuro.network import IntegerNetwork as IntegerNetwork
    from pvae_neuro.plots.model import plot_model as plot_model
    from pvae_neuro.saved.iterative_vae import import_official as import_official
    from pvae_neuro.saved.model_file import ModelConfig as ModelConfig
    from pvae_neuro.saved.model_file import SavedModel as SavedModel
    from pvae_neuro.saved.model_file import load_model as load_model
    from pvae_neuro.saved.model_file import save_model as save_model
    from pvae_neuro.saved.rescaling import rescale_counts as rescale_counts
    from pvae_neuro.sim.engine import Engine as Engine
    from pvae_neuro.sim.engine import Recording as Recording
    from pvae_neuro.sim.engine import engine_names as engine_names
    from pvae_neuro.sim.engine import get_engine as get_engine
    from pvae_neuro.sim.lava import build_lava as build_lava
    from pvae_neuro.training.train import TrainConfig as TrainConfig
    from pvae_neuro.training.train import recipe as recipe
    from pvae_neuro.training.train import train as train
    from pvae_neuro.verification.against_float import Tolerances as Tolerances
    from pvae_neuro.verification.report import write_report as write_report
    from pvae_neuro.verification.verify import ParityReport as ParityReport
    from pvae_neuro.verification.verify import verify as verify
    from pvae_neuro.zoo import load_pretrained as load_pretrained
    from pvae_neuro.zoo import pretrained_model_path as pretrained_model_path
    from pvae_neuro.zoo import sample_digits as sample_digits

# Where each name lives; the imports above say the same to type checkers, and a test compares both.
_HOMES = {
    "artifact": ("Artifact", "load_artifact"),
    "data": ("Feeder", "PatchConfig", "extract_patches", "load_images", "make_feeder"),
    "errors": (
        "ArtifactError",
        "CertificateError",
        "EngineError",
        "EngineUnavailableError",
        "InputError",
        "ModelFileError",
        "NetworkError",
        "PvaeNeuroError",
    ),
    "evaluation.evaluate": ("Evaluation", "evaluate"),
    "evaluation.infer": ("Trace", "infer"),
    "experiments": ("ExperimentResult", "experiment_names", "run_experiment"),
    "experiments.context": ("Context",),
    "export": ("ExportResult", "export_model"),
    "exporters.certify": ("Certificate", "certify"),
    "exporters.quantize": ("QuantizeConfig", "quantize"),
    "models.base": ("Model",),
    "models.poisson.ipvae": ("IPVAE",),
    "models.registry": ("build_model", "model_from_saved", "model_names"),
    "network": ("IntegerNetwork",),
    "plots.model": ("plot_model",),
    "saved.iterative_vae": ("import_official",),
    "saved.model_file": ("ModelConfig", "SavedModel", "load_model", "save_model"),
    "saved.rescaling": ("rescale_counts",),
    "sim.engine": ("Engine", "Recording", "engine_names", "get_engine"),
    "sim.lava": ("build_lava",),
    "training.train": ("TrainConfig", "recipe", "train"),
    "verification.against_float": ("Tolerances",),
    "verification.report": ("write_report",),
    "verification.verify": ("ParityReport", "verify"),
    "zoo": ("load_pretrained", "pretrained_model_path", "sample_digits"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "__version__"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pvae-neuro")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pvae_neuro' has no attribute {name!r}")
    value = getattr(import_module(f"pvae_neuro.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
