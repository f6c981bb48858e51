"""Rules written in Python are traced into programs."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from language_tools import fire, hear, integrate

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import OPERATIONS, trace
from pvae_neuro.network.listing import program_lines


def lines(rule):
    return list(program_lines(trace(rule)))


def test_program_of_a_rule():
    program = trace(hear)
    assert program.name == "hear"
    assert program.reads == ("sent", "bias", "low", "high")
    assert program.operations == {"add", "max", "min"}
    assert list(program_lines(program)) == [
        "t0 = sent + bias",
        "t1 = max(t0, low)",
        "t2 = min(t1, high)",
        "a <- t2",
    ]
    assert trace(hear, "listen").name == "listen"
    assert trace(fire).operations == {"draw"}
    assert trace(integrate).reads == ("feedback", "u", "u_low", "u_high")


def every_operator(n):
    n.a = -(n.x + n.y) - n.x * n.y
    n.b = (n.x & n.y) | (n.x ^ n.y)
    n.c = abs(n.x) + n.abs(n.y) + n.clz(n.x)
    n.d = n.select(n.x >= n.y, n.min(n.x, n.y), n.max(n.x, n.y))
    n.e = n.shl(n.x, n.k) + n.shr(n.y, n.k) + n.mul(n.x, n.y, n.k)
    n.f = n.word() + n.draw(n.u)
    n.g = 1 + n.x + 1 - (1 - n.x)
    n.h = (1 & n.x) + (1 | n.x) + (1 ^ n.x) + 0 * n.x


def test_every_operation_can_be_written():
    assert trace(every_operator).operations == set(OPERATIONS)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda n: n.x > 0, ["t0 = x >= 1"]),
        (lambda n: n.x > n.y, ["t0 = x - y", "t1 = t0 >= 1"]),
        (lambda n: n.x >= n.y, ["t0 = x >= y"]),
        (lambda n: n.x <= n.y, ["t0 = y >= x"]),
        (lambda n: n.x < n.y, ["t0 = y - x", "t1 = t0 >= 1"]),
        (lambda n: 0 < n.x, ["t0 = x >= 1"]),  # noqa: SIM300
        (lambda n: n.x < 0, ["t0 = 0 - x", "t1 = t0 >= 1"]),
        (lambda n: 1 >= n.x, ["t0 = 1 >= x"]),  # noqa: SIM300
    ],
)
def test_comparisons(rule, expected):
    def whole(n):
        n.a = rule(n)

    assert lines(whole)[:-1] == expected


def test_a_variable_that_is_set_again_reads_its_new_value():
    def twice(n):
        n.u = n.u + 1
        n.v = n.u
        n.u += n.u

    assert lines(twice) == ["t0 = u + 1", "t1 = t0 + t0", "u <- t1", "v <- t0"]


def test_variables_change_places():
    def swap(n):
        a, b = n.a, n.b
        n.a, n.b = b, a

    assert lines(swap) == ["a <- b", "b <- a"]


def test_literals_are_stored():
    def reset(n):
        n.a = 0
        n.b = 1
        n.c = n.clip(n.c, 0, n.high)

    assert lines(reset) == ["t0 = max(c, 0)", "t1 = min(t0, high)", "a <- 0", "b <- 1", "c <- t1"]


@pytest.mark.parametrize("literal", [2, -1, 0.0, 1.5, True, np.int64(1), "u", None, [1]])
def test_other_literals_are_refused(literal):
    def rule(n):
        n.a = n.min(n.a, literal)

    with pytest.raises(NetworkError, match="the only literals are 0 and 1, got"):
        trace(rule)


def branch(n):
    if n.a > 0:  # noqa: PLR1730
        n.a = 0


def chained(n):
    n.a = 0 <= n.a <= 1


def boolean(n):
    n.a = n.a and n.b


def builtin(n):
    n.a = max(n.a, n.b)


@pytest.mark.parametrize("rule", [branch, chained, boolean, builtin])
def test_branches_are_refused(rule):
    with pytest.raises(NetworkError, match=r"a program has no branches. Use n.select"):
        trace(rule)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (lambda n: n.a == 0, "no operation =="),
        (lambda n: n.a != n.b, "no operation !="),
        (lambda n: n.a >> 1, r"use n\.shr"),
        (lambda n: n.a << 1, r"use n\.shl"),
        (lambda n: n.a / n.b, "rule 'rule': unsupported operand"),
        (lambda n: n.a // 1, "rule 'rule': unsupported operand"),
        (lambda n: n.a % n.b, "rule 'rule': unsupported operand"),
        (lambda n: ~n.a, "rule 'rule': bad operand"),
        (lambda n: n.a[0], "rule 'rule': .* not subscriptable"),
        (lambda n: int(n.a), r"rule 'rule': int\(\) argument"),
        (lambda n: np.arange(3) + n.a, r"only literals are 0 and 1, got array"),
        (lambda n: n.a in {0}, "rule 'rule': unhashable"),
    ],
)
def test_what_is_no_word_operation_is_refused(expression, message):
    def rule(n):
        n.a = expression(n)

    with pytest.raises(NetworkError, match=message):
        trace(rule)


@pytest.mark.parametrize("name", ["t0", "t17", "clip", "min", "add", "word", "clz"])
def test_names_that_mean_something_else_are_refused(name):
    def set_it(n):
        setattr(n, name, n.a)

    with pytest.raises(NetworkError, match=f"'{name}' cannot be the name"):
        trace(set_it)
    if name in ("t0", "t17", "add"):
        with pytest.raises(NetworkError, match=f"'{name}' cannot be the name"):
            trace(lambda n: setattr(n, "a", getattr(n, name)))


def test_a_word_of_another_rule_is_refused():
    kept = []
    trace(lambda n: kept.append(n.a + 1))

    def rule(n):
        n.a = n.a + kept[0]

    with pytest.raises(NetworkError, match="'t0' belongs to another rule"):
        trace(rule)


def test_rules_without_a_name():
    def scaled(n, amount):
        n.a = n.shr(n.a, amount(n))

    program = trace(functools.partial(scaled, amount=lambda n: n.k))
    assert program.name == "program"


def doubled_exponential(n):
    n.a = n.composite("exp", n.u, build=lambda: n.shl(n.u & n.mask, n.k)) + n.a


def test_a_composite_covers_what_its_build_appends():
    program = trace(doubled_exponential)
    (whole,) = program.composites
    assert (whole.function, whole.arguments, whole.first, whole.last) == ("exp", ("u",), 0, 1)
    # Engines run the same instructions as without it.
    assert list(program_lines(program)) == [
        "t0 = u & mask",
        "t1 = t0 << k",
        "t2 = t1 + a",
        "a <- t2",
    ]
    assert program.operations == {"and", "shl", "add"}
    assert program.simple_operations == {"add"}


@pytest.mark.parametrize(
    "build",
    [lambda n: n.u, lambda n: (n.u + 1, n.u + n.a)[0], lambda n: (n.kept, n.u + 1)[0]],
    ids=["nothing is appended", "an earlier result", "a name"],
)
def test_a_composite_gives_its_last_result(build):
    def rule(n):
        n.a = n.composite("exp", n.u, build=lambda: build(n))

    with pytest.raises(NetworkError, match="composite 'exp': expected its last result"):
        trace(rule)
