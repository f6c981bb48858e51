"""The rule of ``network/sampler.py`` in machine code, for one neuron: it decides what tables do not."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from pvae_neuro.network import sampler as rule
from pvae_neuro.sim.fast.machine import I64, load, number, pointer_to

_FRACTION = rule.WORDS - 1
# Of a number of 48 bits nothing is left by a longer shift.
_LONGEST_SHIFT = 62


def _larger(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed(">", x, y), x, y)


def _smaller(b: ir.IRBuilder, x: Any, y: Any) -> Any:
    return b.select(b.icmp_signed("<", x, y), x, y)


def _rounded(b: ir.IRBuilder, value: Any, shift: Any) -> Any:
    half = b.lshr(b.shl(number(1), shift), number(1))
    return b.ashr(b.add(value, half), shift)


def _product(b: ir.IRBuilder, x: Any, y: Any, shift: Any) -> Any:
    return _rounded(b, b.mul(x, y), shift)


def _exp2(b: ir.IRBuilder, fraction: Any) -> Any:
    value: Any = number(rule.EXP2_COEFFICIENTS[0])
    for coefficient in rule.EXP2_COEFFICIENTS[1:]:
        value = b.add(_product(b, value, fraction, number(rule.WORD_BITS)), number(coefficient))
    return value


def write_rule(module: ir.Module, name: str) -> ir.Function:
    """Add the rule: count of a potential and a word, with the address of :data:`RULE_NUMBERS`."""
    function = ir.Function(module, ir.FunctionType(I64, [I64, I64, I64]), name)
    function.linkage = "internal"
    for attribute in ("noinline", "cold"):
        function.attributes.add(attribute)
    u, word, numbers = function.args
    b = ir.IRBuilder(function.append_basic_block())
    at = pointer_to(b, numbers)
    max_count, frac_bits, q, inverses = (
        load(b, b.gep(at, [number(8 * i)]), I64) for i in range(len(RULE_NUMBERS))
    )
    log2_e = number(rule.LOG2_E)
    t = _product(b, u, log2_e, b.add(frac_bits, number(6)))
    f = b.and_(t, number(_FRACTION))
    i = b.ashr(b.sub(t, f), number(rule.WORD_BITS))
    r = _rounded(b, _exp2(b, f), b.sub(b.sub(number(22), q), i))
    first = _early_exits(b, i, r, q)
    x = _product(b, r, log2_e, b.add(q, number(6)))
    fraction = b.and_(b.neg(x), number(_FRACTION))
    p, s = _exp2(b, fraction), b.ashr(b.add(x, fraction), number(rule.WORD_BITS))
    entry, head, more = b.block, b.append_basic_block(), b.append_basic_block()
    again, step, end = (b.append_basic_block() for _ in range(3))
    b.branch(head)

    b.position_at_end(head)
    z, below, c, p_z, s_z = (b.phi(I64) for _ in range(5))
    for phi, value in zip(
        (z, below, c, p_z, s_z), (number(0), first, number(0), p, s), strict=True
    ):
        phi.add_incoming(value, entry)
    total = b.add(c, _rounded(b, p_z, _smaller(b, s_z, number(_LONGEST_SHIFT))))
    reached = b.ashr(b.add(total, number(32)), number(6))
    threshold = _larger(b, below, reached)
    done = b.or_(b.icmp_signed("<", word, threshold), b.icmp_signed("==", p_z, number(0)))
    done = b.or_(done, b.icmp_signed("==", z, max_count))
    b.cbranch(done, end, more)

    b.position_at_end(more)
    inverse = load(b, pointer_to(b, inverses, b.mul(z, number(8))), I64)
    product = b.mul(p_z, _product(b, r, inverse, number(22)))
    b.branch(again)

    b.position_at_end(again)
    shift, left = b.phi(I64), b.phi(I64)
    following = _rounded(b, product, shift)
    large = b.icmp_signed(">=", following, number(rule.ONE))
    large = b.and_(large, b.icmp_signed(">", left, number(0)))
    for phi, value, change in ((shift, q, 1), (left, s_z, -1)):
        phi.add_incoming(value, more)
        phi.add_incoming(b.add(phi, number(change)), again)
    b.cbranch(large, again, step)

    b.position_at_end(step)
    following_z = b.add(z, number(1))
    for phi, value in zip(
        (z, below, c, p_z, s_z), (following_z, threshold, total, following, left), strict=True
    ):
        phi.add_incoming(value, step)
    b.branch(head)

    b.position_at_end(end)
    b.ret(z)
    return function


RULE_NUMBERS = ("max_count", "frac_bits", "q", "address of the inverses, int64")


def _early_exits(b: ir.IRBuilder, i: Any, r: Any, q: Any) -> Any:
    """Words below this have the count 0; see steps 2 and 3 of the rule."""
    zero, last = number(0), number(65534)
    places = b.add(i, number(17))
    power = b.shl(number(1), _larger(b, places, zero))
    tiny = b.select(b.icmp_signed("<", places, zero), last, b.sub(number(65535), power))
    tiny = b.select(b.icmp_signed("<", i, number(-1)), tiny, zero)
    more = b.sub(q, number(rule.WORD_BITS))
    in_words = b.shl(b.ashr(r, _larger(b, more, zero)), _larger(b, b.neg(more), zero))
    small = b.select(b.icmp_signed("<", i, zero), b.sub(last, in_words), zero)
    return _larger(b, tiny, small)
