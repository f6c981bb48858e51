"""Convolutions on Lava: by its stock process, or by this package's, the same integers."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import toy
from fast_networks import everything

from pvae_neuro.errors import InputError
from pvae_neuro.sim.lava.engine import LavaEngine
from pvae_neuro.sim.reference import ReferenceEngine

needs_lava = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")

PREAMBLE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from fast_networks import everything
from lava.proc.conv.process import Conv
from pvae_neuro.errors import NetworkError
from pvae_neuro.network import Convolution, Interval, TransposedConvolution
from pvae_neuro.network.interval import point
from pvae_neuro.sim.lava import build_lava
from pvae_neuro.sim.lava.convolution import exact_convolution
def message(call, *arguments):
    try:
        call(*arguments)
    except NetworkError as error:
        return str(error)
    raise SystemExit("no error")
def convolution(kind, source, target, **geometry):
    maps = (target[0], source[0]) if kind is Convolution else (source[0], target[0])
    weight = np.random.default_rng(0).integers(-127, 128, (*maps, 4, 3)).astype(np.int8)
    return kind("c", "a", "m", "b", weight, source_shape=source, target_shape=target, **geometry)
"""


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@needs_lava
@pytest.mark.parametrize("stock", [True, False])
def test_equal_to_the_reference(stock):
    network = everything()
    images = toy.images(network, 2)
    ours = LavaEngine(stock_convolutions=stock).run(network, images, 3, 5, record="full")
    exact = ReferenceEngine().run(network, images, 3, 5, record="full")
    for name, values in exact.variables.items():
        np.testing.assert_array_equal(ours.variables[name], values, err_msg=name)
    assert len(np.unique(exact.variables["maps.c"])) > 3


@needs_lava
def test_stock_processes_are_shown_and_hold_every_geometry():
    run("""
own, stock = build_lava(everything()), build_lava(everything(), stock_convolutions=True)
assert isinstance(stock.connections["convolution"], Conv)
assert "1 Conv" in repr(stock) and "Conv" not in repr(own)
# Extremes are computed by Lava's own functions, and compared, where a process is made.
messages = Interval(np.array([-300]), np.array([511]))
for source, target, stride, padding in (
    ((1, 9, 31), (2, 5, 31), 2, 2), ((3, 5, 4), (1, 2, 2), 1, 0), ((2, 8, 6), (5, 3, 2), 3, 2),
):
    tall = (source[1] + 2 * padding - 4) // stride + 1
    broad = (source[2] + 2 * padding - 3) // stride + 1
    c = convolution(Convolution, source, (target[0], tall, broad), stride=stride, padding=padding)
    assert exact_convolution(c, messages).output_shape == (tall, broad, target[0])
""")


@needs_lava
def test_what_the_stock_process_would_change_is_an_error():
    run("""
small, large = (Interval(np.array([-n]), np.array([n])) for n in (300, 1 << 20))
plain = convolution(Convolution, (3, 8, 8), (2, 5, 6))
assert "would deliver" in message(exact_convolution, plain, large)
assert "expected sums within 24 bits" in message(exact_convolution, plain, large)
cut = convolution(Convolution, (3, 8, 8), (2, 4, 6))
assert "makes 5 x 6 slides of a picture of 8 x 8, expected 4 x 6" in message(
    exact_convolution, cut, small)
back = convolution(TransposedConvolution, (2, 5, 6), (3, 8, 8))
assert "no stock process for the kind 'transposed_convolution'" in message(
    exact_convolution, back, small)
""")


def test_stock_convolutions_take_one_sample():
    with pytest.raises(InputError, match="one sample at a time, got batch 2"):
        LavaEngine(batch=2, stock_convolutions=True)
