"""A population as a C program of an embedded processor. Knows nothing of Lava.

The programs are those of the network's C library (``exporters/c``); around them stands what
``HostNeuronsModel`` does in Python: messages are added up for ``unit`` steps, their marks are
counted, and activations happen when the plan says. The functions of the framework that it calls,
and its header, are used as openly licensed programs use them; ``docs/loihi2.md`` has the sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pvae_neuro.exporters.c.layout import Layout, layout_of
from pvae_neuro.exporters.c.library import c_array, c_source
from pvae_neuro.network import IntegerNetwork, Population
from pvae_neuro.sim.lava.plan import Action, Plan

PREFIX = "net"


@dataclass(frozen=True, eq=False)
class Embedded:
    """A population on an embedded processor.

    Attributes
    ----------
    network : IntegerNetwork
    population : Population
    plan : Plan
    """

    network: IntegerNetwork
    population: Population
    plan: Plan

    @cached_property
    def layout(self) -> Layout:
        """Names and memory of the network's C library."""
        return layout_of(self.network, PREFIX)

    @property
    def own(self) -> str:
        """The population's structure."""
        return f"memory.{self.layout.names.population[self.population.name]}"

    def member(self, name: str) -> str:
        """Identifier of a variable or of a received sum."""
        return self.layout.names.member[self.population.name, name]

    def value(self, variable: str) -> str:
        """Var of a variable."""
        return f"value_{self.member(variable)}"

    def held(self, connection: str) -> str:
        """Var of an input that is held."""
        return f"held_{self.layout.names.connection[connection]}"

    @property
    def sent(self) -> dict[str, frozenset[int]]:
        """Variables that travel, and the steps of the period on which they do."""
        return self.plan.sending

    def text(self, predefs: str) -> str:
        """The program, whole; ``predefs`` is the header that declares its ports and Vars."""
        files = c_source(self.network, PREFIX, weights=False)
        header, source = files[f"{PREFIX}.h"], files[f"{PREFIX}.c"]
        library = source.replace(f'#include "{PREFIX}.h"\n', "")
        return "\n".join([
            f'#include "nxsdk.h"\n#include "{predefs}"\n', header, library, self._values(),
            f"static {PREFIX}_state memory;", *self._parts(),
        ])  # fmt: skip

    def _values(self) -> str:
        """Constants and initial values of the population; weights are on cores."""
        own = self.layout.names.population[self.population.name]
        arrays, members = [], []
        for path, array in self.layout.data.items():
            if path[0] != "weights" and path[1] == own:
                name = "_".join(("array", *path))
                arrays.append(c_array(name, "int32_t", array))
                members.append(f"    .{'.'.join(path)} = {name},")
        body = "\n".join(members) or "    0"
        return "\n".join([*arrays, f"static const {PREFIX}_data values = {{\n{body}\n}};"])

    def _parts(self) -> Iterator[str]:
        n = self.population.size
        for port in self.plan.ports:
            yield f"static int32_t waiting_{port.name}[{n + 1}];"
        yield f"static int32_t message[{n + 1}];"
        yield _HELPERS
        yield _function("static void clear_waiting(void)", self._clear())
        yield _function("static void begin(void)", self._begin())
        for number, action in enumerate((*self.plan.iteration, *self.plan.final)):
            yield _function(f"static void act_{number}(void)", self._act(action))
        yield _function("static void act(int32_t now)", self._timetable())
        yield _function("static void show(void)", self._show())
        yield "int spk_guard(runState *rs) { (void)rs; return 1; }\n"
        yield _function("void run_spk(runState *rs)", self._run())

    def _clear(self) -> Iterator[str]:
        for port in self.plan.ports:
            yield f"clear_message(waiting_{port.name}, {self.population.size + 1});"

    def _begin(self) -> Iterator[str]:
        """Initial values; an input holds what the host has set."""
        yield "int32_t i;"
        yield f"for (i = 0; i < {self.population.size}; i++) {{"
        data = self.layout.names.population[self.population.name]
        for v in self.population.variables:
            member = self.member(v.name)
            value = str(v.initial[0])
            if len(v.initial) > 1:
                value = f"values.initial.{data}.{member}[i]"
            if self.plan.load is not None:
                value = f"{self.value(v.name)}[i]"
            yield f"    {self.own}.{member}[i] = {value};"
        yield "}"

    def _act(self, action: Action) -> Iterator[str]:
        names, n = self.layout.names, self.population.size
        yield "int32_t i;"
        yield f"for (i = 0; i < {n}; i++) {{"
        for s in action.sums:
            terms = [f"waiting_{port}[i]" for port in s.ports]
            terms += [f"{self.held(connection)}[i]" for connection in s.held]
            total = f"{self.own}.{self.member(s.name)}[i]"
            yield f"    {total} = scaled({' + '.join(terms)}, {s.exponent});"
        if self.population in self.network.drawing:
            yield f"    {self.own}.word[i] = (uint16_t)words[i];"
        yield "}"
        yield f"{names.program[self.population.name, action.program]}(&memory, &values);"

    def _timetable(self) -> Iterator[str]:
        timing = self.plan.timing
        yield f"int32_t iteration = floor_of(now, {timing.period});"
        yield f"const int32_t residue = now - iteration * {timing.period};"
        yield "const int32_t last = iterations[0] ? iterations[0] : INT32_MAX;"
        # What acts in one step acts in order of (iteration, index): the older iteration first.
        acts = sorted(
            enumerate(self.plan.iteration), key=lambda e: (-(e[1].phase // timing.period), e[0])
        )
        for number, action in acts:
            before, residue = divmod(action.phase, timing.period)
            yield (
                f"if (residue == {residue} && iteration - {before} >= 0 && "
                f"iteration - {before} < last) act_{number}();"
            )
        for number, action in enumerate(self.plan.final, len(self.plan.iteration)):
            due = f"iterations[0] * {timing.period} + {action.phase}"
            yield f"if (iterations[0] && now == {due}) act_{number}();"

    def _show(self) -> Iterator[str]:
        yield "int32_t i;"
        yield f"for (i = 0; i < {self.population.size}; i++) {{"
        for v in self.population.variables:
            yield f"    {self.value(v.name)}[i] = {self.own}.{self.member(v.name)}[i];"
        yield "}"

    def _run(self) -> Iterator[str]:
        n, timing = self.population.size, self.plan.timing
        yield "const int32_t now = tick[0], every = unit[0];"
        yield "const int32_t sends = every && now % every == 0;"
        yield f"const int32_t due = (step[0] - {timing.lead}) - "
        yield f"    floor_of(step[0] - {timing.lead}, {timing.period}) * {timing.period};"
        yield "(void)due;"
        if self.plan.ports:
            yield "if (now == 0) {"
            yield "    int32_t i;"
            yield "    clear_waiting();"
            yield f"    for (i = 0; i < {len(self.plan.ports)}; i++)"
            yield "        first[i] = last[i] = late[i] = -1;"
            yield "}"
        for number, port in enumerate(self.plan.ports):
            yield f"recv_vec_dense(rs, &{port.name}, message);"
            waiting = f"waiting_{port.name}"
            yield f"if (add_message({waiting}, message, {n + 1})) note({number}, now, every);"
            yield f"counted[{number}] = {waiting}[{n}];"
            expected = f"(now ? {len(port.connections)} : 0)"
            yield f"if (sends && late[{number}] < 0 && counted[{number}] != {expected})"
            yield f"    late[{number}] = now;"
        yield "if (sends) {"
        yield "    if (step[0] == 0) begin();"
        yield f"    act(step[0] - {timing.lead});"
        yield "    show();"
        yield "    clear_waiting();"
        yield "    step[0]++;"
        yield "}"
        order = [v.name for v in self.population.variables]
        for variable, steps in self.sent.items():
            on = " || ".join(f"due == {s}" for s in sorted(steps)) or "0"
            place, values = order.index(variable), f"{self.own}.{self.member(variable)}"
            yield f"copy_message(message, {values}, {n}, sends && ({on}));"
            yield f"message[{n}] = sends || (!every && now == 0 && pulse[0] == {place});"
            yield f"send_vec_dense(rs, &{variable}_out, message);"
        yield "tick[0] = now + 1;"


_HELPERS = """\
/* By the exponent of connections, rounded half up. */
static int32_t scaled(int32_t a, int32_t exponent)
{
    if (exponent >= 0) return (int32_t)((uint32_t)a << exponent);
    return (a + ((int32_t)1 << (-exponent - 1))) >> -exponent;
}

static int32_t floor_of(int32_t a, int32_t b)
{
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

static void clear_message(int32_t *to, int32_t size)
{
    int32_t i;
    for (i = 0; i < size; i++) to[i] = 0;
}

static void copy_message(int32_t *to, const int32_t *from, int32_t size, int32_t wanted)
{
    int32_t i;
    for (i = 0; i < size; i++) to[i] = wanted ? from[i] : 0;
}

/* A message of 24 bits, whether its sign was extended or not; returns whether it is not silent. */
static int32_t add_message(int32_t *sum, const int32_t *from, int32_t size)
{
    int32_t i, some = 0;
    for (i = 0; i < size; i++) {
        const int32_t one = ((from[i] & 0xFFFFFF) ^ 0x800000) - 0x800000;
        sum[i] += one;
        some |= one;
    }
    return some != 0;
}

/* When something arrived: all of it while listening, else what is out of bounds. */
static void note(int32_t port, int32_t now, int32_t every)
{
    const int32_t after = now && every ? (now - 1) % every + 1 : 0;
    if (!every) {
        if (first[port] < 0) first[port] = now;
        last[port] = now;
    } else if (late[port] < 0 && (after < least[port] || after > most[port])) {
        late[port] = now;
    }
}
"""


def _function(head: str, lines: Iterator[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"{head}\n{{\n{body}\n}}\n"
