"""One expression of C for each word operation, and the functions that some of them call.

The formulas are those of :data:`pvae_neuro.network.OPERATIONS`. A proved network keeps every word
within 24 bits and every product within 48, so nothing here can overflow. ``word`` and ``draw`` are
in ``sampler.py``.
"""

from __future__ import annotations

EXPRESSIONS: dict[str, str] = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "mul({0}, {1}, {2})",
    "shl": "shr({0}, -({1}))",
    "shr": "shr({0}, {1})",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "xor": "{0} ^ {1}",
    "min": "{0} < {1} ? {0} : {1}",
    "max": "{0} > {1} ? {0} : {1}",
    "ge": "{0} >= {1}",
    "select": "{0} ? {1} : {2}",
    "abs": "{0} < 0 ? -{0} : {0}",
    "neg": "-{0}",
    "clz": "clz({0})",
}

SHR = """\
/* a * 2^-k, rounded half up; k is -31 .. 31. */
static inline int32_t shr(int32_t a, int32_t k)
{
    return k > 0 ? (a + ((int32_t)1 << (k - 1))) >> k : (int32_t)((uint32_t)a << -k);
}
"""
MUL = """\
/* a * b * 2^-k, rounded half up; the product has 48 bits. */
static inline int32_t mul(int32_t a, int32_t b, int32_t k)
{
    const int64_t product = (int64_t)a * b;
    return k > 0 ? (int32_t)((product + ((int64_t)1 << (k - 1))) >> k)
                 : (int32_t)((uint32_t)product << -k);
}
"""
CLZ = """\
/* Zeros before the first one of a 24-bit word: 24 of 0, none of a negative number. */
static inline int32_t clz(int32_t a)
{
    int32_t zeros = a < 0 ? 0 : 24;
    for (; a > 0; a >>= 1) zeros--;
    return zeros;
}
"""
# By the word that calls it.
HELPERS = {"shr(": SHR, "mul(": MUL, "clz(": CLZ}


def helpers(text: str) -> str:
    """The functions of word operations that some C calls."""
    return "\n".join(helper for call, helper in HELPERS.items() if call in text)
