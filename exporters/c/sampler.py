"""The sampler's rule in C, by steps of :mod:`pvae_neuro.network.sampler`."""

from __future__ import annotations

from pvae_neuro.network import Sampler
from pvae_neuro.network.sampler import EXP2_COEFFICIENTS, LOG2_E, inverse, rate_bits


def draw_name(sampler: Sampler) -> str:
    """Name of the function that draws as this sampler does."""
    return f"draw_{sampler.max_count}_{sampler.frac_bits}"


def draw_functions(samplers: list[Sampler]) -> str:
    """The rule for each largest count and unit, once, with the constants that they share."""
    if not samplers:
        return ""
    largest = max(s.max_count for s in samplers)
    numbers = [str(inverse(n)) for n in range(1, largest + 1)]
    rows = [", ".join(numbers[k : k + 8]) for k in range(0, len(numbers), 8)]
    inverses = ",\n    ".join(rows)
    first, *rest = EXP2_COEFFICIENTS
    steps = "\n".join(f"    value = mul(value, f, 16) + {c};" for c in rest)
    shared = f"""\
/* round(2^22 / (z + 1)) */
static const int32_t inverse[{largest}] = {{
    {inverses}
}};

/* 2^f in units of 2^-22; f in units of 2^-16, 0 .. 65535. */
static int32_t power_of_two(int32_t f)
{{
    int32_t value = {first};
{steps}
    return value;
}}
"""
    different = {draw_name(s): s for s in samplers}
    return "\n".join([shared, *(_draw(s) for s in different.values())])


def _draw(sampler: Sampler) -> str:
    q = rate_bits(sampler.max_count)
    in_words = f"rate >> {q - 16}" if q >= 16 else f"rate << {16 - q}"
    return f"""\
/* Poisson count, 0 .. {sampler.max_count}, by inversion of one 16-bit word.
   u: log-rate in units of 2^-{sampler.frac_bits}. */
static int32_t {draw_name(sampler)}(int32_t u, int32_t word)
{{
    /* log2 of the rate: i + f * 2^-16 */
    const int32_t t = mul(u, {LOG2_E}, {sampler.frac_bits + 6});
    const int32_t f = t & 65535;
    const int32_t i = (t - f) >> 16;
    int32_t rate, x, p, s, c, z;

    /* P(0) is at least 1 - rate: most draws end here. */
    if (i < -1 && word < (i < -17 ? 65534 : 65535 - ((int32_t)1 << (17 + i)))) return 0;
    rate = shr(power_of_two(f), {22 - q} - i); /* in units of 2^-{q} */
    if (i < 0 && word < 65534 - ({in_words})) return 0;

    /* P(0) = p * 2^-s in units of 2^-22; c is the distribution function up to z. */
    x = mul(rate, {LOG2_E}, {q + 6});
    p = power_of_two(-x & 65535);
    s = (x + 65535) >> 16;
    c = 0;
    for (z = 0;; z++) {{
        uint32_t twice;
        c += shr(p, s < 31 ? s : 31);
        if (word < (c + 32) >> 6 || z == {sampler.max_count} || p == 0) return z;
        /* p * rate / (z + 1), rounded once, from the product. */
        twice = (uint32_t)(((int64_t)p * mul(rate, inverse[z], 22)) >> {q - 1});
        p = (int32_t)((twice + 1) >> 1);
        while (p >= {1 << 22} && s > 0) {{
            twice >>= 1;
            p = (int32_t)((twice + 1) >> 1);
            s--;
        }}
    }}
}}
"""
