"""What every model family offers, so that one loop trains and one loop evaluates them all.

A model infers causes of inputs. Its *state* is what one iteration of inference hands to the next:
membrane potentials, the means and log deviations of a Gaussian, value nodes; nothing but an
encoder's output where inference is one pass. Training runs *windows* of iterations and follows the
gradient of each window's loss; evaluation *iterates* with exact samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from typing_extensions import Self

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.models.registry import model_entry
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.saved.model_file import Float32, ModelConfig, SavedModel

State = tuple[Tensor, ...]
"""What one iteration hands to the next; each tensor has the batch as its first axis."""


class Architecture(BaseModel):
    """Settings of one family alone; each family derives its own, or takes this one, which is empty.

    Frozen, JSON only, unknown names refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class WindowSettings:
    """How a window of training is run.

    Attributes
    ----------
    steps : int
        Iterations in the window, T.
    beta : float
        Weight of the KL term now (schedules may change it), for models whose inference needs it.
    temperature : float
        Of relaxed Poisson samples.
    max_arrivals : int
        Largest relaxed count.
    estimator : str
        How gradients pass Poisson samples, where a family knows several.
    noise : CounterNoise
        Source of all samples.
    """

    steps: int
    beta: float
    temperature: float
    max_arrivals: int
    estimator: str
    noise: CounterNoise


class Window(NamedTuple):
    """Loss terms of a window, and where it ended.

    The loss is ``nll + beta kl``, plus the cost of activity where a training asks for one.

    Attributes
    ----------
    nll : Tensor
        Negative log-likelihood or its like, nats per input, averaged over batch and steps, [].
    kl : Tensor
        What beta weighs: KL divergence, or a sparsity penalty; nats per input, [].
    state : tuple of Tensor
        State after the last iteration; the loop carries it over without its gradient.
    z : Tensor
        Latents of the last iteration, [B, K], as :meth:`Model.decode` takes them.
    activity : Tensor, optional
        Expected number of latents that are not zero in an iteration, differentiable, []; None
        where the family knows none.
    """

    nll: Tensor
    kl: Tensor
    state: State
    z: Tensor
    activity: Tensor | None = None


class Iteration(NamedTuple):
    """One iteration of inference, as evaluation sees it.

    Attributes
    ----------
    state : tuple of Tensor
        To hand to the next.
    z : Tensor
        Latents after the update, sampled where the family samples, [B, K].
    reconstruction : Tensor
        ``decode(z)``, [B, M], in units of the input.
    mean : Tensor
        Posterior mean of the latents (rates of Poisson counts), [B, K].
    change : Tensor
        Euclidean norm of the update of the state, [B]; zero where inference is one pass.
    """

    state: State
    z: Tensor
    reconstruction: Tensor
    mean: Tensor
    change: Tensor


