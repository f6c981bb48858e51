"""A neuron of one's own: leaky integrate-and-fire with a refractory period, on every engine."""

import sys

import numpy as np

from pvae_neuro.artifact import load_artifact, save_artifact
from pvae_neuro.exporters.certify import certify
from pvae_neuro.network import (
    Activation,
    Constant,
    Dense,
    Encoding,
    Input,
    IntegerNetwork,
    Population,
    Variable,
    listing,
    shared,
    trace,
)
from pvae_neuro.sim.engine import get_engine


def fire(n):
    """Leak, add up what arrives, and fire at the threshold unless still waiting."""
    ready = n.wait <= 0
    charged = n.clip(n.mul(n.u, n.decay, n.decay_bits) + n.given + n.own, n.u_min, n.u_max)
    n.s = n.min(ready, charged >= n.threshold)
    n.u = n.select(ready, n.select(n.s, 0, charged), 0)
    n.wait = n.select(n.s, n.pause, n.max(n.wait - 1, 0))


def lif_network(neurons=12, pixels=16):
    """Cells that hear the pixels and each other."""
    rng = np.random.default_rng(0)
    cells = Population(
        name="cells",
        size=neurons,
        variables=(
            Variable("s", shared(0), bits=2),
            Variable("u", shared(0), bits=16),
            Variable("wait", shared(0), bits=8),
        ),
        constants=(
            Constant("decay", rng.integers(3500, 4000, neurons, dtype=np.int32)),
            Constant("decay_bits", shared(12)),
            Constant("threshold", shared(900)),
            Constant("pause", rng.integers(1, 5, neurons, dtype=np.int32)),
            Constant("u_min", shared(-2000)),
            Constant("u_max", shared(2000)),
        ),
        programs=(trace(fire),),
    )
    return IntegerNetwork(
        name="lif",
        input=Input(size=pixels, low=0.0, high=1.0, frac_bits=6),
        encodings=(Encoding("pixels", "x"),),
        populations=(Population("pixels", pixels, (Variable("x", shared(0)),)), cells),
        connections=(
            Dense("forward", "pixels", "x", "cells", weights(rng, neurons, pixels), -4, "given"),
            Dense("lateral", "cells", "s", "cells", weights(rng, neurons, neurons), 1, "own"),
        ),
        iteration=(Activation("cells", "fire", ("forward", "lateral")),),
    )


def weights(rng, targets, sources):
    """Random mantissas, more of them positive."""
    return rng.integers(-40, 90, (targets, sources)).astype(np.int8)


def main(engines):
    """Listing, certificate, artifact, and the same integers on every engine."""
    network = lif_network()
    print(listing(network))
    certificate = certify(network)
    print(f"{len(certificate.rows)} words proved to fit their widths")

    images = np.random.default_rng(1).random((3, network.input.size))
    save_artifact(network, images, "lif.onnx")
    network = load_artifact("lif.onnx").network
    runs = {name: get_engine(name).run(network, images, 40, 0, record="full") for name in engines}
    for name, run in runs.items():
        equal = all(np.array_equal(run[v], runs["reference"][v]) for v in network.variables)
        print(f"{name}: {run['cells.s'].sum()} spikes, {'equal' if equal else 'DIFFERENT'}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["reference", "fast", "onnx", "lava"])
