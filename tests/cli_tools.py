"""Running the command line inside a test."""

from __future__ import annotations

import pytest

from pvae_neuro.cli.main import app


def run_cli(capsys, *arguments):
    """Exit code, stdout and stderr of ``pvae-neuro ARGUMENTS``."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        app([str(argument) for argument in arguments])
    return stop.value.code or 0, *capsys.readouterr()


def make_files(folder, model, inputs, topologies=("lateral", "predictive")):
    """Save a model, its inputs, and its exports."""
    import numpy as np

    from pvae_neuro.export import export_model
    from pvae_neuro.exporters.quantize import QuantizeConfig
    from pvae_neuro.saved.model_file import save_model

    save_model(model, folder / "model.safetensors")
    np.save(folder / "x.npy", inputs)
    for topology in topologies:
        export_model(
            model, folder / f"{topology}.onnx", inputs, QuantizeConfig(topology=topology),
            stability_steps=20,
        )  # fmt: skip
    return folder
