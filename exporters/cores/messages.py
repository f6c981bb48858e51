"""What a core does beside its neurons, in C: its phases and its messages."""

from __future__ import annotations

from pvae_neuro.exporters.c import Layout
from pvae_neuro.exporters.cores.cut import HOST, WORD, Core, Cut, Link

KERNEL = "kernel"
MARK = "Written by pvae-neuro"

HEADER = f"""\
/* {MARK}: what every core does, and the one function that the platform has to give.

   All cores go through the same phases. Before each phase, and once after the last one, a core
   calls platform_exchange; main.c is the whole loop. */

#ifndef PVAE_NEURO_CORES_H
#define PVAE_NEURO_CORES_H

#include <stdint.h>

/* One value of one neuron. The upper 16 bits of the key are the number of the variable in
   package.json, which says to whom it goes; the lower ones are the neuron. */
typedef struct {{
    uint32_t key;
    int32_t value;
}} message;

/* What this core sends: values that are not 0, of the phase that it has just run. */
extern message core_outbox[];
extern int32_t core_outbox_size;

/* Number of the phase that comes next, from 0. */
extern int32_t core_phase;

/* Begin a run: every variable at its start. */
void core_start(int32_t iterations);

/* Take messages from other cores or from the host. */
void core_receive(const message *arrived, int32_t count);

/* Run the next phase and fill the outbox; 0 after the last one. */
int32_t core_next(void);

/* Left to the platform: send core_outbox, wait until every core has sent its own, and hand all that
   arrives to core_receive. The host sends inputs before the first phase of a run, and random words
   before phase 0 of each iteration and before the first phase after the last iteration; both at 0
   as well, for they replace what was there. */
void platform_exchange(void);

#endif
"""
MAIN = f"""\
/* {MARK}: a run on one core. */

#include "cores.h"

#ifndef ITERATIONS
#define ITERATIONS 32
#endif

int main(void)
{{
    core_start(ITERATIONS);
    do platform_exchange(); while (core_next());
    platform_exchange();
    return 0;
}}
"""
_TEXT = """\
/* {mark}: phases and messages of core {number}, which computes {populations}. */

#include "kernel.h"
#include "cores.h"

kernel_state core_state;
message core_outbox[{outbox}];
int32_t core_outbox_size, core_phase;
static int32_t iterations_left;
{helpers}
void core_start(int32_t iterations)
{{
    kernel_reset(&core_state, &kernel_values);
    iterations_left = iterations;
    core_phase = iterations > 0 ? 0 : {iteration_phases};
    core_outbox_size = 0;
}}

void core_receive(const message *arrived, int32_t count)
{{
    for (; count > 0; count--, arrived++) {{
        const uint32_t neuron = arrived->key & 0xffff;
        switch (arrived->key >> 16) {{
{receives}        default:
            break;
        }}
    }}
}}

int32_t core_next(void)
{{
    core_outbox_size = 0;
    switch (core_phase) {{
{phases}    default:
        return 0;
    }}
    core_phase++;
    if (core_phase == {iteration_phases} && --iterations_left > 0) core_phase = 0;
    return core_phase < {all_phases};
}}
"""
_SEND = """
static void send(uint32_t variable, const int32_t *values, int32_t size)
{
    int32_t i;
    for (i = 0; i < size; i++) {
        if (values[i] == 0) continue;
        core_outbox[core_outbox_size].key = variable << 16 | (uint32_t)i;
        core_outbox[core_outbox_size++].value = values[i];
    }
}
"""
_FORGET = """
/* Values of 0 are not sent: what was received before goes. */
static void forget(int32_t *values, int32_t size)
{
    int32_t i;
    for (i = 0; i < size; i++) values[i] = 0;
}
"""


def outbox_size(network: Cut, core: Core) -> int:
    """Messages that a core sends at most at the end of a phase."""
    return max(
        sum(link.size for link in network.links if link.source == core.number and p in link.phases)
        for p in range(network.phases)
    )


def messages_source(network: Cut, core: Core, layout: Layout) -> str:
    """The C text of a core's phases and messages."""
    receives = "".join(
        _receive(layout, link) for link in network.links if core.number in link.targets
    )
    phases = "".join(_phase(network, core, layout, p) for p in range(network.phases))
    helpers = (_SEND if "send(" in phases else "") + (_FORGET if "forget(" in phases else "")
    return _TEXT.format(
        mark=MARK,
        number=core.number,
        populations=", ".join(core.populations),
        # C has no arrays of nothing.
        outbox=max(1, outbox_size(network, core)),
        helpers=helpers,
        receives=receives,
        phases=phases,
        iteration_phases=network.iteration_phases,
        all_phases=network.phases,
    )


def _member(layout: Layout, link: Link) -> str:
    names = layout.names
    member = WORD if link.variable == WORD else names.member[link.population, link.variable]
    return f"core_state.{names.population[link.population]}.{member}"


def _receive(layout: Layout, link: Link) -> str:
    value = "(uint16_t)arrived->value" if link.variable == WORD else "arrived->value"
    return (
        f"        case {link.number}:\n"
        f"            if (neuron < {link.size}) {_member(layout, link)}[neuron] = {value};\n"
        f"            break;\n"
    )


def _phase(network: Cut, core: Core, layout: Layout, number: int) -> str:
    lines = []
    for a in core.phases[number]:
        calls = [layout.names.receive[a]] if a.connections else []
        calls.append(layout.names.program[a.population, a.program])
        lines += [f"{call}(&core_state, &kernel_values);" for call in calls]
    for link in network.links:
        if number not in link.phases:
            continue
        if link.source == core.number:
            lines.append(f"send({link.number}, {_member(layout, link)}, {link.size});")
        if core.number in link.targets and link.source != HOST:
            lines.append(f"forget({_member(layout, link)}, {link.size});")
    body = "".join(f"        {line}\n" for line in (*lines, "break;"))
    return f"    case {number}:\n{body}"
