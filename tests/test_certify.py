"""The proof holds on real runs, is tight enough to use, and refuses what it cannot prove."""

from __future__ import annotations

import pickle
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
from pvae_neuro.exporters.remedies import REMEDIES
from pvae_neuro.exporters.spectrum import eigenvalues, inhibition_matrix
from pvae_neuro.network import (
    Activation,
    Measurements,
    Population,
    Program,
    Sampler,
    Variable,
    shared,
    trace,
)
from pvae_neuro.neurons import bernoulli
from pvae_neuro.sim.reference import iterate, receive

MODEL = random_model()
IMAGES = random_images(MODEL, 16)


def test_draws_of_neurons_that_differ_in_their_rule_have_no_common_distance():
    constants = [
        replace(each, values=np.array([4, 3], np.int32)) if each.name == "spare" else each
        for each in bernoulli.firing_constants(14)
    ]
    variables = Variable("u", shared(0)), Variable("z", shared(0))
    cells = Population("cells", 2, variables, tuple(constants), (bernoulli.FIRE,), Sampler(1, 14))
    with pytest.raises(CertificateError, match=r"cells\.spare: expected one value for all neurons"):
        bernoulli.total_variation(cells, -100, 100)


def rows(network):
    return {(r.where, r.quantity): r for r in examine(network).rows}


def refused(network, message):
    with pytest.raises(CertificateError, match=message) as caught:
        certify(network)
    assert caught.value.remedy in REMEDIES
    return caught.value.remedy


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from([toy.lateral, toy.predictive]))
def test_no_run_leaves_the_proved_range(seed, kind):
    network = kind(seed, max_count=7)
    proved, bounds = rows(network), network.ranges.variables
    rng = np.random.default_rng(seed)
    words = {"latents": rng.choice(np.array([0, 65535], np.uint16), (4, 7, 12))}
    corners = rng.choice([network.input.low, network.input.high], (4, network.input.size))
    x = network.input.encode(corners)
    frame = {f"{e.population}.{e.variable}": e.apply(x) for e in network.encodings}
    for state in iterate(network, [frame], 6, words, 4):
        for name in network.variables:
            assert bounds[name].smallest <= state[name].min(), name
            assert state[name].max() <= bounds[name].largest, name
        for activation in network.iteration:
            received = receive(network, activation, state)
            for name, connections in network.groups(activation).items():
                row = proved[(" + ".join(c.name for c in connections), "after its exponent")]
                assert row.low <= received[name].min() and received[name].max() <= row.high


def test_accumulator_range_is_attained():
    network = toy.lateral()
    row = rows(network)[("lateral", "accumulator")]
    weight = network.connection_of["lateral"].weight.astype(np.int64)
    worst = np.where(weight < 0, weight, 0).sum(axis=1) * 15
    assert row.low == worst.min()


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_quantized_models_are_certified(topology):
    certificate = certify(quantize(MODEL, IMAGES, QuantizeConfig(topology)))
    assert all(row.fits for row in certificate.rows) and len(certificate.rows) >= 20
    assert (certificate.eigenvalue is None) == (topology == "predictive")
    (sampler,) = certificate.samplers
    assert sampler.total_variation <= sampler.limit == 3e-4 and sampler.tail <= 1e-4
    plain = certificate.to_dict()
    assert len(plain["rows"]) == len(certificate.rows)
    assert plain["total_variation"] == certificate.total_variation == sampler.total_variation


def test_the_widest_rows_are_one_for_each_place():
    certificate = examine(toy.predictive())
    widest = certificate.widest()
    places = [(row.part, row.where) for row in widest]
    assert len(set(places)) == len(places)
    assert {w for part, w in places if part == "connection"} == {"pixels", "prediction", "feedback"}
    for row in certificate.rows:
        if row.part != "shift":
            shown = widest[places.index((row.part, row.where))]
            assert shown.limit_bits - shown.bits <= row.limit_bits - row.bits


def test_overflow_names_the_row_and_carries_a_remedy():
    wide = toy.with_connection(toy.lateral(), "lateral", exponent=14)
    assert refused(wide, r"^lateral\[\d+\]: after its exponent can reach") == "narrower"