class Model(nn.Module, ABC):
    """Base of every family.

    Parameters
    ----------
    config : ModelConfig
        Sizes, clamps, and the family's own ``architecture``.
    generator : torch.Generator, optional
        Source of the initial parameters.
    init_scale : float, optional
        Standard deviation of the initial decoder; the family's own if not given.

    Attributes
    ----------
    config : ModelConfig
    architecture : Architecture
        Settings of the family, checked.
    defaults : dict
        Class attribute: :class:`~pvae_neuro.training.config.TrainConfig` settings in which the
        family's recipe departs from the common ones.
    architecture_type : type
        Class attribute: the family's :class:`Architecture`.
    silence : float
        Class attribute: latents of at most this size count as zeros while training; 0.5 where
        training sees relaxed counts.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    architecture_type: ClassVar[type[Architecture]] = Architecture
    silence: ClassVar[float] = 0.0

    def __init__(
        self,
        config: ModelConfig,
        generator: torch.Generator | None = None,
        init_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.architecture: Any = check_architecture(self.architecture_type, config)

    @abstractmethod
    def start(self, x: Tensor) -> State:
        """State before the first iteration on inputs x [B, M]."""

    @abstractmethod
    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window of training iterations; gradients reach the parameters.

        Parameters
        ----------
        x : Tensor
            Inputs, [B, M].
        state : tuple of Tensor
            From :meth:`start`, or of the window before, without gradients.
        settings : WindowSettings

        Returns
        -------
        Window
        """

    @abstractmethod
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration of inference with exact samples, without training.

        Parameters
        ----------
        x : Tensor
            Inputs, [B, M]; they may change from one iteration to the next.
        state : tuple of Tensor
            From :meth:`start` or the iteration before.
        generator : torch.Generator, optional
            Source of the samples.

        Returns
        -------
        Iteration
        """

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct inputs [B, M] from latents [B, K]."""

    def learning_rate_shares(self, dictionary_rate: float) -> dict[str, float]:
        """Learning rates of parameters as shares of the others', by parameter name."""
        return {}

    def project(self) -> None:
        """Put parameters back where they must lie, after each step of the optimiser."""

    @property
    def parameter_count(self) -> int:
        """Numbers in all parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def to_saved(self, **changes: object) -> SavedModel:
        """Copy the parameters out as float32 NumPy arrays.

        Parameters
        ----------
        **changes : object
            Fields of the configuration to replace, for instance ``training`` (provenance).

        Returns
        -------
        SavedModel
            Independent of this module: later training does not change it.
        """
        values = {**self.config.model_dump(), **changes}
        arrays = {name: _to_numpy(value) for name, value in self.named_parameters()}
        return SavedModel(ModelConfig.model_validate(values), arrays)

    @classmethod
    def from_saved(cls, saved: SavedModel) -> Self:
        """Build the module that a saved model describes, in float32, on the CPU.

        Parameters
        ----------
        saved : SavedModel
            From :func:`~pvae_neuro.saved.model_file.load_model` or an importer.

        Returns
        -------
        Model

        Raises
        ------
        ModelFileError
            If its arrays do not fit its configuration.
        """
        model = cls(saved.config)
        load_arrays(model, saved.arrays, f"model of the family {saved.config.family!r}")
        return model


def load_arrays(model: Model, arrays: dict[str, Float32], where: str) -> None:
    """Copy arrays into the parameters of the same names.

    Parameters
    ----------
    model : Model
        Receives them.
    arrays : dict of str to ndarray of float32
        One for each parameter, of its shape.
    where : str
        Begins the message of an error.

    Raises
    ------
    ModelFileError
        If names or shapes differ.
    """
    expected = {name: tuple(value.shape) for name, value in model.named_parameters()}
    got = {name: array.shape for name, array in arrays.items()}
    if expected != got:
        differing = sorted({name for name, _ in expected.items() ^ got.items()})
        raise ModelFileError(
            f"{where}: its arrays do not fit its configuration, they differ in {differing}: "
            f"expected {[expected.get(name) for name in differing]}, got "
            f"{[got.get(name) for name in differing]}; save the model again"
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def check_architecture(kind: type[Architecture], config: ModelConfig) -> Architecture:
    """Settings of a family out of a configuration.

    Raises
    ------
    InputError
        If the family has no such setting, or a value is not allowed.
    """
    preset = model_entry(config.family).architecture
    for name, value in preset.items():
        if config.architecture.get(name, value) != value:
            raise InputError(
                f"architecture of {config.family!r}: expected {name} {value!r}, which the family's "
                f"name stands for, got {config.architecture[name]!r}; take another family"
            )
    try:
        return kind.model_validate({**preset, **config.architecture})
    except ValidationError as error:
        known = ", ".join(sorted(kind.model_fields)) or "none"
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'architecture'}: {item['msg']}"
            for item in error.errors()
        )
        raise InputError(
            f"architecture of {config.family!r}: {problems}; its settings are: {known}"
        ) from error


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Let torch's own layers draw their initial weights from a generator.

    Parameters
    ----------
    generator : torch.Generator, optional
        Advanced by one draw; without it the layers draw from torch's global one.

    Yields
    ------
    None
    """
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _to_numpy(parameter: Tensor) -> Float32:
    return np.array(parameter.detach().cpu().numpy(), dtype=np.float32)
