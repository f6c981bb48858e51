"""Golden vectors, computed again by the machine that a listing describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.verification.words.machine import Ints, Machine


def replay(machine: Machine, vectors: Mapping[str, Any]) -> int:
    """Compute golden vectors with a listing, operation by operation; how many integers were equal.

    Parameters
    ----------
    machine : Machine
    vectors : mapping
        What ``vectors.json`` holds.

    Raises
    ------
    NetworkError
        At the first integer that differs, or word that does not fit.
    InputError
        If these are no golden vectors of such a network.
    """
    try:
        return sum(_equal(machine, record) for record in vectors["records"])
    except NetworkError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"vectors: expected golden vectors of the network {machine.name!r}, as its listing has "
            f"them; {type(error).__name__}: {error}"
        ) from error


def _equal(machine: Machine, record: Mapping[str, Any]) -> int:
    """How many integers of a record are equal; raises at the first one that is not."""
    compared = 0
    for place, expected, found in _compared(machine, record):
        values = np.atleast_1d(np.asarray(expected, np.int64))
        got = np.broadcast_to(found, values.shape)
        if (values != got).any():
            at = int(np.argmax(values != got))
            raise NetworkError(
                f"{place}, step {record['step']}: number {at} of the golden vector is "
                f"{values[at]}, the listing computes {got[at]}"
            )
        compared += values.size
    return compared


def _compared(machine: Machine, record: Mapping[str, Any]) -> Iterator[tuple[str, Any, Ints]]:
    """Yield place, golden vector and computed values for each word of a record."""
    if "run" not in record:
        host = machine.encode_pixels(np.array([record["pixels"]], np.int64))
        yield from ((f"host, {name}", record["host"][name], host[name][0]) for name in host)
        return
    where, neurons = record["run"], np.array(record["neurons"])
    population, program = where.split(".")
    unit = machine.populations[population]
    part = next(
        (line for lines in machine.schedule.values() for line in lines
         if (line.population, line.program) == (population, program)
         and {c for r in line.receives for c in r.connections} == record["sent"].keys()),
        None,
    )  # fmt: skip
    if part is None:
        raise NetworkError(f"{where}: the listing's schedule has no such line")
    sent = {name: np.array([values], np.int64) for name, values in record["sent"].items()}
    read = {name: np.array([values], np.int64) for name, values in record["read"].items()}
    for name, values in machine.receive(part, sent).items():
        yield f"{where}: receive {name}", record["read"][name], values[0, neurons]
    for name in read.keys() & unit.constants.keys():
        values = np.broadcast_to(unit.constants[name], unit.size)
        yield f"{where}: constant {name}", record["read"][name], values[neurons]
    word = np.array([record["word"]], np.int64) if "word" in record else None
    known = machine.compute(where, unit, program, read, word)
    for name, results in record["results"].items():
        yield f"{where}: {name}", results, known[name].reshape(-1)
    for step in unit.programs[program].steps:
        if step.operation == "draw" and word is not None:
            states = machine.draw(unit.sampler, known[step.arguments[0]], word)
            golden = record["draws"][step.result]
            if len(golden) != len(states):
                raise NetworkError(
                    f"{where}: {step.result} takes {len(states) - 1} passes, expected "
                    f"{len(golden) - 1}"
                )
            for number, (wanted, state) in enumerate(zip(golden, states, strict=True)):
                for name, values in wanted.items():
                    yield f"{where}: {name} after pass {number}", values, state[name][0]
    for variable, value in unit.programs[program].stores.items():
        yield f"{where}: {variable}", record["store"][variable], known[value].reshape(-1)
