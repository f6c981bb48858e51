"""A listing with golden vectors: every word of every operation, for some neurons and iterations.

The values come from ``reference``, operation by operation; the sampler's from its resumable form,
state by state. Whoever writes the programs anew, for a chip or in a language of their own, compares
one operation at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.exporters.listing import Passes, word_listing
from pvae_neuro.network import OPERATIONS, Activation, IntegerNetwork
from pvae_neuro.sim.noise import check_seed, check_whole, population_noise
from pvae_neuro.sim.reference import State, activate, initial_state, receive
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.folders import check_folder_target, write_folder

VECTORS = "vectors.json"
FILES = ("listing.txt", "arrays.txt", VECTORS)
SAMPLES, ITERATIONS, NEURONS = 1, 3, 8
MOST_ITERATIONS = 1000


@checked
def write_listing(
    network: IntegerNetwork,
    folder: str | os.PathLike[str],
    inputs: ArrayLike,
    iterations: int = ITERATIONS,
    seed: int = 0,
) -> Path:
    """Write a network as word operations with widths, and golden vectors of each operation.

    Parameters
    ----------
    network : IntegerNetwork
    folder : path-like
        New, empty, or with a listing that is replaced: ``listing.txt``, ``arrays.txt`` and
        ``vectors.json`` (``docs/listing.md``).
    inputs : array_like [N, M]
        Images within the declared range; the vectors are of the first.
    iterations : int
        Of the vectors; the activations after the last iteration come on top.
    seed : int
        Key of the random words.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If an image or an option does not fit, or the folder holds anything else.
    NetworkError
        If a word of the network is not proved to fit its width.
    """
    check_folder_target(folder, FILES)
    check_whole("iterations", iterations, 1, MOST_ITERATIONS)
    check_seed(seed)
    pixels = network.input.encode(network.input.check(inputs)[:SAMPLES])
    files = word_listing(network)
    records = [dict(_plain(record)) for record in _records(network, pixels, iterations, seed)]
    head = {"network": network.name, "seed": seed, "iterations": iterations}
    lines = ",\n".join(json.dumps(record) for record in records)
    files[VECTORS] = f'{json.dumps(head)[:-1]}, "records": [\n{lines}\n]}}\n'
    return write_folder(folder, files, FILES)


def _records(
    network: IntegerNetwork, pixels: NDArray[np.int32], iterations: int, seed: int
) -> Iterator[dict[str, Any]]:
    """One record for each activation of a run, in order."""
    state = initial_state(network, len(pixels))
    for e in network.encodings:
        state[f"{e.population}.{e.variable}"] = e.apply(pixels)
    inputs = {f"{e.population}.{e.variable}" for e in network.encodings}
    yield {"step": 0, "pixels": pixels, "host": {name: state[name] for name in sorted(inputs)}}
    for step in range(iterations + 1):
        words = {
            p.name: population_noise(p, seed, range(step, step + 1), range(len(pixels)))[:, 0]
            for p in network.drawing
        }
        for activation in network.iteration if step < iterations else network.final:
            yield {"step": step, **_record(network, activation, state, words)}


def _record(
    network: IntegerNetwork,
    activation: Activation,
    state: State,
    words: dict[str, NDArray[np.uint16]],
) -> dict[str, Any]:
    """Run an activation on ``state`` and keep what some neurons computed."""
    population = network.population_of[activation.population]
    sent = {
        connection.name: state[f"{connection.source}.{connection.variable}"]
        for connection in (network.connection_of[name] for name in activation.connections)
    }
    read = {v.name: state[f"{population.name}.{v.name}"] for v in population.variables}
    read.update({c.name: np.broadcast_to(c.values, population.size) for c in population.constants})
    read.update(receive(network, activation, state))
    program = population.program(activation.program)
    activate(network, activation, state, words)
    stored = {o.variable: state[f"{population.name}.{o.variable}"] for o in program.outputs}
    neurons = _telling(next(iter(stored.values()))[0])
    known = {name: values[..., neurons] for name, values in read.items() if name in program.reads}
    record: dict[str, Any] = {"run": f"{population.name}.{program.name}", "neurons": neurons}
    record |= {"sent": sent, "read": dict(known), "results": {}, "draws": {}}
    word = np.zeros(len(neurons), np.int64)
    if population.name in words:
        word = words[population.name][:, neurons].astype(np.int64)
        record["word"] = word
    known = {name: values.astype(np.int64) for name, values in known.items()}
    known |= {"0": np.zeros(1, np.int64), "1": np.ones(1, np.int64)}
    for i in program.instructions:
        arguments = [known[a] for a in i.arguments]
        if i.operation == "draw" and population.sampler is not None:
            passes = Passes(population.sampler.max_count, population.sampler.frac_bits)
            record["draws"][i.result] = list(passes.states(arguments[0], word))
            result = record["draws"][i.result][-1]["z"]
        else:
            formula = OPERATIONS[i.operation].integer
            result = word if i.operation == "word" else formula(*arguments)
        record["results"][i.result] = known[i.result] = result
    record["store"] = {name: values[:, neurons] for name, values in stored.items()}
    for o in program.outputs:
        if not (record["store"][o.variable] == known[o.value]).all():
            raise NetworkError(
                f"{record['run']}: {o.variable} differs between the engine reference and its "
                f"operations one by one; this is an error of pvae-neuro"
            )
    return record


def _telling(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of some neurons: half with the largest values, half evenly spread over the rest."""
    order = np.argsort(-np.abs(values), kind="stable")
    spread = np.linspace(0, len(order) - 1, NEURONS // 2).astype(int)
    return np.unique(np.concatenate([order[: NEURONS // 2], order[spread]]))


def _plain(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arrays as lists, of the first sample."""
    for name, value in record.items():
        yield name, _list(value)


def _list(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _list(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_list(each) for each in value]
    if isinstance(value, np.ndarray):
        return (value[0] if value.ndim == 2 else value).tolist()
    return value
