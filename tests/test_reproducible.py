"""The same export wherever it is made: no last bit of a library's arithmetic decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_images, random_model

from pvae_neuro.exporters.lowerings import lowering_of, topologies
from pvae_neuro.exporters.lowerings.lateral import lateral_weights, raise_diagonal
from pvae_neuro.exporters.onnx.program import program_hash
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import Dense, FloatCircuit
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils import reproducible
from pvae_neuro.utils.reproducible import power_below, product, squashed, sums
from pvae_neuro.zoo import load_pretrained, sample_digits

RNG = np.random.default_rng(0)


def spread(*shape: int) -> np.ndarray:
    """Numbers of many magnitudes and both signs."""
    return RNG.normal(size=shape) * np.exp(RNG.normal(0.0, 4.0, shape))


@pytest.mark.parametrize("depth", [1, 2, 7, 255, 256, 5000])
def test_a_product_is_the_same_in_any_order(depth: int) -> None:
    left, right = spread(3, depth), spread(depth, 4)
    found = product(left, right)
    for _ in range(5):
        order = RNG.permutation(depth)
        assert np.array_equal(product(left[:, order], right[order]), found)
    # What is cut off, and two roundings of the result.
    reach = np.abs(left).max(axis=1)[:, None] * np.abs(right).max(axis=0)
    for row in range(3):
        for column in range(4):
            pairs = zip(left[row].tolist(), right[:, column].tolist(), strict=True)
            exact = sum(Fraction(a) * Fraction(b) for a, b in pairs)
            slack = 4 * depth * reach[row, column] * 2.0**-60 + abs(float(exact)) * 2.0**-51
            assert abs(found[row, column] - float(exact)) <= slack


def test_a_product_of_zeros_and_of_the_largest_numbers() -> None:
    assert not product(np.zeros((2, 3)), spread(3, 2)).any()
    large = np.full((2, 3), 3e38)
    assert np.allclose(product(large, large.T), 2.7e77, rtol=1e-15)


@settings(max_examples=300, deadline=None)
@given(value=st.floats(-800, 700))
def test_exponentials_are_the_nearest_floats(value: float) -> None:
    exact = Context(prec=60).exp(Decimal(value))
    found = float(reproducible.exp(value))
    error = abs(Decimal(found) - exact)
    for neighbour in (np.nextafter(found, np.inf), np.nextafter(found, -np.inf)):
        assert error <= abs(Decimal(float(neighbour)) - exact)
    assert abs(found - np.exp(value)) <= 4 * np.spacing(found)


def test_exponentials_beyond_all_floats() -> None:
    found = reproducible.exp(np.array([3e38, -3e38, np.inf, -np.inf], np.float64))
    assert found.tolist() == [np.inf, 0.0, np.inf, 0.0]
    assert reproducible.exp(np.float32(0)).shape == ()


def test_squashing_is_near_that_of_numpy_and_ends_at_its_bound() -> None:
    values = np.concatenate([spread(200), [0.0, 3e38, -3e38]]).astype(np.float32)
    found = squashed(values, 3.45)
    assert np.allclose(found, 3.45 * np.tanh(values.astype(np.float64) / 3.45), rtol=1e-15)
    assert found[-2:].tolist() == [3.45, -3.45]


def test_sums_of_rows_are_rounded_once() -> None:
    rows = spread(5, 300)
    exact = [float(sum(map(Fraction, row))) for row in rows.tolist()]
    assert sums(rows).tolist() == exact == sums(rows[:, ::-1]).tolist()


@settings(max_examples=300, deadline=None)
@given(most=st.floats(1e-300, 1e300), reached=st.floats(1e-300, 1e300))
def test_the_power_of_two_is_the_largest(most: float, reached: float) -> None:
    power = power_below(most, reached)
    assert Fraction(reached) * Fraction(2) ** power <= Fraction(most)
    assert Fraction(reached) * Fraction(2) ** (power + 1) > Fraction(most)


def hashes(model: SavedModel, images: np.ndarray) -> list[str]:
    return [
        program_hash(quantize(model, images, QuantizeConfig(topology, bits)))
        for topology in topologies("ipvae-linear")
        for bits in (8, 3)
    ]


MODEL = random_model(signed=True)
IMAGES = random_images(MODEL, 16)


def noisy(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Off by up to 64 last bits, as sums in another order are."""
    return values * (1.0 + rng.integers(-64, 65, values.shape) * np.finfo(values.dtype).eps)