def test_sums_of_the_host_are_proved_too():
    network = toy.lateral()
    wide = replace(
        network,
        readout=replace(network.readout, frac_bits=-16),
        input=replace(network.input, frac_bits=20),
    )
    assert refused(wide, "^readout: squared error can reach") == "inputs"


def test_a_remedy_does_not_depend_on_names():
    network = toy.lateral()
    drive, lateral = network.connections
    integrate = replace(network.iteration[1], connections=("drive", "readout"))
    renamed = replace(
        network,
        connections=(drive, replace(lateral, name="readout", exponent=14)),
        iteration=(network.iteration[0], integrate),
    )
    assert refused(renamed, r"^readout\[\d+\]: after its exponent") == "narrower"


def test_log_rates_beyond_the_sampler_are_refused():
    high = toy.with_constant(toy.lateral(), "latents", u_max=4 << toy.FRAC_BITS)
    assert refused(high, "latents: log-rates can reach 4, where .* exceed 15") == "counts"
    low = toy.with_constant(toy.lateral(), "latents", u_min=-17 << toy.FRAC_BITS)
    assert refused(low, "latents: log-rates can reach -17, expected at least -16") == "clip"


def test_a_variable_without_bounds_is_refused():
    def count_up(n):
        n.c = n.c + 1

    network = toy.lateral()
    drive, latents = network.populations
    latents = replace(
        latents,
        variables=(*latents.variables, Variable("c", shared(0), 8)),
        programs=(*latents.programs, trace(count_up)),
    )
    network = replace(
        network,
        populations=(drive, latents),
        iteration=(*network.iteration, Activation("latents", "count_up")),
    )
    assert refused(network, r"^latents\.c: its programs do not keep it within a range") == "clip"


def bare():
    """A network whose inhibition has lost its diagonal, far from semidefinite."""
    return toy.with_constant(toy.lateral(latents=40), "latents", diagonal=np.zeros(40))


def test_unstable_inhibition_of_a_lowered_network_is_refused():
    lowered = replace(bare(), measurements=Measurements(smallest_eigenvalue_float=0.0))
    remedy = refused(lowered, "smallest eigenvalue is -.* of its largest entry")
    assert remedy == "predictive"


def test_excitation_of_a_network_of_ones_own_is_its_own_affair():
    assert certify(bare()).eigenvalue < -1


def test_the_eigenvalue_is_that_of_the_matrix():
    network = toy.lateral()
    weight = network.connection_of["lateral"].weight.astype(float) * 8
    matrix = np.diag(network.population_of["latents"].constant("diagonal")) - weight
    assert np.array_equal(inhibition_matrix(network), matrix)
    exact = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    assert np.allclose(eigenvalues(matrix), exact)
    assert np.isclose(examine(network).eigenvalue, exact[0] / np.abs(matrix).max())


@pytest.mark.parametrize(("max_count", "limit"), [(15, 3e-4), (127, 3e-4), (255, 6e-4)])
def test_accuracy_of_the_sampler_over_all_that_it_can_draw_from(max_count, limit):
    (sampler,) = examine(toy.predictive(max_count=max_count)).samplers
    assert sampler.limit == limit and sampler.total_variation <= limit
    assert sampler.tail <= 1e-4


def test_a_population_that_only_reads_words_has_no_sampler_to_judge():
    def flip(n):
        n.z = n.word() >= n.threshold

    latents = replace(
        toy.predictive().population_of["latents"],
        programs=(Program("fire", trace(flip).instructions, trace(flip).outputs),),
    )
    latents = replace(
        latents, constants=(replace(latents.constants[0], name="threshold"),), sampler=Sampler(1, 4)
    )
    network = replace(
        toy.predictive(),
        populations=(latents,),
        encodings=(),
        connections=(),
        iteration=(Activation("latents", "fire"),),
        final=(),
        readout=None,
    )
    assert certify(network).samplers == ()


def test_errors_keep_their_remedy_between_processes():
    again = pickle.loads(pickle.dumps(CertificateError("too wide", "narrower")))
    assert str(again) == "too wide" and again.remedy == "narrower"
