from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from models import random_images, random_model  # noqa: E402

from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.evaluation.infer import SAMPLES_PER_BLOCK, infer  # noqa: E402
from pvae_neuro.evaluation.metrics import elements, kurtosis  # noqa: E402
from pvae_neuro.plots.model import plot_model  # noqa: E402


class Alternating:
    """Two sets of images in turn."""

    steps_per_frame = 3

    def __init__(self, *sets: np.ndarray) -> None:
        self.sets = sets

    def frame(self, t: int) -> np.ndarray:
        return self.sets[t % len(self.sets)]


def test_figures_are_what_their_names_say() -> None:
    model = random_model()
    images = random_images(model, 30)
    seen = {}

    def observe(step, block, result):
        seen[step] = result

    trace = infer(model, images, 5, seed=2, observe=observe, average=3)
    assert np.allclose(
        trace.mse,
        [((images - r.reconstruction.numpy()) ** 2).sum(1).mean() for r in seen.values()],
        rtol=1e-5,
    )
    assert np.allclose(trace.zeros, [(r.z == 0).float().mean() for r in seen.values()])
    variance = images.var(axis=0, dtype=np.float64).sum()
    assert np.allclose(trace.r2_mean_image, 1 - trace.mse / variance)
    errors = ((images - seen[4].reconstruction.numpy()) ** 2).mean(axis=1)
    textured = np.ptp(images, axis=1) > 0
    r2 = 1 - errors[textured] / images[textured].var(axis=1)
    assert textured.sum() > 0
    assert trace.r2[4] == pytest.approx(r2.mean(), rel=1e-4)
    assert np.array_equal(trace.z, seen[4].z.numpy())
    average = (seen[2].z + seen[3].z + seen[4].z).numpy() / 3
    assert np.allclose(trace.z_average, average, atol=1e-6)
    assert np.allclose(trace.reconstruction, trace.z @ model.dictionary.T, atol=1e-5)


def test_a_block_does_not_depend_on_what_follows_it() -> None:
    model = random_model()
    images = random_images(model, SAMPLES_PER_BLOCK + 20)
    whole = infer(model, images, 4, seed=1)
    part = infer(model, images[:SAMPLES_PER_BLOCK], 4, seed=1)
    assert np.array_equal(whole.z[:SAMPLES_PER_BLOCK], part.z)
    assert not np.array_equal(whole.z[SAMPLES_PER_BLOCK:], part.z[:20])


def test_state_carries_over_from_frame_to_frame_unless_restarted() -> None:
    model = random_model()
    a, b = random_images(model, 20, 1), random_images(model, 20, 2)
    moving = Alternating(a, b)
    carried = infer(model, moving, 6, seed=0)
    restarted = infer(model, moving, 6, seed=0, restart=True)
    still = infer(model, a, 3, seed=0)
    assert np.array_equal(carried.mse[:3], still.mse)
    assert np.array_equal(restarted.mse[:3], still.mse)
    assert not np.array_equal(carried.mse[3:], restarted.mse[3:])
    assert carried.variance[0] != carried.variance[3]


@pytest.mark.parametrize(
    ("shape", "steps", "seed", "message"),
    [
        ((3, 29), 4, 0, r"expected shape \[N, 30\].*got \[3, 29\]"),
        ((0, 30), 4, 0, "with N >= 1"),
        ((3, 30), 0, 0, "steps"),
        ((3, 30), 4, -1, "seed"),
    ],
)
def test_unfit_requests_are_refused(shape, steps, seed, message) -> None:
    with pytest.raises(InputError, match=message):
        infer(random_model(), np.zeros(shape, np.float32), steps, seed)


def test_elements_of_a_linear_decoder_are_its_columns_by_kurtosis() -> None:
    model = random_model()
    found = elements(model)
    values = kurtosis(found)
    assert (np.diff(values) <= 1e-9).all()
    columns = {tuple(np.round(column, 5)) for column in model.dictionary.T}
    assert {tuple(np.round(row, 5)) for row in found} == columns


def test_kurtosis_of_known_distributions() -> None:
    random = np.random.default_rng(0)
    rows = np.stack([random.normal(size=20000), random.laplace(size=20000), np.ones(20000)])
    normal, laplace, flat = kurtosis(rows)
    # Standard error of the kurtosis of 20,000 normal numbers is sqrt(24 / 20000) = 0.035.
    assert abs(normal) < 0.2
    assert laplace == pytest.approx(3.0, abs=0.8)
    assert flat == 0.0


def test_plot_shows_images_curves_and_elements(tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    model = random_model()
    figure = plot_model(model, random_images(model, 12), 20)
    figure.savefig(tmp_path / "figure.png")
    top, bottom = figure.subfigs
    assert len(figure.axes) == 4
    labels = [text.get_text() for text in top.subfigs[0].axes[0].get_yticklabels()]
    assert labels == ["input", *(f"iteration {n}" for n in (1, 4, 16, 20))]
    assert len(bottom.axes[0].images) == 1