@pytest.mark.parametrize("seed", range(3))
def test_last_bits_of_the_float_circuit_decide_nothing(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    expected = hashes(MODEL, IMAGES)
    rng = np.random.default_rng(seed)
    exact, rebuilt, exp = Dense.product, FloatCircuit.reconstruct, np.exp
    calls = []

    def multiply(self: Dense, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        calls.append(values.dtype)
        return noisy(exact(self, values, weight), rng)

    monkeypatch.setattr(Dense, "product", multiply)
    monkeypatch.setattr(FloatCircuit, "reconstruct", lambda *a: noisy(rebuilt(*a), rng))
    monkeypatch.setattr(np, "exp", lambda x: noisy(np.asarray(exp(x)), rng))
    assert hashes(MODEL, IMAGES) == expected
    assert set(calls) == {np.dtype(np.float64)}


def test_weights_take_nothing_from_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither exponentials nor logarithms of NumPy are used for what is rounded."""
    expected = lateral_weights(MODEL), MODEL.variance, MODEL.leak, MODEL.step_size
    for name in ("exp", "log", "log2", "tanh", "exp2", "einsum", "dot"):
        monkeypatch.setattr(np, name, lambda *_, **__: pytest.fail("a library's function is used"))
    found = lateral_weights(MODEL), MODEL.variance, MODEL.leak, MODEL.step_size
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_diagonal_is_not_raised_for_the_last_bit_of_an_eigenvalue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral", 3))
    added = []
    for off in (0.0, 1e-9, -1e-9):
        values = np.array([-5.0 + off, 1.0])
        monkeypatch.setattr(
            "pvae_neuro.exporters.lowerings.lateral.eigenvalues", lambda _, v=values: v
        )
        added.append(raise_diagonal(network, 1.0).choices[-1].value)
    assert added == [5, 5, 5]


CODE = """
import json
from models import random_images, random_model
from test_reproducible import IMAGES, MODEL, hashes
print(json.dumps(hashes(MODEL, IMAGES)))
"""


def elsewhere(**settings: str) -> list[str]:
    """The hashes as another process finds them, with other libraries' settings."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONPATH": path, **settings},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return list(json.loads(found.stdout.splitlines()[-1]))


def dispatched() -> str:
    """Instructions of this processor that NumPy may do without."""
    umath = (
        sys.modules.get("numpy._core._multiarray_umath")
        or sys.modules["numpy.core._multiarray_umath"]
    )
    return " ".join(name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name))


@pytest.mark.parametrize(
    "settings",
    [
        {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        # BLAS and NumPy as on an old processor.
        {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": dispatched()},
    ],
    ids=["one thread", "an old processor"],
)
def test_other_threads_and_processors_make_the_same_programs(settings: dict[str, str]) -> None:
    assert elsewhere(**settings) == hashes(MODEL, IMAGES)


SHIPPED = {
    "lateral": "90dc7075ab47e1dd234f1c99b14c072b38e9e2b4834407765e6dc46bdad069bc",
    "predictive": "11dd57cea8c97c3c1a7601c2cdb6f4bc02fb88fcc96e5fa2a196d534a6e5f29c",
}


def test_the_shipped_models_programs_are_those_of_every_installation() -> None:
    """Made with NumPy 1.26 and 2.5, Python 3.10 and 3.12; they change with the exporter alone."""
    found = {
        topology: program_hash(
            quantize(load_pretrained(), sample_digits()[0], QuantizeConfig(topology))
        )
        for topology in topologies("ipvae-linear")
    }
    assert found == SHIPPED


def test_calibration_runs_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    lowering = type(lowering_of("predictive", "ipvae-linear"))
    real = lowering.circuit

    def circuit(self: object, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        seen.append(dtype)
        return real(self, model, dtype)

    monkeypatch.setattr(lowering, "circuit", circuit)
    quantize(MODEL, IMAGES)
    assert set(seen) == {"float64"}
