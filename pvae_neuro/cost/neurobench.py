"""Figures under the names of NeuroBench, where its definitions fit.

NeuroBench counts per execution of the model, which is an image of all its iterations here. An
operation counts as an accumulation where the message is 1 or -1, and else as a multiplication with
accumulation: a count of 2 is one. (Its own harness decides so for a layer as a whole.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pvae_neuro.cost.counts import carrying
from pvae_neuro.cost.sampler_path import table_bytes
from pvae_neuro.cost.synapses import fan_out
from pvae_neuro.network import IntegerNetwork

# Variables and constants are stored in 32 bits, as an engine holds them; weights in 8.
WORD_BYTES = 4


def footprint(network: IntegerNetwork) -> dict[str, int]:
    """Bytes of weights, each stored once, variables, constants and the sampler's table."""
    drawing = [p.sampler for p in network.drawing if p.sampler is not None]
    return {
        "weights": sum(c.weight.nbytes for c in network.connections if c.shared is None),
        "variables": WORD_BYTES * sum(p.size * len(p.variables) for p in network.populations),
        "constants": WORD_BYTES
        * sum(len(c.values) for p in network.populations for c in p.constants),
        "sampler": sum(table_bytes(s.max_count) for s in drawing),
    }


def neurobench(network: IntegerNetwork, means: Mapping[str, float], steps: int) -> dict[str, Any]:
    """Metrics by their names.

    Parameters
    ----------
    network : IntegerNetwork
    means : mapping of str to float
        Counts per image and iteration.
    steps : int
        Iterations of an image.
    """
    sending = carrying(network)
    fans = [fan_out(c, np.ones((1, c.shape[0]))) for c in sending]
    stored, nonzero = (float(sum(fan[kind].sum() for fan in fans)) for kind in (0, 1))
    values = sum(c.shape[1] for a in network.iteration for c in sending if c.name in a.connections)
    return {
        "Footprint": sum(footprint(network).values()),
        "ConnectionSparsity": 1 - nonzero / stored if stored else None,
        "ActivationSparsity": 1 - means["messages"] / values if sending else None,
        "SynapticOperations": {
            "Effective_MACs": steps * means["macs"],
            "Effective_ACs": steps * means["acs"],
            "Dense": steps * means["synops_dense"],
        },
    }
