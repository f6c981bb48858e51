"""Parts that do not fit: each kind of fault once, with its message."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from language_tools import fire, small_network, small_parts

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import (
    Activation,
    Constant,
    Convolution,
    Encoding,
    Input,
    Instruction,
    OneToOne,
    Output,
    Population,
    Program,
    Readout,
    Sampler,
    Shared,
    TransposedConvolution,
    Variable,
    shared,
    trace,
    transpose_of,
)
from pvae_neuro.network.network import same
from pvae_neuro.network.program import Composite

PARTS = small_parts()
DRIVE, CELLS, HIDDEN = PARTS["populations"]
FORWARD, BACK, GIVEN = PARTS["connections"]
FIRE, HEAR, INTEGRATE = PARTS["iteration"]
ONES = np.ones((3, 4), np.int8)


def messages(**changes):
    """Every message, in order; each begins with the path from the network."""
    with pytest.raises(NetworkError) as caught:
        small_network(**changes)
    first, *others = str(caught.value).split("; network")
    return [first, *(f"network{other}" for other in others)]


def message(**changes):
    (only,) = messages(**changes)
    return only


def populations(**changed):
    return {"populations": tuple(changed.get(p.name, p) for p in (DRIVE, CELLS, HIDDEN))}


def connections(**changed):
    own = {c.name: changed.get(c.name, c) for c in (FORWARD, BACK, GIVEN)}
    return {"connections": tuple(own.values())}


def program(*instructions, outputs=(("a", "t0"),), composites=()):
    lines = tuple(Instruction(*line) for line in instructions)
    wholes = tuple(Composite(*whole) for whole in composites)
    return Program("hear", lines, tuple(Output(*o) for o in outputs), wholes)


def hidden(*instructions, **options):
    return populations(hidden=replace(HIDDEN, programs=(program(*instructions, **options),)))


def test_the_network_is_sound():
    network = small_network()
    assert list(network.ranges.faults()) == []
    assert network.variables == ("cells.u", "cells.z", "hidden.a")
    assert network.drawing == (network.population_of["cells"],)
    assert network.latents is network.population_of["cells"]
    assert network.connection_kinds == {"dense", "one_to_one"}
    assert network.operations == {"add", "draw", "max", "min", "shr"}


# ------------------------------------------------------------------------------- programs

PROGRAM_FAULTS = {
    "unknown operation": (
        hidden(("div", ("sent", "bias"), "t0")),
        "instructions[0]: expected one of add, sub, mul,",
    ),
    "wrong number of arguments": (
        hidden(("add", ("sent",), "t0")),
        "instructions[0]: expected 2 arguments of 'add', got 1",
    ),
    "wrong result name": (
        hidden(("abs", ("sent",), "t1"), ("add", ("t0", "0"), "t1"), outputs=(("a", "t1"),)),
        "instructions[0]: expected the result name 't0', got 't1'",
    ),
    "read before it is computed": (
        hidden(("add", ("sent", "t1"), "t0"), ("abs", ("t0",), "t1")),
        "instructions[0]: 't1' is read before it is computed",
    ),
    "never computed": (
        hidden(("abs", ("sent",), "t0"), outputs=(("a", "t5"),)),
        "outputs: 't5' is never computed",
    ),
    "set twice": (
        hidden(("abs", ("sent",), "t0"), outputs=(("a", "t0"), ("a", "0"))),
        "outputs: expected each variable once, got ['a', 'a']",
    ),
    "sets nothing": (
        hidden(("abs", ("sent",), "t0"), outputs=()),
        "network.populations[hidden].programs[hear]: expected a program that sets a variable",
    ),
}


def wholes(*composites, output="t2"):
    """``a = |-(sent + bias)|`` with composites."""
    lines = (("add", ("sent", "bias"), "t0"), ("neg", ("t0",), "t1"), ("abs", ("t1",), "t2"))
    return hidden(*lines, outputs=(("a", output),), composites=composites)


PROGRAM_FAULTS |= {
    "unknown function": (
        wholes(("log", ("t0",), 1, 2)),
        "composites[0]: expected one of exp; got 'log'",
    ),
    "wrong number of a function's arguments": (
        wholes(("exp", ("sent", "bias"), 0, 2)),
        "composites[0]: expected 1 arguments of 'exp', got 2",
    ),
    "instructions that are not there": (
        wholes(("exp", ("t0",), 1, 3)),
        "composites[0]: expected instructions 0 to 2 in order, got 1 to 3",
    ),
    "instructions in the wrong order": (
        wholes(("exp", ("t0",), 2, 1)),
        "composites[0]: expected instructions 0 to 2 in order, got 2 to 1",
    ),
    "composites that overlap": (
        wholes(("exp", ("sent",), 0, 1), ("exp", ("t0",), 1, 2)),
        "composites[1]: expected instructions 2 to 2 in order, got 1 to 2",
    ),
    "a hidden result is stored": (
        wholes(("exp", ("t0",), 1, 2), output="t1"),
        "composites[0]: 't1' is read outside; expected its last result alone",
    ),
    "a hidden result is read": (
        hidden(
            ("add", ("sent", "bias"), "t0"), ("neg", ("t0",), "t1"), ("sub", ("t1", "t0"), "t2"),
            outputs=(("a", "t2"),), composites=(("exp", ("sent",), 0, 1),),
        ),
        "composites[0]: 't0' is read outside; expected its last result alone",
    ),
    "an argument that is not read": (
        wholes(("exp", ("nothing",), 1, 2)),
        "composites[0]: its instructions do not read its argument 'nothing'",
    ),
    "an argument that is computed inside": (
        wholes(("exp", ("t1",), 1, 2)),
        "composites[0]: its instructions do not read its argument 't1'",
    ),
}  # fmt: skip


def test_composites_may_follow_each_other():
    network = small_network(**wholes(("exp", ("sent",), 0, 0), ("exp", ("t0",), 1, 2)))
    assert len(network.population_of["hidden"].program("hear").composites) == 2


@pytest.mark.parametrize("fault", PROGRAM_FAULTS)
def test_program(fault):
    changes, expected = PROGRAM_FAULTS[fault]
    got = message(**changes)
    assert got.startswith("network.populations[hidden].programs[hear]")
    assert expected in got


# ----------------------------------------------------------------------------- populations


def variable_twice():
    return populations(hidden=replace(HIDDEN, variables=HIDDEN.variables * 2))


def constant_named(name):
    return populations(
        hidden=replace(HIDDEN, constants=(*HIDDEN.constants, Constant(name, shared(1))))
    )


POPULATION_FAULTS = {
    "variable twice": (variable_twice, "[hidden]: 'a' names more than one variable or constant"),
    "constant named as a variable": (
        lambda: constant_named("a"),
        "[hidden]: 'a' names more than one variable or constant",
    ),
    "name of an operation": (
        lambda: constant_named("min"),
        "[hidden]: 'min' is the name of an operation or a result; choose another",
    ),
    "name of a result": (
        lambda: constant_named("t3"),
        "[hidden]: 't3' is the name of an operation or a result; choose another",
    ),
    "name of a method": (
        lambda: constant_named("clip"),
        "[hidden]: 'clip' is the name of an operation or a result; choose another",
    ),
    "wrong number of values": (
        lambda: populations(
            hidden=replace(HIDDEN, variables=(Variable("a", np.zeros(2, np.int32)),))
        ),
        "[hidden].a: expected one value, or one for each of 3 neurons, got 2",
    ),
    "two programs of one name": (
        lambda: populations(hidden=replace(HIDDEN, programs=HIDDEN.programs * 2)),
        "[hidden].programs: expected different names, got ['hear', 'hear']",
    ),
    "sets no variable": (
        lambda: hidden(("abs", ("sent",), "t0"), outputs=(("b", "t0"),)),
        "[hidden].hear: sets 'b', which is no variable of 'hidden'",
    ),
    "draws without a sampler": (
        lambda: populations(cells=replace(CELLS, sampler=None)),
        "[cells].fire: draws, but the population 'cells' has no sampler",
    ),
}


@pytest.mark.parametrize("fault", POPULATION_FAULTS)
def test_population(fault):
    changes, expected = POPULATION_FAULTS[fault]
    assert message(**changes()) == f"network.populations{expected}"


# ----------------------------------------------------------------------------- connections


def slide(**changes):
    options = {"source_shape": (1, 2, 2), "target_shape": (1, 1, 3), "stride": 1, "padding": 1}
    weight = changes.pop("weight", np.ones((1, 1, 2, 2), np.int8))
    kind = changes.pop("kind", Convolution)
    return kind(*("forward", "cells", "z", "hidden", weight, -2, "sent"), **(options | changes))


CONNECTION_FAULTS = {
    "unknown source": (
        lambda: connections(given=replace(GIVEN, source="nobody")),
        "network.given.source: no population is named 'nobody'",
    ),
    "unknown target": (
        lambda: connections(given=replace(GIVEN, target="nobody")),
        "network.given.target: no population is named 'nobody'",
    ),
    "unknown variable": (
        lambda: connections(given=replace(GIVEN, variable="y")),
        "network.given: 'drive' has no variable 'y'",
    ),
    "to an input": (
        lambda: {
            "connections": (
                *PARTS["connections"],
                OneToOne("wrong", "hidden", "a", "drive", np.ones(3, np.int8)),
            )
        },
        "network.wrong: 'drive' is an input; nothing can be sent to it",
    ),
    "wrong shape": (
        lambda: connections(given=replace(GIVEN, weight=np.ones(4, np.int8))),
        "network.given.weight: expected 3 targets and 3 sources, got 4 and 4",
    ),
    "shared with nothing": (
        lambda: connections(back=replace(BACK, shared=Shared("nothing"))),
        "network.back.shared: expected a connection with weights of its own, got 'nothing'",
    ),
    "shared with itself": (
        lambda: connections(back=replace(BACK, shared=Shared("back"))),
        "network.back.shared: expected a connection with weights of its own, got 'back'",
    ),
    "shared in a ring": (
        lambda: connections(forward=replace(FORWARD, shared=Shared("back"))),
        "network.forward.shared: expected a connection with weights of its own, got 'back'",
    ),
    "shared weights differ": (
        lambda: connections(back=replace(BACK, weight=np.ones((4, 3), np.int8))),
        "network.back.weight: differs from the weights of 'forward' that it shares",
    ),
    "shared without the transpose": (
        lambda: connections(back=replace(BACK, shared=Shared("forward", False))),
        "network.back.weight: differs from the weights of 'forward' that it shares",
    ),
    "empty slice": (
        lambda: connections(back=replace(BACK, shared=Shared("forward", True, (2, 2)))),
        "network.connections[back].shared.rows: expected the first before the last + 1, got [2, 2]",
    ),
    "slice beyond the matrix": (
        lambda: connections(back=replace(BACK, shared=Shared("forward", True, None, (0, 5)))),
        "network.back.shared.columns: 'forward' has 4, got [0, 5]",
    ),
    "slice of a vector": (
        lambda: connections(
            back=replace(BACK, shared=Shared("given", True, (0, 3))),
        ),
        "network.back.shared.rows: expected none for the one_to_one 'given'",
    ),
    "wrong channels": (
        lambda: connections(forward=slide(weight=np.ones((1, 2, 2, 2), np.int8))),
        "network.connections[forward].weight: expected 1 x 1 channels, got 1 x 2",
    ),
    "padding of a kernel's size": (
        lambda: connections(forward=slide(padding=2)),
        "network.connections[forward].padding: expected less than the kernel's 2, got 2",
    ),
    "too many values": (
        lambda: connections(forward=slide(padding=0)),
        "network.connections[forward]: width 2 with padding 0 and stride 1 gives at most 2 "
        "values, got 3",
    ),
    "transposed the wrong way": (
        lambda: connections(forward=slide(kind=TransposedConvolution, padding=0)),
        "network.connections[forward]: height 1 with padding 0 and stride 1 gives at most 1 "
        "values, got 2",
    ),
    "two of one name": (
        lambda: {"connections": (FORWARD, BACK, GIVEN, GIVEN)},
        "network.connections: expected different names, got ['back', 'forward', 'given', 'given']",
    ),
}


@pytest.mark.parametrize("fault", CONNECTION_FAULTS)
def test_connection(fault):
    changes, expected = CONNECTION_FAULTS[fault]
    got = messages(**changes())
    assert got[0] == expected
    # Who shares spoiled weights, or expects the connection, is named too.
    others = {"network.back.shared", "network.back.weight", "network.iteration[1]"}
    assert {line.split(":")[0] for line in got[1:]} <= others


# -------------------------------------------------------------------------------- schedule


def iteration(*activations):
    return {"iteration": activations}


SECOND = replace(CELLS, name="more")


def more(**sampler):
    cells = replace(SECOND, sampler=Sampler(15, 8, **sampler))
    return {
        "populations": (DRIVE, CELLS, HIDDEN, cells),
        "iteration": (*PARTS["iteration"], Activation("more", "fire")),
    }


SCHEDULE_FAULTS = {
    "unknown population": (
        iteration(Activation("nobody", "fire")),
        "network.iteration[0]: no population is named 'nobody'",
    ),
    "unknown program": (
        iteration(FIRE, Activation("cells", "rest")),
        "network.iteration[1]: 'cells' has no program 'rest'",
    ),
    "program of an input": (
        iteration(Activation("drive", "fire")),
        "network.iteration[0]: 'drive' has no program 'fire'",
    ),
    "unknown connection": (
        iteration(Activation("hidden", "hear", ("forward", "other"))),
        "network.iteration[0]: no connection is named 'other'",
    ),
    "connection to elsewhere": (
        iteration(Activation("hidden", "hear", ("forward", "back"))),
        "network.iteration[0]: connection 'back' does not end at 'hidden'",
    ),
    "connection twice": (
        iteration(Activation("hidden", "hear", ("forward", "forward"))),
        "network.iteration[0]: expected each connection once, got ['forward', 'forward']",
    ),
    "not delivered": (
        iteration(Activation("hidden", "hear")),
        "network.iteration[0]: 'hear' reads 'sent', which is no variable or constant of 'hidden' "
        "and which no connection delivers",
    ),
    "delivered and not read": (
        iteration(Activation("cells", "fire", ("back",))),
        "network.iteration[0]: 'fire' does not read 'feedback', which is delivered",
    ),
    "several exponents": (
        connections(given=replace(GIVEN, exponent=-3)),
        "network.iteration[1]: connections received as 'sent' need one exponent, got [-3, -2]",
    ),
    "draws twice": (
        iteration(FIRE, HEAR, INTEGRATE, FIRE),
        "network.iteration[3]: 'cells' draws twice in one step",
    ),
    "draws twice at the end": (
        {"final": (FIRE, FIRE)},
        "network.final[1]: 'cells' draws twice in one step",
    ),
    "same words": (
        more(first=3),
        "network: 'more' and 'cells' draw the same words of stream 0; give each its own",
    ),
    "two populations of one name": (
        {"populations": (DRIVE, CELLS, HIDDEN, HIDDEN)},
        "network.populations: expected different names, got ['cells', 'drive', 'hidden', 'hidden']",
    ),
}


@pytest.mark.parametrize("fault", SCHEDULE_FAULTS)
def test_schedule(fault):
    changes, expected = SCHEDULE_FAULTS[fault]
    got = messages(**changes)
    assert got[0] == expected
    assert len({line.split(":")[0] for line in got}) == 1, got


@pytest.mark.parametrize("sampler", [{"first": 4}, {"stream": 1}])
def test_words_of_its_own(sampler):
    assert len(small_network(**more(**sampler)).drawing) == 2


# -------------------------------------------------------------------------------- host parts

HOST_FAULTS = {
    "input without encoding": (
        {"encodings": ()},
        "network.encodings: expected one for each variable of an input, [('drive', 'x')]; got []",
    ),
    "encoding of no input": (
        {"encodings": (*PARTS["encodings"], Encoding("cells", "u"))},
        "network.encodings: expected one for each variable of an input, [('drive', 'x')]; got "
        "[('drive', 'x'), ('cells', 'u')]",
    ),
    "encoding of a wrong shape": (
        {"encodings": (Encoding("drive", "x", np.ones((3, 5), np.int32)),)},
        "network.encodings.drive: expected a matrix of shape (3, 6), got (3, 5)",
    ),
    "as many neurons as pixels": (
        {"encodings": (Encoding("drive", "x"),)},
        "network.encodings.drive: expected a matrix of shape (3, 6), got (6, 6)",
    ),
    "readout of nobody": (
        {"readout": Readout("nobody", "z")},
        "network.readout: no program sets 'nobody.z'",
    ),
    "readout of an input": (
        {"readout": Readout("drive", "x")},
        "network.readout: no program sets 'drive.x'",
    ),
    "readout of a wrong shape": (
        {"readout": Readout("cells", "z", np.ones((6, 5), np.int16))},
        "network.readout: expected a matrix of shape (6, 4), got (6, 5)",
    ),
    "readout of as many neurons as pixels": (
        {"readout": Readout("cells", "z")},
        "network.readout: expected a matrix of shape (6, 4), got (4, 4)",
    ),
    "readout by an unknown connection": (
        {"readout": Readout("cells", "z", None, "other")},
        "network.readout.connection: expected a dense connection, got 'other'",
    ),
    "readout by a vector": (
        {"readout": Readout("cells", "z", None, "given")},
        "network.readout.connection: expected a dense connection, got 'given'",
    ),
    "readout by another's connection": (
        {"readout": Readout("cells", "z", None, "back")},
        "network.readout.connection: 'back' sends hidden.a; expected one that sends cells.z",
    ),
    "readout by both": (
        {"readout": Readout("cells", "z", np.ones((6, 4), np.int16), "forward")},
        "network.readout: expected weights of its own or a connection's, got both",
    ),
    "range of pixels": (
        {"input": Input(6, 1.0, 1.0, 4)},
        "network.input: expected low < high, got 1.0 and 1.0",
    ),
    "shape of images": (
        {"input": Input(6, 0.0, 1.0, 4, (2, 4))},
        "network.input.image_shape: expected 6 pixels, got [2, 4]",
    ),
    "wide pixels": (
        {"input": Input(6, 0.0, 255.0, 24)},
        "network.input: pixels of [0, 255] in units of 2^-24 exceed 32 bits; lower frac_bits",
    ),
}


@pytest.mark.parametrize("fault", HOST_FAULTS)
def test_host(fault):
    changes, expected = HOST_FAULTS[fault]
    assert message(**changes) == expected


# ------------------------------------------------------------------------ equality, pickling


def test_equal_networks():
    assert small_network() == small_network()
    assert small_network() != small_network(name="other")
    assert not same(small_network(), 3)
    weight = FORWARD.weight.copy()
    weight[0, 0] += 1
    other = replace(FORWARD, weight=weight)
    back = transpose_of(other, "back", "hidden", "a", "cells", received_as="feedback")
    assert small_network() != small_network(**connections(forward=other, back=back))


def test_what_engines_compile_stays_behind():
    network = small_network()
    network.compiled["engine"] = lambda: None
    network.attach_file(b"bytes")
    sent = pickle.loads(pickle.dumps(network))
    assert sent == network
    assert sent.compiled == {}
    assert sent.file_bytes == b"bytes"


def test_population_that_never_acts_is_allowed():
    spare = Population("spare", 2, (Variable("z", shared(0)),), (), (trace(fire),), None)
    with pytest.raises(NetworkError, match="has no sampler"):
        small_network(populations=(DRIVE, CELLS, HIDDEN, spare))
    spare = replace(
        spare, sampler=Sampler(1, 8, 3), variables=(*spare.variables, CELLS.variables[0])
    )
    assert "spare.z" in small_network(populations=(DRIVE, CELLS, HIDDEN, spare)).variables
