"""Networks that use every part of the language, for engines that must equal the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from pvae_neuro.network import (
    Activation,
    Constant,
    Convolution,
    Dense,
    Encoding,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Readout,
    Sampler,
    TransposedConvolution,
    Variable,
    shared,
    trace,
    transpose_of,
)
from pvae_neuro.network.sampler import largest_potential

FRAC_BITS = 10


def fire(n: Any) -> None:
    """Draw."""
    n.z = n.draw(n.u)


def integrate(n: Any) -> None:
    """Integrate what comes from all sides."""
    change = n.clip(
        n.mixed + n.broad + n.log_rate + n.own - n.shr(n.z * n.diagonal, n.shift), n.low, n.high
    )
    n.u = n.clip(n.u + change, n.u_min, n.u_max)


def every_operation(n: Any) -> None:
    """Each of the operations, on words of either sign, with shifts of every kind."""
    x = n.clip(n.events, n.low, n.high)
    y = n.clip(n.pixel - n.shr(n.back, 1), n.low, n.high)
    bits = (x & y) ^ (x | n.bias)
    turned = n.clip(n.shl(bits, n.left) + n.shr(y, n.right) + n.shr(x, n.either), n.low, n.high)
    wide = n.clip(n.mul(x, y, n.right) + n.mul(turned, n.bias, n.eight), n.wide_low, n.wide_high)
    chosen = n.select(x >= y, n.max(wide, -y), n.min(n.abs(x), turned))
    n.m = n.clip(chosen + n.clz(n.abs(y)) + n.clz(x), n.low, n.high)
    n.wide = wide


def draw_inside(n: Any) -> None:
    """Draws twice with one word between instructions, and exchanges two variables."""
    rate = n.clip(n.p + n.shr(n.mixed, n.eight), n.u_min, n.u_max)
    first = n.draw(rate)
    second = n.draw(n.select(first, n.u_min, rate))
    n.c = n.min(first + second, n.most)
    n.p = n.clip(rate + n.shr(n.word() - n.half, n.eight) - first, n.u_min, n.u_max)
    n.a, n.b = n.b + 0, n.a


def end(n: Any) -> None:
    """Only at the end."""
    n.a = n.min(n.a + 1, n.most)


def _constants(**values: Any) -> tuple[Constant, ...]:
    return tuple(
        Constant(name, shared(value) if isinstance(value, int) else value.astype(np.int32))
        for name, value in values.items()
    )


def everything(seed: int = 0, side: int = 7, latents: int = 35) -> IntegerNetwork:
    """Four populations with all operations and connection kinds; two of them draw.

    Pictures have ``side * side`` pixels and two channels behind a convolution of stride 2.
    """
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> Any:
        return rng.integers(-127, 128, shape).astype(np.int8)

    def integers(low: int, high: int, size: int) -> Any:
        return rng.integers(low, high + 1, size)

    pixels, half = side * side, (side + 1) // 2
    small = 2 * half * half
    u_max = min(largest_potential(15, FRAC_BITS), 2 << FRAC_BITS)
    u = {"u_min": -5 << FRAC_BITS, "u_max": u_max}
    maps = {**u, "u_max": min(largest_potential(10, FRAC_BITS), u_max)}
    clip, wide = {"low": -1023, "high": 1023}, {"wide_low": -100_000, "wide_high": 100_000}
    sampler = Sampler(15, FRAC_BITS, 3, 5)
    populations = (
        Population("pixels", pixels, (Variable("x", shared(0)),)),
        Population("drive", latents, (Variable("h", shared(0)),)),
        Population(
            "latents",
            latents,
            (
                Variable("u", integers(-2 << FRAC_BITS, u_max, latents).astype(np.int32)),
                Variable("z", shared(2)),
            ),
            _constants(diagonal=integers(0, 3000, latents), shift=3, **clip, **u),
            (trace(fire), trace(integrate)),
            sampler,
        ),
        Population(
            "errors",
            pixels,
            (Variable("m", shared(-1)), Variable("wide", shared(0))),
            _constants(
                bias=integers(-900, 900, pixels),
                left=integers(0, 3, pixels),
                right=integers(0, 12, pixels),
                either=integers(-2, 9, pixels),
                eight=8,
                **clip,
                **wide,
            ),
            (trace(every_operation),),
        ),
        Population(
            "maps",
            small,
            (
                Variable("c", shared(1)),
                Variable("p", shared(-100)),
                Variable("a", integers(-50, 50, small).astype(np.int32), 12),
                Variable("b", shared(7), 12),
            ),
            _constants(eight=8, most=15, half=1 << 15, **maps),
            (trace(draw_inside), trace(end)),
            Sampler(10, FRAC_BITS, 3, 5 + latents),
        ),
    )
    convolution = Convolution(
        "convolution", "errors", "m", "maps", weight(2, 1, 3, 3), 0, "mixed",
        source_shape=(1, side, side), target_shape=(2, half, half), stride=2, padding=1,
    )  # fmt: skip
    events = Dense("events", "latents", "z", "errors", weight(pixels, latents), -3, "events")
    connections = (
        OneToOne("pixels", "pixels", "x", "errors", np.ones(pixels, np.int8), 0, "pixel"),
        events,
        convolution,
        transpose_of(convolution, "back", "maps", "c", "errors", received_as="back"),
        transpose_of(events, "errors", "errors", "m", "latents", exponent=-9, received_as="mixed"),
        Dense("wide", "errors", "wide", "latents", weight(latents, pixels) // 64, -9, "broad"),
        Dense("maps", "maps", "p", "latents", weight(latents, small) // 8, -9, "log_rate"),
        Dense("still", "pixels", "x", "latents", weight(latents, pixels) // 4, -9, "mixed"),
        OneToOne("drive", "drive", "h", "latents", weight(latents), 1, "own"),
        Dense("to_maps", "latents", "z", "maps", weight(small, latents), 0, "mixed"),
        OneToOne("itself", "latents", "u", "latents", weight(latents) // 16, 1, "own"),
    )
    readout = rng.integers(-900, 900, (pixels, latents)).astype(np.int16)
    return IntegerNetwork(
        name="everything",
        input=Input(pixels, -1.0, 1.0, 8, (side, side)),
        encodings=(
            Encoding("pixels", "x"),
            Encoding(
                "drive", "h", rng.integers(-900, 900, (latents, pixels)).astype(np.int32), 9, 900
            ),
        ),
        populations=populations,
        connections=connections,
        iteration=(
            Activation("latents", "fire"),
            Activation("errors", "every_operation", ("pixels", "events", "back")),
            Activation("maps", "draw_inside", ("convolution", "to_maps")),
            Activation(
                "latents", "integrate", ("errors", "wide", "maps", "still", "drive", "itself")
            ),
            Activation("errors", "every_operation", ("pixels", "events", "back")),
        ),
        final=(Activation("latents", "fire"), Activation("maps", "end")),
        readout=Readout("latents", "z", readout, None, 11),
    )


def rectify(n: Any) -> None:
    """A rectifier; a message of many zeros, and its gate."""
    n.h = n.clip(n.mul(n.forward + n.bias, 1, n.shift), 0, n.high)


def compare(n: Any) -> None:
    """The picture, and the error of it."""
    n.y = n.forward
    n.m = n.clip(n.shr(n.pixel - n.forward, n.shift), n.low, n.high)


def through_gate(n: Any) -> None:
    """What comes back, where the rectifier lets it pass."""
    n.d = n.clip(n.select(n.h > 0, n.shr(n.back, n.shift), 0), n.low, n.limit)


def follow(n: Any) -> None:
    """Integrate."""
    n.u = n.clip(n.u + n.clip(n.back - n.leak, n.low, n.high), n.u_min, n.u_max)


def convolutional(seed: int = 0, side: int = 9, frac_bits: int = 9) -> IntegerNetwork:
    """Counts, rectifiers, two transposed convolutions and the way back; computes its picture."""
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> Any:
        return rng.integers(-127, 128, shape).astype(np.int8)

    half, quarter = -(-side // 2), -(-side // 4)
    small, middle, whole = (5, quarter, quarter), (3, half, half), (1, side, side)
    sizes = [int(np.prod(shape)) for shape in (small, middle, whole)]
    latents = 20
    u_max = min(largest_potential(15, FRAC_BITS), 2 << FRAC_BITS)
    populations = [
        Population("pixels", sizes[2], (Variable("x", shared(0)),)),
        Population(
            "latents",
            latents,
            (
                Variable("u", rng.integers(-2 << FRAC_BITS, u_max, latents).astype(np.int32)),
                Variable("z", shared(0)),
            ),
            _constants(leak=30, low=-900, high=900, u_min=-5 << FRAC_BITS, u_max=u_max),
            (trace(fire), trace(follow)),
            Sampler(15, FRAC_BITS, 0, 0),
        ),
    ]
    for number, size in enumerate(sizes[:2], 1):
        populations.append(
            Population(
                f"hidden{number}",
                size,
                (Variable("h", shared(0)), Variable("d", shared(0))),
                _constants(
                    bias=rng.integers(-900, 300, size), shift=1 if number == 1 else 6,
                    high=511, low=-700 if number == 1 else -300, limit=300,
                ),
                (trace(rectify), trace(through_gate)),
            )
        )  # fmt: skip
    populations.append(
        Population(
            "errors",
            sizes[2],
            (Variable("y", shared(0)), Variable("m", shared(0))),
            _constants(shift=3, low=-511, high=511),
            (trace(compare),),
        )
    )
    ends = ["latents", "hidden1", "hidden2", "errors"]
    up = [Dense("up0", "latents", "z", "hidden1", weight(sizes[0], latents), 0, "forward")]
    for number, (source, target) in enumerate(((small, middle), (middle, whole)), 1):
        up.append(
            TransposedConvolution(
                f"up{number}", ends[number], "h", ends[number + 1],
                weight(source[0], target[0], 4, 4), -5, "forward",
                source_shape=source, target_shape=target, stride=2, padding=1,
            )
        )  # fmt: skip
    down = [
        transpose_of(
            c, f"down{i}", ends[i + 1], "m" if i == 2 else "d", ends[i],
            exponent=-10 if i == 0 else -4, received_as="back",
        )
        for i, c in enumerate(up)
    ]  # fmt: skip
    forward = [
        Activation("latents", "fire"),
        Activation("hidden1", "rectify", ("up0",)),
        Activation("hidden2", "rectify", ("up1",)),
        Activation("errors", "compare", ("pixels", "up2")),
    ]
    pixels = OneToOne("pixels", "pixels", "x", "errors", np.ones(sizes[2], np.int8), 3, "pixel")
    return IntegerNetwork(
        name="convolutional",
        input=Input(sizes[2], -1.0, 1.0, 8, (side, side)),
        encodings=(Encoding("pixels", "x"),),
        populations=tuple(populations),
        connections=(pixels, *up, *down),
        iteration=(
            *forward,
            Activation("hidden2", "through_gate", ("down2",)),
            Activation("hidden1", "through_gate", ("down1",)),
            Activation("latents", "follow", ("down0",)),
        ),
        final=tuple(forward),
        readout=Readout("errors", "y", None, None, frac_bits),
    )


def settle(n: Any) -> None:
    """A graded message of either sign that follows its input."""
    n.m = n.clip(n.m - n.shr(n.m, n.slow) + n.given, n.low, n.high)


def signed(seed: int = 0) -> IntegerNetwork:
    """Nothing draws: the code is a signed message, read out by weights."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (37, 25)).astype(np.int8)
    return IntegerNetwork(
        name="signed",
        input=Input(25, -1.0, 1.0, 8, (5, 5)),
        encodings=(Encoding("pixels", "x"),),
        populations=(
            Population("pixels", 25, (Variable("x", shared(0)),)),
            Population(
                "units",
                37,
                (Variable("m", shared(0)),),
                _constants(slow=3, low=-400, high=400),
                (trace(settle),),
            ),
        ),
        connections=(Dense("given", "pixels", "x", "units", weights, -8, "given"),),
        iteration=(Activation("units", "settle", ("given",)),),
        final=(),
        readout=Readout("units", "m", rng.integers(-900, 900, (25, 37)).astype(np.int16), None, 11),
    )


