"""Integers of a chain: mantissas, the unit of every sum and of every graded spike, limits.

Draws are whole numbers and need no unit. What predicts a node, and the errors that come back to it,
add up in units of 2**-11, or in the finest in which the largest sum fits 24 bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.chain.saved import SavedChain
from pvae_neuro.exporters.lowerings.chain.structure import (
    ERRORS,
    INFERRED,
    Map,
    Part,
    Sums,
    constants_of,
    structure,
)
from pvae_neuro.exporters.lowerings.linear import factor, input_of
from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.scales import (
    HEADROOM,
    LARGEST_SUM,
    Scales,
    Sent,
    check_exponent,
    few_saturated,
    graded,
    rounded_weights,
    row_reach,
    words,
)
from pvae_neuro.network import Choice, Constant, IntegerNetwork, Readout
from pvae_neuro.network.operations import LARGEST_SHIFT
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.network.sampler import LOWEST_POTENTIAL
from pvae_neuro.utils.reproducible import power_below

SUM_BITS = 11


def integer_chain(
    name: str, chain: SavedChain, scales: Scales, calibration: Calibration
) -> IntegerNetwork:
    """The network of a chain; choices that its sizes alone do not decide are kept with reasons."""
    return _Rounding(chain, scales, calibration).network(name)


class _Rounding:
    def __init__(self, chain: SavedChain, scales: Scales, calibration: Calibration) -> None:
        self.chain, self.scales, self.calibration = chain, scales, calibration
        self.choices = list(scales.choices)
        self.exponents: list[int] = []
        self.mantissas: list[NDArray[np.int8]] = []
        for n, weight in enumerate(chain.weights):
            exponent, mantissa = rounded_weights(weight, scales)
            self.exponents.append(exponent)
            self.mantissas.append(mantissa)
            self._choose(f"exponent of map {n}", exponent, few_saturated(weight, exponent, scales))
        # What each node sends down, and up.
        self.sent = [self._sent(n, "z", row_reach(m)) for n, m in enumerate(self.mantissas)]
        self.errors = [self._sent(n, "e", row_reach(m.T)) for n, m in enumerate(self.mantissas[1:])]
        config = chain.model.config
        self.brightest = max(abs(float(config.input_low)), abs(float(config.input_high)))

    def network(self, name: str) -> IntegerNetwork:
        chain = self.chain
        finest = max(self.scales.input_frac_bits, self.sent[0].bits - self.exponents[0])
        predicted, pixel = chain.pixels.bits(self._reach(0) + self.brightest, finest, self.scales)
        errors, sent = self._pixels(predicted, pixel)
        positions = [predicted, *(self._sum_bits(n) for n in range(1, len(self.mantissas)))]
        maps, parts = [], []
        for n, (weight, below) in enumerate(zip(self.mantissas, (sent, *self.errors), strict=True)):
            up = self._up_bits(n, below)
            down = self.exponents[n] - self.sent[n].bits + positions[n]
            back = self.exponents[n] - below.bits + up
            maps.append(
                Map(
                    weight,
                    check_exponent(down, f"map {n}, down"),
                    check_exponent(back, f"map {n}, up"),
                )
            )
            parts.append(self._part(n, up, positions[n + 1 : n + 2]))
        return IntegerNetwork(
            name=name,
            input=input_of(chain.model, pixel),
            readout=Readout(ERRORS, "y", frac_bits=pixel),
            inferred=INFERRED,
            choices=tuple(self.choices),
            family=chain.model.config.family,
            **structure(parts, maps, chain.model.config.pixels, chain.pixels.compare, errors),
        )

    def _choose(self, name: str, value: float, reason: str) -> None:
        self.choices.append(Choice(name, value, reason))

    def _choose_unit(self, name: str, sent: Sent, largest: float) -> None:
        why = (
            f"finest in which {HEADROOM:g} times the largest of calibration, {largest:.4g}, is at "
            f"most {sent.limit}, whose sums keep 24 bits, and in which no word leaves them"
        )
        self._choose(f"unit of {name}", 2.0**-sent.bits, why)

    def _sent(self, n: int, variable: str, reach: int) -> Sent:
        """What a node sends; ``reach`` is the largest sum of mantissas where it arrives."""
        name, kind = f"node{n + 1}.{variable}", self.chain.kinds[n]
        largest = float(self.calibration.largest[name].max())
        found = kind.sent(name, reach, largest, self.scales)
        if name in kind.hops(f"node{n + 1}"):
            self._choose_unit(name, found, largest)
        return found

    def _reach(self, n: int) -> float:
        """Largest magnitude of what map n predicts, with its bias."""
        most = float(row_reach(self.mantissas[n]) * self.sent[n].limit)
        reach = math.ldexp(most, self.exponents[n] - self.sent[n].bits)
        return reach + float(np.abs(self.chain.biases[n]).max())

    def _sum_bits(self, n: int) -> int:
        """Fixed-point position of what map n predicts of a node."""
        return min(SUM_BITS, self.scales.frac_bits, _fitting(self._reach(n)))

    def _up_bits(self, n: int, below: Sent) -> int:
        """Fixed-point position of the errors that map n brings up."""
        most = float(row_reach(self.mantissas[n].T) * below.limit)
        return min(SUM_BITS, _fitting(math.ldexp(most, self.exponents[n] - below.bits)))

    def _pixels(self, predicted: int, pixel: int) -> tuple[tuple[Constant, ...], Sent]:
        """Constants of the error neurons, and what they send."""
        name, kind = f"{ERRORS}.m", self.chain.pixels
        gain = kind.gain(self.chain.model.arrays)
        extreme = gain * kind.largest_error(self._reach(0), self.brightest)
        largest = float(self.calibration.largest[name].max())
        reach = row_reach(self.mantissas[0].T)
        provable = LARGEST_SUM // max(1, reach)
        sent = graded(name, provable, largest, self.scales, _fitting(extreme))
        self._choose_unit(name, sent, largest)
        constants = {
            "bias": words(_scaled(self.chain.biases[0], predicted), "bias of the pixels"),
            **factor("gain", math.ldexp(gain, sent.bits - pixel)),
            "low": -sent.limit, "high": sent.limit,
        }  # fmt: skip
        return (*constants_of(constants), *kind.constants(predicted, pixel)), sent

    def _part(self, n: int, up_bits: int, predicted_bits: list[int]) -> Part:
        chain, scales, settings = self.chain, self.scales, self.chain.settings
        bits, kind, name = scales.frac_bits, chain.kinds[n], f"node{n + 1}"
        low, high = self._ends(n)
        bound = max(1, round(math.ldexp(settings.bound, bits)))
        pull = settings.step_size * settings.trust
        push = pull if n else settings.step_size
        costs = {
            cost: words(_scaled(values, bits), f"{name}.{cost}", WORD_MAX // 4)
            for cost, values in chain.costs(n).items()
        }
        # A push at which the change is at its bound, whatever else comes, acts as any larger one.
        others = bound + pull * (high - low) + sum(float(cost.max()) for cost in costs.values())
        most = min(LARGEST_SUM, math.ceil(math.ldexp(others / push, up_bits - bits)) + 1)
        bias = chain.biases[n + 1]
        start = np.clip(_scaled(bias, bits), low, high).astype(np.int32)
        above: dict[str, Any] = {"t": start}
        for position in predicted_bits:
            shift = bits - position
            above = {
                "bias": words(_scaled(bias, position), f"bias of {name}"),
                "t_min": low >> shift, "t_max": high >> shift, "t_shift": shift,
            }  # fmt: skip
        constants = {
            "u_min": low, "u_max": high, "du_min": -bound, "du_max": bound,
            **factor("push", math.ldexp(push, bits - up_bits)), **factor("pull", pull),
            "least": -most, "most": most, **costs, **above,
        }  # fmt: skip
        error = self.errors[n] if chain.is_predicted(n) else Sent(0)
        own = kind.constants(scales, self.sent[n], error)
        return Part(
            name, start, (*constants_of(constants), *own), kind.sampler(scales, chain.stream(n)),
            chain.fire(n), chain.settle(n), chain.is_predicted(n),
            self._sums(n, start) if kind.grouped else None,
        )  # fmt: skip

    def _sums(self, n: int, start: NDArray[np.int32]) -> Sums:
        chain, bits = self.chain, self.scales.frac_bits
        log_sums = chain.log_sums(np.ldexp(start.astype(np.float64), -bits))
        ends = [round(math.ldexp(end, bits)) for end in chain.log_sum_ends(n)]
        rate = factor("rate", math.ldexp(chain.settings.normalizer or 0.0, bits))
        return Sums(
            _scaled(log_sums, bits).astype(np.int32),
            constants_of({**rate, "c_min": ends[0], "c_max": ends[1]}),
        )

    def _ends(self, n: int) -> tuple[int, int]:
        """Bounds of a node's parameters."""
        config, bits = self.chain.model.config, self.scales.frac_bits
        if config.floor_u < LOWEST_POTENTIAL:
            raise refused(
                f"node{n + 1}: the parameters' lower clamp is {config.floor_u:g}, expected at "
                f"least {LOWEST_POTENTIAL}, the lowest that neurons draw from",
                "clip",
            )
        low, high = (round(math.ldexp(end, bits)) for end in (config.floor_u, config.clamp_u))
        highest = self.chain.kinds[n].highest(self.scales)
        if highest < high:
            why = f"largest that its neurons take; the model's is {config.clamp_u:g}"
            self._choose(f"upper clamp of node{n + 1}", math.ldexp(highest, -bits), why)
        return low, min(high, highest)


def _fitting(reach: float) -> int:
    """Finest fixed-point position in which what reaches so far fits 24 bits."""
    return min(LARGEST_SHIFT, power_below(LARGEST_SUM, reach)) if reach > 0.0 else LARGEST_SHIFT


def _scaled(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.rint(np.ldexp(values, bits))
    return found
