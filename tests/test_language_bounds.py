"""Every field of a network: what lies outside its bounds gives exactly one message, by name."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from language_tools import small_network, small_parts

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import Choice, Convolution, IntegerNetwork, Measurements, Shared
from pvae_neuro.network import bounds as b
from pvae_neuro.network.program import Composite

CONVOLUTION = Convolution(
    "slide",
    "cells",
    "z",
    "hidden",
    np.ones((1, 1, 1, 2), np.int8),
    received_as="other",
    source_shape=(1, 2, 2),
    target_shape=(1, 2, 1),
)


def objects():
    """One object of every class that a network is made of."""
    network = small_network()
    found = {}

    def walk(value):
        if isinstance(value, tuple):
            for item in value:
                walk(item)
        elif is_dataclass(value):
            found.setdefault(type(value), value)
            for declared in fields(value):
                walk(getattr(value, declared.name))

    walk(network)
    walk((CONVOLUTION, Choice("scale", 1.0, "measured"), Measurements(images=1.0)))
    found[Shared] = Shared("forward", True, (0, 1), (0, 1))
    found[Composite] = Composite("exp", ("u",), 0, 3)
    return found


OBJECTS = objects()
FIELDS = [(kind, declared) for kind in OBJECTS for declared in fields(kind)]


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no text for this one")


NOT_A_NUMBER = (None, "3", True, 3.0, np.int64(3), np.float64(3), [3], Odd())


def bad_whole(bound):
    return (bound.low - 1, bound.high + 1, 10**5000, -(10**5000), *NOT_A_NUMBER)


def bad_real(bound):
    beyond = (bound.low * 2 - 1, bound.high * 2 + 1, 10**400, float("nan"), float("inf"))
    return (*beyond, None, "3", True, np.float64(0.5), np.int64(1), 1j)


def bad_name(_):
    return ("", "0a", "a b", "a\n", "a\x00", "é", "a" * 65, "2", None, 3, True, np.str_("a"), b"a")


def bad_reference(bound):
    return (*(v for v in bad_name(bound)), 0, 1, np.str_("0"), np.zeros(2), ("0",))


def bad_text(bound):
    longer = "a" * (bound.longest + 1)
    return (longer, "a\nb", "a\x1b[0m", "\x00", "\u202e", None, 3, b"a", np.str_("a"))


def bad_flag(_):
    return (0, 1, None, "true", np.True_, 1.0)


def bad_array(bound):
    shape = (2,) * bound.dimensions
    right = np.ones(shape, bound.dtype)
    bad = [
        None,
        3,
        "array",
        right.tolist(),
        right.astype(np.float64),
        right.astype(bool),
        right.astype(">i8"),
        right.astype(object),
        np.ones((*shape, 1), bound.dtype),
        np.ones(shape[1:], bound.dtype),
        np.ones((0, *shape[1:]), bound.dtype),
    ]
    limits = np.iinfo(bound.dtype)
    if bound.low is not None and bound.low > limits.min:
        bad.append(np.full(shape, bound.low - 1, bound.dtype))
    if bound.high is not None and bound.high < limits.max:
        bad.append(np.full(shape, bound.high + 1, bound.dtype))
    return tuple(bad)


def good_item(bound):
    """A value that an item may have."""
    if isinstance(bound.kind, type):
        return OBJECTS[next(k for k in OBJECTS if issubclass(k, bound.kind))]
    return {b.Whole: 1, b.Name: "a", b.Reference: "0"}[type(bound.kind)]


def bad_items(bound):
    item = good_item(bound)
    bad = [None, 3, "ab", [item], {}, (item,) * (bound.most + 1)]
    bad.append((Odd(), *(item,) * (bound.least - 1)))
    if bound.least:
        bad.append((item,) * (bound.least - 1))
    return tuple(bad)


def bad_part(_):
    return (None, 3, "part", (), Odd(), object)


def bad_optional(bound):
    kind = b.Part(bound.kind) if isinstance(bound.kind, type) else bound.kind
    return tuple(value for value in BAD[type(kind)](kind) if value is not None)


BAD = {
    b.Whole: bad_whole,
    b.Real: bad_real,
    b.Name: bad_name,
    b.Reference: bad_reference,
    b.Text: bad_text,
    b.Flag: bad_flag,
    b.Array: bad_array,
    b.Items: bad_items,
    b.Part: bad_part,
    b.Optional: bad_optional,
}


def test_all_classes_of_the_language_are_met():
    names = {kind.__name__ for kind in OBJECTS}
    expected = {"IntegerNetwork", "Input", "Encoding", "Readout", "Population", "Variable"}
    expected |= {"Constant", "Program", "Instruction", "Output", "Sampler", "Dense", "OneToOne"}
    expected |= {"Convolution", "Shared", "Activation", "Choice", "Measurements"}
    expected |= {"Composite"}
    assert names == expected


@pytest.mark.parametrize(
    ("kind", "declared"), FIELDS, ids=lambda v: v.__name__ if isinstance(v, type) else v.name
)
def test_one_message_for_each_value_out_of_bounds(kind, declared):
    bound = b.bound_of(declared)
    values = BAD[type(bound)](bound)
    assert len(values) >= 5
    for value in values:
        spoiled = object.__new__(kind)
        for other in fields(kind):
            object.__setattr__(spoiled, other.name, getattr(OBJECTS[kind], other.name))
        object.__setattr__(spoiled, declared.name, value)
        messages = list(b.faults(spoiled, "it"))
        assert len(messages) == 1, (declared.name, messages)
        assert messages[0].startswith(f"it.{declared.name}"), messages
        assert messages[0].isprintable() and len(messages[0]) < 400


@pytest.mark.parametrize("kind", OBJECTS, ids=lambda kind: kind.__name__)
def test_sound_objects_have_no_fault(kind):
    if kind is not IntegerNetwork:
        assert list(b.faults(OBJECTS[kind], "it")) == []


def test_messages_name_the_part_by_its_name():
    parts = small_parts()
    cells = parts["populations"][1]
    bad = replace(cells, variables=(replace(cells.variables[0], bits=25), *cells.variables[1:]))
    populations = (parts["populations"][0], bad, parts["populations"][2])
    with pytest.raises(NetworkError) as caught:
        small_network(populations=populations)
    assert str(caught.value) == (
        "network.populations[cells].variables[u].bits: expected 2 to 24, got 25"
    )


def test_many_faults_are_counted():
    choices = tuple(Choice(f"c{i}", 1.0, "a\nb") for i in range(8))
    with pytest.raises(NetworkError) as caught:
        small_network(choices=choices)
    assert str(caught.value).count("control characters") == 5
    assert str(caught.value).endswith("and 3 more")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((2, 3), np.int16), "int16 [2, 3]"),
        (1 << 200, "a number of 201 bits"),
        ((10**5000,), "an object of type tuple"),
        (Odd(), "an object of type Odd"),
        ("ü\n", r"'\xfc\n'"),
        ("x" * 100, "'" + "x" * 56 + "..."),
    ],
)
def test_values_in_messages_are_short_and_printable(value, text):
    assert b.show(value) == text
