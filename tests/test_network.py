"""Networks whose parts do not fit are refused where they are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import Hop, same_network


def with_latents(network, **changes):
    latents = replace(network.latents, **changes)
    return replace(network, populations=(latents, *network.populations[1:]))


def with_connection(network, **changes):
    first = replace(network.connections[0], **changes)
    return replace(network, connections=(first, *network.connections[1:]))


LATERAL, PREDICTIVE = toy.lateral(), toy.predictive()

BROKEN = {
    "initial": lambda: with_latents(LATERAL, initial=np.full(12, 1 << 20, np.int32)),
    "leak": lambda: with_latents(LATERAL, leak=np.zeros(3, np.int32)),
    "diagonal": lambda: with_latents(LATERAL, diagonal=np.zeros(12)),
    "du_min < 0": lambda: with_latents(LATERAL, du_min=5),
    "table": lambda: with_latents(LATERAL, u_min=-7 << 12, initial=np.zeros(12, np.int32)),
    "lateral.weight": lambda: with_connection(LATERAL, weight=np.zeros((3, 3), np.int8)),
    "mantissa of 4 bits": lambda: with_connection(LATERAL, bits=4),
    "2 to 8": lambda: with_connection(LATERAL, bits=9),
    "no population": lambda: with_connection(LATERAL, source="nobody"),
    "every connection": lambda: replace(PREDICTIVE, schedule=PREDICTIVE.schedule[:1]),
    "does not end": lambda: replace(PREDICTIVE, schedule=(Hop("latents", ("prediction",)),)),
    "at least one hop": lambda: replace(LATERAL, schedule=()),
    "low < high": lambda: replace(LATERAL, input=replace(LATERAL.input, high=-1.0)),
    "readout.weight": lambda: replace(
        LATERAL, readout=replace(LATERAL.readout, weight=np.zeros((2, 2), np.int16))
    ),
    "drive": lambda: replace(LATERAL, drive=replace(LATERAL.drive, shift=0)),
    "not Poisson": lambda: replace(
        PREDICTIVE, readout=replace(PREDICTIVE.readout, source="errors")
    ),
    "names must differ": lambda: replace(LATERAL, populations=LATERAL.populations * 2),
    "gain": lambda: replace(
        PREDICTIVE,
        populations=(PREDICTIVE.latents, replace(PREDICTIVE.populations[1], gain_shift=0)),
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_refuses(message):
    with pytest.raises(NetworkError, match=message):
        BROKEN[message]()


def test_equality_sees_every_integer():
    assert same_network(toy.lateral(), toy.lateral())
    assert not same_network(toy.lateral(), toy.predictive())
    weight = LATERAL.connections[0].weight.copy()
    weight[0, 0] += 1 if weight[0, 0] < 127 else -1
    assert not same_network(LATERAL, with_connection(LATERAL, weight=weight))


def test_encoding_rounds_half_to_even_and_knows_its_range():
    encoding = LATERAL.input
    assert encoding.encode([0.5 / 4096, 1.5 / 4096, 1.0]).tolist() == [0, 2, 4096]
    assert encoding.integer_range() == (0, 4096)
