"""The language in the middle: networks of integer neurons whose behaviour is programs.

A network is populations with programs of word operations, connections between them, and a schedule.
Models are lowered to it; engines run it, exporters write it, the certificate proves it. It knows
NumPy alone. ``docs/language.md`` introduces it with an example.
"""

from __future__ import annotations

from pvae_neuro.network.circuit import Circuit
from pvae_neuro.network.connection import (
    CONNECTION_KINDS,
    Connection,
    Convolution,
    Dense,
    OneToOne,
    Shared,
    TransposedConvolution,
    transpose_of,
)
from pvae_neuro.network.float_circuit import FloatCircuit
from pvae_neuro.network.host import Encoding, ImageShape, Input, Readout
from pvae_neuro.network.interval import Interval
from pvae_neuro.network.listing import listing
from pvae_neuro.network.network import Choice, IntegerNetwork, Measurements
from pvae_neuro.network.operations import OPERATIONS, Operation, shift_right
from pvae_neuro.network.population import Constant, Population, Sampler, Variable, shared
from pvae_neuro.network.program import Instruction, Neuron, Output, Program, Value, trace
from pvae_neuro.network.ranges import Range, Ranges, readout_weight
from pvae_neuro.network.schedule import Activation

__all__ = [
    "CONNECTION_KINDS",
    "OPERATIONS",
    "Activation",
    "Choice",
    "Circuit",
    "Connection",
    "Constant",
    "Convolution",
    "Dense",
    "Encoding",
    "FloatCircuit",
    "ImageShape",
    "Input",
    "Instruction",
    "IntegerNetwork",
    "Interval",
    "Measurements",
    "Neuron",
    "OneToOne",
    "Operation",
    "Output",
    "Population",
    "Program",
    "Range",
    "Ranges",
    "Readout",
    "Sampler",
    "Shared",
    "TransposedConvolution",
    "Value",
    "Variable",
    "listing",
    "readout_weight",
    "shared",
    "shift_right",
    "trace",
    "transpose_of",
]
