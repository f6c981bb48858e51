"""The experiment on generalized predictive coding, on random images and trainings of one batch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("torch", reason="trains models")
pytest.importorskip("matplotlib", reason="draws figures")

from pvae_neuro.data import Images
from pvae_neuro.experiments import beyond_gaussian
from pvae_neuro.experiments.generalized.part import Chosen
from pvae_neuro.experiments.shared.claims import Verdict
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.summary import ExperimentSummary
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.training import firing
from pvae_neuro.training.config import TrainConfig


@dataclass
class _Small(Context):
    """Random digits, a real text, and trainings of one batch."""

    budget: str = "quick"

    def images(self, dataset: str, split: str, count: int | None = None) -> Images:
        if dataset == "python-topics":
            # 200 windows are held out from training.
            return super().images(dataset, split, None if split == "all" else 240)
        random = np.random.default_rng(split == "train")
        pixels = random.random((80, 784)).astype(np.float32)
        return Images(pixels, np.arange(80) % 10, (28, 28), 0.0, 1.0, dataset)

    def trained(
        self, key: str, images: Images, config: TrainConfig, start: SavedModel | None = None
    ) -> SavedModel:
        small = {"latents": 8, "steps": 2, "epochs": 1, "batch_size": 40}
        return super().trained(key, images, config.model_copy(update=small), start)


def test_a_guess_stands_for_trainings_that_all_failed() -> None:
    lost = Chosen({}, {0.1: math.nan, 0.01: -math.inf})
    assert (lost.rate, lost.model, lost.budget) == (None, None, "")
    assert lost.figure(lambda model: 1.0, 0.1) == 0.1
    assert "those of a guess" in Chosen({}, {}).by_rate(".3f")
    assert Chosen({}, {0.1: math.nan, 0.03: 1.0, 0.01: 0.5}).rate == 0.03


def test_values_of_all_seeds_choose_the_scale() -> None:
    assert beyond_gaussian._spans([1.0, 5.0, 11.0])
    assert not beyond_gaussian._spans([1.0, 9.0]) and not beyond_gaussian._spans([0.0, 9.0])


def test_all_parts_find_what_their_claims_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "ITERATIONS", 2)  # Nothing here reads what fired in training.
    claims = beyond_gaussian.CLAIMS
    context = _Small(tmp_path / "out", tmp_path, tmp_path, console=Console(quiet=True))
    result = beyond_gaussian.run(context)
    summary = ExperimentSummary("quick", [0, 1], [(0.1, 0.1)] * 2, [result] * 2, claims)
    summary.write(context.out)
    found = json.loads((context.out / "result.json").read_text())
    assert all(row["figures"] for row in found["rows"])
    assert all(finding.measured for finding in summary.findings.values())
    # This one trains nothing.
    limit = next(claim for claim in claims if claim.key == "limit")
    assert limit.judge([result.judged()], "quick").verdict is Verdict.REPRODUCED
