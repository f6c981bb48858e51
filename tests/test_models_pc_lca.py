"""Predictive coding and sparse coding: their hand-written updates, and that they learn."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from test_model_contract import bars, options  # noqa: E402
from test_models_amortized import inputs, learned, model, normal, settings  # noqa: E402

from pvae_neuro.errors import InputError  # noqa: E402
from pvae_neuro.evaluation.infer import infer  # noqa: E402
from pvae_neuro.models.rivals.lca import LCA  # noqa: E402
from pvae_neuro.saved.model_file import ModelConfig  # noqa: E402
from pvae_neuro.training.train import recipe, train  # noqa: E402


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_nodes_descend_the_energy(activation: str) -> None:
    """The local update is minus the gradient of the energy, by autograd and by differences."""
    pc = model("pc", dtype=torch.float64, hidden=(7, 8), activation=activation, step_size=0.01)
    x = inputs(dtype=torch.float64)
    nodes = tuple(normal(size, 5, size).requires_grad_() for size in (6, 7, 8))

    def energy(values: Any) -> Any:
        return (pc.energy(x, values) + 0.5 * 0.3 * values[0].square().sum(1)).sum()

    wanted = torch.autograd.grad(energy(nodes), nodes)
    moved = pc.settle(x, nodes, 0.3)
    for old, new, gradient in zip(nodes, moved, wanted, strict=True):
        update = (new - old.detach()) / 0.01
        assert torch.allclose(update, -gradient)
        direction = normal(0, *old.shape)
        ends = [[n + sign * direction if n is old else n for n in nodes] for sign in (1e-5, -1e-5)]
        slope = float((energy(ends[0]) - energy(ends[1])).detach()) / 2e-5
        assert slope == pytest.approx(-float((update * direction).sum()), rel=1e-5)


def test_learning_descends_the_energy_at_the_settled_nodes() -> None:
    pc, x = model("pc", dtype=torch.float64, hidden=(7, 8)), inputs(dtype=torch.float64)
    window = pc.window(x, pc.start(x), settings(steps=5))
    window.nll.backward()
    errors = pc.errors(x, window.state)
    for layer, below, above in zip(pc.layers, errors, window.state, strict=True):
        assert torch.allclose(layer.weight.grad, -below.T @ torch.tanh(above) / 5)
        assert torch.allclose(layer.bias.grad, -below.mean(0))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_settling_lowers_the_energy_from_the_start(activation: str) -> None:
    own = {"hidden": (7, 8), "activation": activation, "step_size": 0.05}
    pc, x = model("pc", dtype=torch.float64, **own), inputs(dtype=torch.float64)
    state = pc.start(x)
    energies = [float(pc.energy(x, state).detach().sum())]
    for _ in range(20):
        state = pc.settle(x, state, 0.0)
        energies.append(float(pc.energy(x, state).detach().sum()))
    assert energies[-1] < 0.9 * energies[0]
    # Steps across a kink of the rectified energy may climb a little.
    slack = 0.0 if activation == "tanh" else 0.1
    assert all(after < before + slack for before, after in pairwise(energies))
    assert float(state[0].abs().max()) > 0


@pytest.mark.parametrize("name", ["pc", "ipc"])
def test_predictive_coding_learns(name: str, tmp_path: Path) -> None:
    own = {"windows": 10} if name == "ipc" else {"steps": 20}
    first, last, saved = learned(name, tmp_path, epochs=20, **own)
    assert last < 0.75 * first
    trace = infer(saved, bars(64, seed=9).pixels, 100, 0)
    assert trace.r2_mean_image[-1] > 0.3 and trace.r2_mean_image[-1] > trace.r2_mean_image[0]
    assert trace.change[-1] < 0.1 * trace.change[0]


@pytest.mark.parametrize("nonnegative", [False, True])
def test_sparse_codes_are_optimal(nonnegative: bool) -> None:
    """Conditions of the least ``½|x - Φa|² + λ|a|₁``: slopes balance λ, or do not reach it."""
    lca = model("lca", latents=30, beta=0.2, dtype=torch.float64, nonnegative=nonnegative)
    x = inputs(dtype=torch.float64)
    a = lca.window(x, lca.start(x), settings(steps=3000, beta=0.2)).z
    slope = (x - lca.decode(a).detach()) @ lca.dictionary.detach()
    active = a != 0
    assert 0 < int(active.sum()) < a.numel()
    assert torch.allclose(slope[active], 0.2 * a[active].sign(), atol=1e-4)
    assert float(slope.max()) < 0.2 + 1e-4
    if nonnegative:
        assert float(a.min()) == 0.0
    else:
        assert float(slope.min()) > -0.2 - 1e-4


def test_a_window_takes_the_steps_of_iterate() -> None:
    lca, x = model("lca", latents=30, beta=0.2, dtype=torch.float64), inputs(dtype=torch.float64)
    window = lca.window(x, lca.start(x), settings(steps=7, beta=0.2))
    state = lca.start(x)
    for _ in range(7):
        state = lca.iterate(x, state, None).state
    assert torch.allclose(window.state[0], state[0])
    assert torch.allclose(window.state[1], state[1])


def test_atoms_keep_unit_norm_and_sparse_coding_learns(tmp_path: Path) -> None:
    first, last, saved = learned("lca", tmp_path, latents=24, beta=0.1, steps=40, epochs=30)
    assert last < 0.75 * first
    assert np.allclose(np.linalg.norm(saved.dictionary, axis=0), 1.0, atol=1e-5)
    trace = infer(saved, bars(64, seed=9).pixels, 200, 0)
    assert trace.r2_mean_image[-1] > 0.8 and trace.zeros[-1] > 0.1


def test_higher_price_gives_sparser_codes(tmp_path: Path) -> None:
    zeros = []
    for beta in (0.05, 0.5):
        wanted = recipe("lca", latents=24, beta=beta, epochs=5, batch_size=32)
        saved = train(bars(128), wanted, tmp_path / f"{beta}.st", options())
        zeros.append(infer(saved, bars(64, seed=9).pixels, 100, 0).zeros[-1])
    assert zeros[0] < zeros[1]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="step"):
        model("lca", step=1.5)
    with pytest.raises(InputError, match="activation"):
        model("pc", activation="sine")


def test_overlapping_atoms_settle_instead_of_swinging_up() -> None:
    """Forty nearly equal atoms: eigenvalue 40, at which a step of 0.1 is unstable."""
    config = ModelConfig(
        family="lca", pixels=16, latents=40, steps=1, beta=0.01, input_low=0.0, input_high=1.0
    )
    lca = LCA(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        lca.dictionary.mul_(0.01).add_(1.0)
    lca.project()
    assert lca.stable_step() == pytest.approx(1.5 / 40, rel=0.01)
    x = torch.rand(5, 16, generator=torch.Generator().manual_seed(1))
    state = lca.start(x)
    for _ in range(500):
        result = lca.iterate(x, state, None)
        state = result.state
    assert torch.isfinite(result.reconstruction).all()
    assert float(result.change.max()) < 1e-2
    wide = lca.architecture.model_copy(update={"step": 0.01})
    lca.architecture = wide
    assert lca.stable_step() == 0.01
