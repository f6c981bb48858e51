"""Runs cases of one revision when it is told to; works in either revision's environment.

Reads a line of JSON for each case and answers with a line. ``fast_against_revision.py`` starts it.
What moved between revisions is looked for in both places.
"""

import hashlib
import json
import os
import sys
import time

import numpy as np

if os.environ.get("LET_AVX2"):
    # The other revision takes any limit for one without AVX2.
    import pvae_neuro.sim.fast.vectors

    pvae_neuro.sim.fast.vectors._AVX2 = True

import pvae_neuro as pn
from pvae_neuro.sim.engine import get_engine

try:
    from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
except ImportError:
    from pvae_neuro import QuantizeConfig, quantize

LATENTS, ACTIVITY, PIXELS = 512, 0.16, 16


def digest(array):
    """Of magnitudes: a sign may stand in the weights or in the rule."""
    values = np.ascontiguousarray(np.abs(np.asarray(array).astype(np.int64)))
    return hashlib.sha256(values).hexdigest()[:16]


def described(network):
    """Weights and constants that both revisions have, by name."""
    found = {}
    for c in network.connections:
        if c.weight.ndim == 2:
            found[c.name] = [c.exponent, digest(c.weight)]
    for p in network.populations:
        constants = {c.name: c.values for c in getattr(p, "constants", ())}
        for name in ("leak", "gain"):
            values = constants.get(name, getattr(p, name, None))
            if values is not None:
                found[p.name + "." + name] = digest(values)
    return found


def settled(network):
    """Potentials that a digit's neurons have after 128 iterations."""
    recording = engine.run(network, images_of(network, 1), 128, 0, record="full")
    if hasattr(recording, "final"):
        return recording.final[0]
    return recording["latents.u"][0, -1]


def draws(kind):
    """Neurons with drive, leak and diagonal, whose potentials stay, and no connection else.

    Either potentials spread over two nats, or as the shipped model's settle.
    """
    try:
        from pvae_neuro.bench.networks import pinned_network
    except ImportError:
        return _draws_of_hops(kind)
    from dataclasses import replace

    from pvae_neuro.network import Activation, Constant, IntegerNetwork, Readout
    from pvae_neuro.network.program import trace
    from pvae_neuro.neurons.poisson import FIRE, integrated

    def integrate(n):
        n.u = integrated(n, n.drive - n.leak - n.diagonal * n.z)

    whole = pinned_network("lateral", LATENTS, PIXELS, ACTIVITY)
    drive, latents = whole.populations
    if kind == "settled":
        network = shipped("lateral")
        latents = network.latents
        zero = np.zeros(LATENTS, np.int32)
        u, z = latents.variables
        latents = replace(
            latents,
            variables=(replace(u, initial=settled(network).astype(np.int32)), z),
            constants=tuple(
                Constant(c.name, zero) if c.name in ("leak", "diagonal") else c
                for c in latents.constants
            ),
        )
    fire = Activation("latents", "fire")
    weight = np.zeros((PIXELS, LATENTS), np.int16)
    return IntegerNetwork(
        name="draws",
        input=whole.input,
        encodings=whole.encodings,
        populations=(drive, replace(latents, programs=(FIRE, trace(integrate)))),
        connections=(whole.connection_of["drive"],),
        iteration=(fire, Activation("latents", "integrate", ("drive",))),
        final=(fire,),
        readout=Readout("latents", "z", weight, None, 11),
    )


def _draws_of_hops(kind):
    """The same where a network is a list of hops: one that no connection takes part in."""
    from dataclasses import replace

    from pvae_neuro.bench_networks import pinned_network
    from pvae_neuro.network import Hop
    from pvae_neuro.sim.fast import plan

    rows = plan._rows

    def rows_of(events):
        if events:
            return rows(events)
        none = np.zeros((0, plan.BYTE_LANES), np.int8)
        return plan.Rows(none, np.zeros((0, LATENTS), np.int32), np.zeros(0, np.int64))

    # Stacking no weights is an error there; its kernel takes them.
    plan._rows = rows_of
    whole = pinned_network("lateral", LATENTS, PIXELS, ACTIVITY)
    latents = whole.latents
    if kind == "settled":
        network = shipped("lateral")
        zero = np.zeros(LATENTS, np.int32)
        u = settled(network).astype(np.int32)
        latents = replace(network.latents, initial=u, leak=zero, diagonal=zero)
    readout = replace(whole.readout, weight=np.zeros((PIXELS, LATENTS), np.int16))
    return replace(
        whole,
        populations=(latents,),
        connections=(),
        schedule=(Hop(latents.name, ()),),
        drive=replace(whole.drive, target=latents.name),
        readout=replace(readout, source=latents.name),
    )


def shipped(topology):
    """The shipped model, quantized by this revision."""
    return quantize(model, digits, QuantizeConfig(topology=topology, max_count=63))


def images_of(network, batch):
    pixels = getattr(network.input, "size", None) or network.input.pixels
    return np.resize(flat[:, :pixels], (batch, pixels))


clock = getattr(time, os.environ["CLOCK"])
model = pn.load_model(sys.argv[1])
digits, _ = pn.sample_digits()
flat = digits.reshape(len(digits), -1).astype(np.float32)
networks, engine = {}, get_engine("fast")
print("ready", flush=True)
for line in sys.stdin:
    name, batch, record, steps, least = json.loads(line)
    answer = {}
    if name not in networks:
        kind, _, potentials = name.partition("-")
        networks[name] = draws(potentials) if kind == "draws" else shipped(name)
        network = networks[name]
        begin, used = time.perf_counter(), time.process_time()
        engine.run(network, images_of(network, 1), 1, 0)
        answer["first"] = time.perf_counter() - begin, time.process_time() - used
        answer["network"] = described(network)
        recording = engine.run(network, images_of(network, 8), 128, 0)
        answer["activity"] = float(recording.active.mean()) / LATENTS
    network, times, total = networks[name], [], 0.0
    images = images_of(network, batch)
    while total < least or not times:
        begin = clock()
        engine.run(network, images, steps, 0, record=record)
        times.append(clock() - begin)
        total += times[-1]
    print(json.dumps({"best": min(times), **answer}), flush=True)
