"""Recurrent cells of snnTorch and Norse, for the cost of a dense recurrent step in them.

Both run in eager mode without gradients. The dense product of a float step costs the same whatever
fires, so these cells are left to their own dynamics.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from importlib import import_module
from importlib.util import find_spec

from pvae_neuro.bench.cases import Case
from pvae_neuro.bench.contenders import Contender
from pvae_neuro.bench.timing import Entry
from pvae_neuro.errors import MissingDependencyError

LEAK = 0.9


def require(*modules: str) -> None:
    """Raise :class:`MissingDependencyError` unless all modules are installed."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingDependencyError(f"{module} is not installed; pip install {module}")


def snntorch_step(case: Case, stack: ExitStack) -> Entry:
    """``snntorch.RLeaky`` with a dense recurrent product."""
    torch, snntorch = import_module("torch"), import_module("snntorch")
    size, batch = case.network.latents.size, len(case.images)
    torch.manual_seed(case.seed)
    torch.set_num_threads(case.threads)
    cell = snntorch.RLeaky(beta=LEAK, linear_features=size, all_to_all=True)
    current = torch.rand(batch, size)

    @torch.no_grad()
    def run(steps: int) -> None:
        spikes, membrane = torch.zeros(batch, size), torch.zeros(batch, size)
        for _ in range(steps):
            spikes, membrane = cell(current, spikes, membrane)

    return Entry("snntorch", batch, run)


def norse_step(case: Case, stack: ExitStack) -> Entry:
    """``norse.torch.LIFRecurrentCell`` with one input feature: the recurrent product alone."""
    torch, norse = import_module("torch"), import_module("norse.torch")
    size, batch = case.network.latents.size, len(case.images)
    torch.manual_seed(case.seed)
    torch.set_num_threads(case.threads)
    cell = norse.LIFRecurrentCell(1, size)
    current = torch.rand(batch, 1)

    @torch.no_grad()
    def run(steps: int) -> None:
        state = None
        for _ in range(steps):
            _, state = cell(current, state)

    return Entry("norse", batch, run)


CONTENDERS = {
    "snntorch": Contender(
        "snnTorch RLeaky, all-to-all, of the same size without gradients; its own activity",
        partial(require, "torch", "snntorch"), snntorch_step,
    ),
    "norse": Contender(
        "Norse LIFRecurrentCell of the same size and one input without gradients; its own activity",
        partial(require, "torch", "norse"), norse_step,
    ),
}  # fmt: skip
