"""PyTorch models under the random words of a circuit."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from unittest import mock

import numpy as np

from pvae_neuro.network.float_circuit import poisson_counts
from pvae_neuro.network.sampler import WORDS
from pvae_neuro.saved.model_file import SavedModel


def pytorch_states(
    model: SavedModel,
    images: np.ndarray,
    words: Mapping[str, np.ndarray],
    populations: Sequence[str] = ("latents",),
    steps: int = 32,
) -> Iterator:
    """Yield what ``Model.iterate`` computes in float64, iteration by iteration.

    Every call of ``sample_counts`` inverts the circuit's words instead: call number k, counted from
    the first iteration on, draws for ``populations[k % n]`` at step ``k // n``. Nodes that ask for
    uniform numbers by name get their population's words, call by call.

    Parameters
    ----------
    model : SavedModel
    images : float [B, M]
    words : dict of str to uint16 [B, T + 1, K]
    populations : sequence of str
        In the order in which an iteration draws.
    steps : int
        How many iterations.

    Yields
    ------
    Iteration
        Tensors in float64.
    """
    import torch

    from pvae_neuro.models.registry import model_from_saved

    module = model_from_saved(model).double()
    x = torch.tensor(np.asarray(images, np.float64))
    calls = count()

    def draw(u, *_args, **_kwargs):
        step, place = divmod(next(calls), len(populations))
        word = words[populations[place]][:, step]
        assert u.dtype == torch.float64 and u.shape == word.shape
        return torch.tensor(poisson_counts(u.detach().numpy(), word))

    asked: dict[str, count[int]] = {}

    def named_numbers(_generator):
        def noise(name, like):
            step = next(asked.setdefault(name, count()))
            # A node that draws nothing asks too.
            word = words[name][:, step] if name in words else np.zeros(like.shape)
            return torch.tensor((word + 0.5) / WORDS)

        return noise

    replaced = {"sample_counts": draw, "generator_noise": named_numbers}
    state = module.start(x)
    for _ in range(steps):
        # A generator that waits must not leave the patch to others.
        with ExitStack() as patched:
            for name, ours in replaced.items():
                for holder in _holders(name):
                    patched.enter_context(mock.patch.object(holder, name, ours))
            iteration = module.iterate(x, state, None)
        state = iteration.state
        yield iteration


def _holders(name: str) -> list:
    """Modules of the package that hold a source of samples under its name."""
    from pvae_neuro.models.generalized.nodes import generator_noise
    from pvae_neuro.models.sampling.relaxed_poisson import sample_counts

    source = {"sample_counts": sample_counts, "generator_noise": generator_noise}[name]
    named = [m for n, m in sys.modules.items() if n.startswith("pvae_neuro.models")]
    return [m for m in named if vars(m).get(name) is source]
