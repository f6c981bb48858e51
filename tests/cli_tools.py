"""Running the command line inside a test."""

from __future__ import annotations

from math import inf
from unittest import mock

from pvae_neuro.cli.main import run_command
from pvae_neuro.utils import progress


def run_cli(capsys, *arguments):
    """Exit code, stdout and stderr of ``pvae-neuro ARGUMENTS``, without lines of progress.

    Those come where a stage takes some seconds, which depends on the machine.
    """
    capsys.readouterr()
    with mock.patch.multiple(progress, QUIET_SECONDS=inf, LINE_SECONDS=inf):
        code = run_command([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def make_files(folder, model, inputs, topologies=("lateral", "predictive")):
    """Save a model, its inputs, and its exports, of whatever quality."""
    import numpy as np

    from pvae_neuro.export import export_model
    from pvae_neuro.exporters.quantize import QuantizeConfig
    from pvae_neuro.saved.model_file import save_model

    save_model(model, folder / "model.safetensors")
    np.save(folder / "x.npy", inputs)
    for topology in topologies:
        export_model(
            model, folder / f"{topology}.onnx", inputs, QuantizeConfig(topology=topology),
            stability_steps=20, accept=True,
        )  # fmt: skip
    return folder
