"""Programs and activations as functions of C: the lines of the listing, once for each neuron."""

from __future__ import annotations

from collections.abc import Iterator

from pvae_neuro.exporters.c.connections import Call, call_of
from pvae_neuro.exporters.c.names import Names
from pvae_neuro.exporters.c.operations import EXPRESSIONS
from pvae_neuro.exporters.c.sampler import draw_name
from pvae_neuro.network import Activation, Circuit, Population, Program
from pvae_neuro.network.program import Instruction, is_result


def signature(names: Names, function: str) -> str:
    """How every function of a library is called."""
    return f"void {function}({names.prefix}_state *state, const {names.prefix}_data *data)"


def program_function(names: Names, population: Population, program: Program) -> str:
    """One program: a loop over the population's neurons."""
    received = ", ".join(population.received_names(program))
    lines = "\n".join(_body(names, population, program))
    return (
        f"/* {population.name}.{program.name}({received}) */\n"
        f"{signature(names, names.program[population.name, program.name])}\n{{\n{lines}\n}}\n"
    )


def _body(names: Names, population: Population, program: Program) -> Iterator[str]:
    own = names.population[population.name]
    constants = {c.name: c.values for c in population.constants}
    loads = []
    for name in program.reads:
        member = names.member[population.name, name]
        values = constants.get(name)
        if values is None:
            loads.append(f"const int32_t {member} = state->{own}.{member}[neuron];")
        elif len(values) > 1:
            loads.append(f"const int32_t {member} = data->constants.{own}.{member}[neuron];")
        else:
            yield f"    const int32_t {member} = {values[0]};"
    yield "    int32_t neuron;"
    if not any("data->" in line for line in loads):
        yield "    (void)data;"
    yield f"    for (neuron = 0; neuron < {population.size}; neuron++) {{"
    yield from (f"        {line}" for line in loads)
    for i in program.instructions:
        yield f"        const int32_t {i.result} = {_expression(names, population, i)};"
    for output in program.outputs:
        variable = names.member[population.name, output.variable]
        value = _word(names, population, output.value)
        yield f"        state->{own}.{variable}[neuron] = {value};"
    yield "    }"


def _word(names: Names, population: Population, name: str) -> str:
    if is_result(name) or name in ("0", "1"):
        return name
    return names.member[population.name, name]


def _expression(names: Names, population: Population, i: Instruction) -> str:
    arguments = [_word(names, population, a) for a in i.arguments]
    word = f"state->{names.population[population.name]}.word[neuron]"
    if i.operation == "word":
        return word
    if i.operation == "draw":
        return f"{draw_name(population.drawn_by)}({arguments[0]}, {word})"
    if i.operation == "mul" and arguments[2] == "0":
        return f"{arguments[0]} * {arguments[1]}"
    return EXPRESSIONS[i.operation].format(*arguments)


def receive_function(
    network: Circuit, names: Names, activation: Activation
) -> tuple[str, list[Call]]:
    """What an activation receives: sums of connections, shifted by their exponent."""
    target = names.population[activation.population]
    size = network.population_of[activation.population].size
    lines, calls = [], []
    for received, connections in network.groups(activation).items():
        total = f"state->{target}.{names.member[activation.population, received]}"
        lines.append(f"clear({total}, {size});")
        for c in connections:
            holder = c if c.shared is None else network.connection_of[c.shared.connection]
            call = call_of(c, holder)
            source = names.population[c.source], names.member[c.source, c.variable]
            text = call.text.format(
                weight=f"data->weights.{names.connection[holder.name]}",
                value=f"state->{source[0]}.{source[1]}",
                sum=total,
            )
            lines += [f"/* {c.name} */", text]
            calls.append(call)
        if connections[0].exponent:
            lines.append(f"shift({total}, {size}, {connections[0].exponent});")
    body = "\n".join(f"    {line}" for line in lines)
    text = (
        f"/* What {activation.population}.{activation.program} receives: "
        f"{', '.join(activation.connections)} */\n"
        f"{signature(names, names.receive[activation])}\n{{\n{body}\n}}\n"
    )
    return text, calls


CLEAR = """\
static void clear(int32_t *sum, int32_t size)
{
    int32_t i;
    for (i = 0; i < size; i++) sum[i] = 0;
}
"""
SHIFT = """\
/* By the exponent of connections, rounded once. */
static void shift(int32_t *sum, int32_t size, int32_t exponent)
{
    int32_t i;
    for (i = 0; i < size; i++) sum[i] = shr(sum[i], -exponent);
}
"""


def schedule_function(names: Names, function: str, activations: tuple[Activation, ...]) -> str:
    """Activations in their order."""
    lines = []
    for a in activations:
        lines.append(f"    /* {a} */")
        if a.connections:
            lines.append(f"    {names.receive[a]}(state, data);")
        lines.append(f"    {names.program[a.population, a.program]}(state, data);")
    if not activations:
        lines = ["    (void)state;", "    (void)data;"]
    return f"{signature(names, function)}\n{{\n" + "\n".join(lines) + "\n}\n"


def reset_function(network: Circuit, names: Names) -> str:
    """Every variable at the start of a run."""
    lines, reads_data = ["    int32_t neuron;"], False
    for p in network.populations:
        own = names.population[p.name]
        lines.append(f"    for (neuron = 0; neuron < {p.size}; neuron++) {{")
        for v in p.variables:
            member = names.member[p.name, v.name]
            value = str(v.initial[0])
            if len(v.initial) > 1:
                value, reads_data = f"data->initial.{own}.{member}[neuron]", True
            lines.append(f"        state->{own}.{member}[neuron] = {value};")
        lines.append("    }")
    if not reads_data:
        lines.insert(1, "    (void)data;")
    name = f"{names.prefix}_reset"
    return f"{signature(names, name)}\n{{\n" + "\n".join(lines) + "\n}\n"