def turn(n: Any) -> None:
    """What came, and a message of it up to a limit."""
    n.sum = n.came
    n.m = n.clip(n.shl(n.came, n.left), n.low, n.high)


def sliding(
    weight: Any,
    wide: tuple[int, ...],
    narrow: tuple[int, ...],
    stride: int,
    padding: int,
    limit: int,
) -> IntegerNetwork:
    """A convolution of the input, and its transpose of what came of that."""
    pixels, maps = int(np.prod(wide)), int(np.prod(narrow))
    there = Convolution(
        "there", "pixels", "x", "maps", weight, 0, "came",
        source_shape=wide, target_shape=narrow, stride=stride, padding=padding,
    )  # fmt: skip
    populations = [Population("pixels", pixels, (Variable("x", shared(0)),))]
    for name, size, left in (("maps", maps, 7), ("pictures", pixels, 0)):
        populations.append(
            Population(
                name,
                size,
                (Variable("sum", shared(0)), Variable("m", shared(0))),
                _constants(left=left, low=-limit, high=limit),
                (trace(turn),),
            )
        )
    return IntegerNetwork(
        name="sliding",
        input=Input(pixels, -1.0, 1.0, 8),
        encodings=(Encoding("pixels", "x"),),
        populations=tuple(populations),
        connections=(
            there,
            transpose_of(there, "back", "maps", "m", "pictures", received_as="came"),
        ),
        iteration=(
            Activation("maps", "turn", ("there",)),
            Activation("pictures", "turn", ("back",)),
        ),
        final=(),
    )
