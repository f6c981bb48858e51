"""The proof holds on real runs, is tight enough to use, and refuses what it cannot prove."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_images, random_model

from pvae_neuro.errors import CertificateError
from pvae_neuro.exporters.certify import certify, examine
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.sim.reference import iterate, receive

MODEL = random_model()
IMAGES = random_images(MODEL, 16)


def rows(network):
    return {(r.where.split("[")[0], r.quantity): r for r in examine(network).rows}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from([toy.lateral, toy.predictive]))
def test_no_run_leaves_the_proved_range(seed, kind):
    network = kind(seed, max_count=7)
    proved = rows(network)
    rng = np.random.default_rng(seed)
    words = rng.choice(np.array([0, 65535], np.uint16), (4, 6, network.latents.size))
    pixels = network.input.encode(
        rng.choice([network.input.low, network.input.high], (4, network.input.pixels))
    )
    for z, u in iterate(network, pixels, words):
        emitted = {network.latents.name: z}
        hop = network.schedule[0]
        row = proved[(hop.connections[0], "after its exponent")]
        received = receive(network, hop, emitted)
        assert row.low <= received.min() and received.max() <= row.high
        assert u.min() >= network.latents.u_min and u.max() <= network.latents.u_max


def test_accumulator_range_is_attained():
    network = toy.lateral()
    row = rows(network)[("lateral", "accumulator")]
    weight = network.connections[0].weight.astype(np.int64)
    worst = np.where(weight < 0, weight, 0).sum(axis=1) * 15
    assert row.low == worst.min()


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_quantized_models_are_certified(topology):
    certificate = certify(quantize(MODEL, IMAGES, QuantizeConfig(topology)))
    assert all(row.fits for row in certificate.rows) and len(certificate.rows) >= 6
    assert (certificate.eigenvalue is None) == (topology == "predictive")
    assert certificate.to_dict()["rows"][0]["bits"] <= 24


def test_overflow_names_the_row_and_the_remedy():
    network = toy.lateral()
    wide = replace(network, connections=(replace(network.connections[0], exponent=14),))
    with pytest.raises(CertificateError, match=r"lateral\[\d+\]: after its exponent.*Lower"):
        certify(wide)


def test_instability_is_refused():
    network = toy.lateral(latents=40)
    bare = replace(network.latents, diagonal=np.zeros(40, np.int32))
    with pytest.raises(CertificateError, match="topology predictive"):
        certify(replace(network, populations=(bare,)))


def test_bits_are_two_complement_widths():
    from pvae_neuro.exporters.certify import _row

    for low, high, bits in [(0, 127, 8), (-128, 0, 8), (-129, 0, 9), (0, 128, 9), (-1, 0, 1)]:
        assert _row("x", "y", np.array([low]), np.array([high])).bits == bits
