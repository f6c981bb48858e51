"""The test of a library: a short run with all that it must compute, as C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.c.layout import Layout
from pvae_neuro.exporters.c.library import MARK, c_array


@dataclass(frozen=True, eq=False)
class GoldenRun:
    """N samples over T iterations and ``final``, as the reference engine ran them.

    Attributes
    ----------
    inputs : dict of str to int32 [N, n]
        Variables of input populations, by ``population.variable``.
    words : dict of str to uint16 [N, T + 1, n]
        Random words by population.
    expected : dict of str to int [N, T + 1, n]
        Every variable that programs set, by ``population.variable``.
    """

    inputs: Mapping[str, NDArray[Any]]
    words: Mapping[str, NDArray[Any]]
    expected: Mapping[str, NDArray[Any]]


def files_of_test(layout: Layout, run: GoldenRun) -> dict[str, str]:
    """Text of the test and of its numbers, by name of file."""
    names = layout.names
    arrays, before, each, after = (list[str]() for _ in range(4))
    samples, steps = next(iter(run.expected.values())).shape[:2]

    def add(kind: str, values: NDArray[Any]) -> str:
        name = f"array_{len(arrays)}"
        arrays.append(c_array(name, kind, values))
        return name

    def place(variable: str) -> str:
        population, _, member = variable.partition(".")
        return f"{names.population[population]}.{names.member[population, member]}"

    def copied(member: str, name: str, values: NDArray[Any], index: str) -> str:
        size = values.shape[-1]
        return f"memcpy(state.{member}, {name} + ({index}) * {size}, sizeof state.{member});"

    for variable, values in run.inputs.items():
        name = add("int32_t", values.astype(np.int32))
        before.append(copied(place(variable), name, values, "sample"))
    for population, values in run.words.items():
        name = add("uint16_t", values)
        member = f"{names.population[population]}.word"
        each.append(copied(member, name, values, "sample * STEPS + step"))
    for variable, values in run.expected.items():
        name, size = add("int32_t", values), values.shape[-1]
        after.append(
            f'if (differs("{variable}", state.{place(variable)}, {name}, {size}, sample, step)) '
            f"return 1;"
        )
    prefix = names.prefix
    numbers = f"/* {MARK}: the golden vector of {prefix}. */\n\n" + "\n".join(arrays)
    test = _TEST.format(
        mark=MARK,
        prefix=prefix,
        samples=samples,
        steps=steps,
        before="\n        ".join(before),
        each="\n            ".join(each),
        after="\n            ".join(after),
    )
    return {f"{prefix}_golden.h": numbers, f"{prefix}_test.c": test}


_TEST = """\
/* {mark}: runs the golden vector and compares every variable of every step. */

#include <stdio.h>
#include <string.h>

#include "{prefix}.h"
#include "{prefix}_golden.h"

#define SAMPLES {samples}
#define STEPS {steps}

static {prefix}_state state;

static int differs(const char *name, const int32_t *got, const int32_t *expected, int size,
                   int sample, int step)
{{
    int i;
    expected += (sample * STEPS + step) * size;
    for (i = 0; i < size; i++) {{
        if (got[i] == expected[i]) continue;
        printf("%s in step %d, neuron %d of sample %d: expected %ld, got %ld\\n", name, step, i,
               sample, (long)expected[i], (long)got[i]);
        return 1;
    }}
    return 0;
}}

int main(void)
{{
    int sample, step;
    for (sample = 0; sample < SAMPLES; sample++) {{
        {prefix}_reset(&state, &{prefix}_values);
        {before}
        for (step = 0; step < STEPS; step++) {{
            {each}
            if (step < STEPS - 1) {prefix}_iteration(&state, &{prefix}_values);
            else {prefix}_final(&state, &{prefix}_values);
            {after}
        }}
    }}
    printf("golden vector: %d samples, %d steps, all integers equal\\n", SAMPLES, STEPS);
    return 0;
}}
"""
