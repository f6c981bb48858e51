"""Iterative Poisson VAEs on neuromorphic hardware: train, quantize, export, run, prove equal.

The public surface is what ``__init__.pyi`` lists. Each name is loaded at its first use, so that
importing the package needs no optional dependency; a name whose dependency is missing says so when
it is used::

    import pvae_neuro as pn

    model = pn.load_model("mnist")
    digits, labels = pn.sample_digits()
    result = pn.export_model(model, "model.onnx", digits, pn.QuantizeConfig(topology="lateral"))
    report = pn.verify(result.network, model, digits, engines=("reference", "onnx", "lava"))
    print(report.outcome, *report.failures)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pvae_neuro.utils import lazy

_folder = Path(__file__).parent
if not (_folder / "sim").is_dir():
    # A clone keeps exporters/ and sim/ beside this package, a wheel inside it.
    __path__.append(str(_folder.parent))

_HOMES = lazy.homes(__file__)

__all__ = sorted([*_HOMES, "__version__"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pvae-neuro")
    return lazy.load(sys.modules[__name__], name, _HOMES)


def __dir__() -> list[str]:
    return __all__
