"""Chains of nodes of exponential families, predicting one another and the pixels.

An iteration draws all nodes, from the last one down; pixels and nodes compare; then all move at
once, each on the errors of the node below and on what is predicted of it. The rules are in
``neurons/node.py`` and beside it; ``docs/generalized_integers.md`` derives them.
"""

from __future__ import annotations

import numpy as np
from pydantic import ValidationError

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.chain.kinds import NODES
from pvae_neuro.exporters.lowerings.chain.pixels import PIXELS
from pvae_neuro.exporters.lowerings.chain.rounding import integer_chain
from pvae_neuro.exporters.lowerings.chain.saved import (
    SavedChain,
    settings_of,
    sizes_of,
    without_neurons,
)
from pvae_neuro.exporters.lowerings.chain.structure import (
    ERRORS,
    INFERRED,
    Map,
    Part,
    Sums,
    constants_of,
    structure,
)
from pvae_neuro.exporters.lowerings.linear import input_of
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import FloatCircuit, IntegerNetwork, Readout
from pvae_neuro.saved.model_file import SavedModel, check_shapes
from pvae_neuro.utils.settings import problems_of

_INFINITE = float("inf")


class Chain(Lowering):
    """Nodes that predict one another and the pixels, and compare."""

    name = "predictive"
    families = ("gpc-chain",)

    def obstacle(self, model: SavedModel) -> str | None:
        """Settings that the family does not take, families without neurons, a division."""
        try:
            settings = settings_of(model)
        except ValidationError as error:
            return f"architecture: {problems_of(error)}"
        return without_neurons(model, settings) or super().obstacle(model)

    def check(self, model: SavedModel) -> None:
        """See :meth:`Lowering.check`; shapes are checked too."""
        super().check(model)
        settings = settings_of(model)
        sizes = sizes_of(model, settings)
        shapes: dict[str, tuple[int, ...]] = {}
        for n, (above, below) in enumerate(zip(sizes, (model.config.pixels, *sizes), strict=False)):
            shapes |= {f"maps.{n}.weight": (below, above), f"maps.{n}.bias": (below,)}
        shapes |= {"prior": (sizes[-1],), **PIXELS[settings.pixels].shapes()}
        check_shapes(model.arrays, shapes, f"circuit {self.name!r}")

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """Errors of the pixels, and graded spikes of nodes that do not spike."""
        families = settings_of(model).families
        found = [NODES[f].hops(f"node{n}") for n, f in enumerate(families, 1)]
        # Nothing is told of the last node's error.
        sent = [hop for hops in found for hop in hops if hop != f"node{len(families)}.e"]
        return (f"{ERRORS}.m", *sent)

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        chain = SavedChain.of(model)
        pixels = chain.pixels
        errors = {
            "bias": chain.biases[0], "gain": pixels.gain(model.arrays), "gain_shift": 0.0,
            "low": -_INFINITE, "high": _INFINITE,
        }  # fmt: skip
        return FloatCircuit(
            name=self.name,
            input=input_of(model),
            readout=Readout(ERRORS, "y"),
            inferred=INFERRED,
            dtype=dtype,
            **structure(
                [_real_part(chain, n) for n in range(len(chain.kinds))],
                [Map(weight) for weight in chain.weights],
                model.config.pixels,
                pixels.compare,
                (*constants_of(errors), *pixels.real()),
            ),
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; calibration fixes the units of graded spikes."""
        self.check(model)
        return integer_chain(self.name, SavedChain.of(model), scales, calibration)


def _real_part(chain: SavedChain, n: int) -> Part:
    settings, kind, config = chain.settings, chain.kinds[n], chain.model.config
    low, high = float(config.floor_u), float(config.clamp_u)
    bias = chain.biases[n + 1]
    start = np.clip(bias, low, high)
    above = {"bias": bias, "t_min": low, "t_max": high, "t_shift": 0.0}
    constants = {
        "u_min": low, "u_max": high, "du_min": -settings.bound, "du_max": settings.bound,
        "push": settings.step_size * (settings.trust if n else 1.0), "push_shift": 0.0,
        "pull": settings.step_size * settings.trust, "pull_shift": 0.0,
        "least": -_INFINITE, "most": _INFINITE,
        **chain.costs(n),
        **(above if chain.is_predicted(n) else {"t": start}),
    }  # fmt: skip
    sums = None
    if kind.grouped:
        ends = chain.log_sum_ends(n)
        rate = {"rate": settings.normalizer or 0.0, "rate_shift": 0.0}
        sums = Sums(
            chain.log_sums(start), constants_of({**rate, "c_min": ends[0], "c_max": ends[1]})
        )
    return Part(
        f"node{n + 1}", start, (*constants_of(constants), *kind.real()),
        kind.real_sampler(chain.stream(n)), chain.fire(n), chain.settle(n), chain.is_predicted(n),
        sums,
    )  # fmt: skip
