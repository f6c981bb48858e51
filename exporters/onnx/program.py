"""IntegerNetwork ⇄ program: everything except arrays as JSON, the arrays as named tensors.

A program names each array by the place that it has in the network. Matrices are stored
[source, target], because ONNX multiplies rows: ``received = emitted @ stored``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pvae_neuro.count_table import CountTable
from pvae_neuro.network import (
    Choice,
    Connection,
    Drive,
    ErrorPopulation,
    Hop,
    InputEncoding,
    IntegerNetwork,
    PoissonPopulation,
    Population,
    Readout,
)
from pvae_neuro.network import ImageShape

SCHEMA_VERSION = 1
Arrays = Mapping[str, NDArray[Any]]
# A whole number stays one: the network that is read back equals the one that was written.
Number = Annotated[int | float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    # Strict: a file that says "8" or 8.0 where an integer belongs was not written by this package.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class InputPart(_Part):
    """See :class:`~pvae_neuro.network.InputEncoding`."""

    pixels: int
    low: Number
    high: Number
    frac_bits: int
    image_shape: ImageShape | None


class TablePart(_Part):
    """See :class:`~pvae_neuro.count_table.CountTable`; its range is the population's."""

    threshold: str
    row_bits: int
    dither_bits: int


class PoissonPart(_Part):
    """See :class:`~pvae_neuro.network.PoissonPopulation`."""

    kind: Literal["poisson"]
    name: str
    initial: str
    leak: str
    diagonal: str
    frac_bits: int
    u_min: int
    u_max: int
    du_min: int
    du_max: int
    table: TablePart


class ErrorPart(_Part):
    """See :class:`~pvae_neuro.network.ErrorPopulation`."""

    kind: Literal["error"]
    name: str
    gain: str
    gain_shift: int
    message_limit: int


class ConnectionPart(_Part):
    """See :class:`~pvae_neuro.network.Connection`."""

    name: str
    source: str
    target: str
    weight: str
    exponent: int
    bits: int


class HopPart(_Part):
    """See :class:`~pvae_neuro.network.Hop`."""

    target: str
    connections: tuple[str, ...]


class ReadoutPart(_Part):
    """See :class:`~pvae_neuro.network.Readout`."""

    source: str
    weight: str
    frac_bits: int


class DrivePart(_Part):
    """See :class:`~pvae_neuro.network.Drive`."""

    target: str
    weight: str
    shift: int
    limit: int


class ChoicePart(_Part):
    """See :class:`~pvae_neuro.network.Choice`."""

    name: str
    value: Number
    why: str


class Program(_Part):
    """An :class:`~pvae_neuro.network.IntegerNetwork` whose arrays are names of tensors."""

    topology: str
    input: InputPart
    populations: tuple[Annotated[PoissonPart | ErrorPart, Field(discriminator="kind")], ...]
    connections: tuple[ConnectionPart, ...]
    schedule: tuple[HopPart, ...]
    readout: ReadoutPart
    drive: DrivePart | None
    choices: tuple[ChoicePart, ...]


def to_program(network: IntegerNetwork) -> Program:
    """Describe a network without its arrays.

    Raises
    ------
    pydantic.ValidationError
        If a scalar is no plain Python number.
    """
    drive = network.drive
    return Program(
        topology=network.topology,
        input=InputPart(**vars(network.input)),
        populations=tuple(_population_part(p) for p in network.populations),
        connections=tuple(
            ConnectionPart(**{**vars(c), "weight": tensor_name(c, "weight")})
            for c in network.connections
        ),
        schedule=tuple(HopPart(**vars(hop)) for hop in network.schedule),
        readout=ReadoutPart(
            **{**vars(network.readout), "weight": tensor_name(network.readout, "weight")}
        ),
        drive=None
        if drive is None
        else DrivePart(**{**vars(drive), "weight": tensor_name(drive, "weight")}),
        choices=tuple(ChoicePart(**vars(choice)) for choice in network.choices),
    )


def _population_part(population: Population) -> PoissonPart | ErrorPart:
    if isinstance(population, ErrorPopulation):
        named = {"gain": tensor_name(population, "gain")}
        return ErrorPart(kind="error", **{**vars(population), **named})
    named = {f: tensor_name(population, f) for f in ("initial", "leak", "diagonal")}
    table = TablePart(
        threshold=tensor_name(population, "threshold"),
        row_bits=population.table.row_bits,
        dither_bits=population.table.dither_bits,
    )
    return PoissonPart(kind="poisson", **{**vars(population), **named, "table": table})


def tensor_name(part: Population | Connection | Drive | Readout, field: str) -> str:
    """Name of the tensor that holds one array of a network.

    Returns
    -------
    str
        ``populations.<name>.<field>``, ``connections.<name>.weight``, ``drive.weight`` or
        ``readout.weight``.
    """
    if isinstance(part, Connection):
        return f"connections.{part.name}.{field}"
    if isinstance(part, Drive | Readout):
        return f"{type(part).__name__.lower()}.{field}"
    return f"populations.{part.name}.{field}"


def to_network(program: Program, arrays: Arrays) -> IntegerNetwork:
    """Put a program and its tensors together again.

    Parameters
    ----------
    program : Program
    arrays : mapping of str to array
        Tensors by name, matrices [source, target].

    Raises
    ------
    KeyError
        If a tensor is missing.
    NetworkError
        If the parts do not fit together.
    """
    drive = program.drive
    return IntegerNetwork(
        topology=program.topology,
        input=InputEncoding(**vars(program.input)),
        populations=tuple(_population(part, arrays) for part in program.populations),
        connections=tuple(
            Connection(**{**vars(c), "weight": _matrix(arrays, c.weight)})
            for c in program.connections
        ),
        schedule=tuple(Hop(**vars(hop)) for hop in program.schedule),
        readout=Readout(
            **{**vars(program.readout), "weight": _matrix(arrays, program.readout.weight)}
        ),
        drive=None
        if drive is None
        else Drive(**{**vars(drive), "weight": _matrix(arrays, drive.weight)}),
        choices=tuple(Choice(**vars(choice)) for choice in program.choices),
    )


def _population(part: PoissonPart | ErrorPart, arrays: Arrays) -> Population:
    fields = {name: value for name, value in vars(part).items() if name != "kind"}
    if isinstance(part, ErrorPart):
        return ErrorPopulation(**{**fields, "gain": arrays[part.gain]})
    named = {f: arrays[getattr(part, f)] for f in ("initial", "leak", "diagonal")}
    table = CountTable(
        threshold=arrays[part.table.threshold],
        u_min=part.u_min,
        u_max=part.u_max,
        frac_bits=part.frac_bits,
        row_bits=part.table.row_bits,
        dither_bits=part.table.dither_bits,
    )
    return PoissonPopulation(**{**fields, **named, "table": table})


def _matrix(arrays: Arrays, name: str) -> NDArray[Any]:
    return np.ascontiguousarray(arrays[name].T)


def canonical_json(part: BaseModel) -> str:
    """JSON text of a part: keys sorted, no spaces, so that equal parts give equal text."""
    return json.dumps(
        part.model_dump(mode="json"),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
