"""The listing of a small network, as it stands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from language_tools import small_network, small_parts

from pvae_neuro.network import Convolution, Encoding, listing, transpose_of

SMALL = """\
network small

host sets drive.x = clip((W[3 x 6] x) >> 1, -100, 100)

population drive: 3 neurons
  variable x: 24 bits, initial 0

population cells: 4 neurons
  variable u: 12 bits, initial -3
  variable z: 8 bits, initial 0
  constant u_low = -1000
  constant u_high = 400
  draws counts to 15 of a log-rate in units of 2^-8; stream 0, from 0
  program integrate(feedback)
    t0 = feedback >> 1
    t1 = u + t0
    t2 = max(t1, u_low)
    t3 = min(t2, u_high)
    u <- t3
  program fire()
    t0 = draw(u)
    z <- t0

population hidden: 3 neurons
  variable a: 9 bits, initial [3] -2 .. 3
  constant bias = [3] -6 .. 5
  constant low = -200
  constant high = 200
  program hear(sent)
    t0 = sent + bias
    t1 = max(t0, low)
    t2 = min(t1, high)
    a <- t2

connection forward: cells.z -> hidden.sent, dense [3 x 4] * 2^-2
connection back: hidden.a -> cells.feedback, dense [4 x 3] * 2^0, weights of forward
connection given: drive.x -> hidden.sent, one_to_one [3] * 2^-2

every iteration
  cells.fire
  hidden.hear <- forward, given
  cells.integrate <- back
after the last iteration
  cells.fire

host reads cells.z
"""


def test_small_network():
    assert listing(small_network()) == SMALL


def test_convolutions_and_pixels():
    parts = small_parts()
    drive, cells, hidden = parts["populations"]
    slide = Convolution(
        *("forward", "cells", "z", "hidden", np.ones((1, 1, 2, 1), np.int8), -2, "sent"),
        source_shape=(1, 4, 1),
        target_shape=(1, 3, 1),
    )
    back = transpose_of(slide, "back", "hidden", "a", "cells", received_as="feedback")
    text = listing(
        small_network(
            input=replace(parts["input"], size=3, image_shape=None),
            encodings=(Encoding("drive", "x"),),
            populations=(drive, cells, hidden),
            connections=(slide, back, parts["connections"][2]),
            readout=None,
        )
    )
    assert "host sets drive.x = encoded pixel\n" in text
    assert (
        "connection forward: cells.z -> hidden.sent, convolution [1 x 1 x 2 x 1] * 2^-2, "
        "stride 1, padding 0\n"
        "connection back: hidden.a -> cells.feedback, transposed_convolution [1 x 1 x 2 x 1] "
        "* 2^0, stride 1, padding 0, weights of forward\n"
    ) in text
    assert "host reads" not in text
