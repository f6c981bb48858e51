"""The interface of a model family: what the training loop and the inference loop call.

A model infers latent causes of an input, iteration by iteration. Its *state* is what one iteration
hands to the next: membrane potentials, the mean and log standard deviation of a Gaussian, or value
nodes; it is empty where an encoder infers in one pass. Training runs *windows* of iterations and
follows the gradient of each window's loss. Evaluation runs single iterations with exact samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from typing_extensions import Self

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.saved.model_file import Float32, ModelConfig, SavedModel
from pvae_neuro.utils.settings import Settings, problems_of

if TYPE_CHECKING:
    from pvae_neuro.data.images import Images

State = tuple[Tensor, ...]
"""What one iteration hands to the next; the first axis of each tensor is the batch."""


class Architecture(Settings):
    """Settings that only one family has. A family without any uses this empty class.

    Attributes
    ----------
    array_settings : tuple of str
        Class attribute: settings that say what arrays of equal shapes stand for. A training starts
        from a model that has the same.
    """

    array_settings: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class WindowSettings:
    """How a window of training is run.

    Attributes
    ----------
    steps : int
        Iterations in the window, T.
    beta : float
        Current weight of the KL term, for models whose inference depends on it.
    temperature : float
        Of relaxed Poisson counts.
    max_arrivals : int
        Largest relaxed count.
    estimator : {"relaxed", "exact"}
        How gradients pass Poisson counts.
    noise : CounterNoise
        Source of all samples.
    clamp_start : float, optional
        Upper bounds from which those of the model grow; by default they are those of the model.
    clamp_growth : float
        How far they have grown, from 0 to 1.
    target : Tensor, optional
        What the model is to predict of each input, as :meth:`Model.targets` returns it; a part of
        the batch has a part of it.
    """

    steps: int
    beta: float
    temperature: float
    max_arrivals: int
    estimator: str
    noise: CounterNoise
    clamp_start: float | None = None
    clamp_growth: float = 1.0
    target: Tensor | None = None

    def bound(self, final: float) -> float:
        """The upper bound in this window of what the model clamps at ``final``."""
        if self.clamp_start is None or self.clamp_growth >= 1.0:
            return final
        return self.clamp_start + self.clamp_growth * (final - self.clamp_start)


class Window(NamedTuple):
    """Loss terms of a window and its last state; the training loss is ``nll + beta kl``.

    Attributes
    ----------
    nll : Tensor
        Negative log-likelihood (or the family's reconstruction energy), nats per input, averaged
        over batch and iterations, [].
    kl : Tensor
        What beta weighs, a KL divergence or a sparsity penalty, nats per input, [].
    state : tuple of Tensor
        State after the last iteration. The training loop carries it over without its gradient.
    z : Tensor
        Latents of the last iteration, [B, K], as :meth:`Model.decode` takes them.
    activity : Tensor, optional
        Expected number of nonzero latents per iteration, differentiable, []; None where the family
        does not compute it.
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
        For the next iteration.
    z : Tensor
        Latents after the update, sampled where the family samples, [B, K].
    reconstruction : Tensor
        ``decode(z)``, [B, M], in units of the input.
    mean : Tensor
        Posterior mean of the latents (the rates of Poisson counts), [B, K].
    change : Tensor
        Euclidean norm of the update of the state, [B]; zero where inference is one pass.
    """

    state: State
    z: Tensor
    reconstruction: Tensor
    mean: Tensor
    change: Tensor


class Model(nn.Module, ABC):
    """Base of every family. A family creates its parameters in :meth:`build`.

    Parameters
    ----------
    config : ModelConfig
        Sizes, clamps, and the family's own settings in ``architecture``.
    generator : torch.Generator, optional
        Source of the initial parameters.
    init_scale : float, optional
        Standard deviation of the initial decoder weights; by default the family's own.
    preset : mapping, optional
        Settings of the architecture that the family's name fixes, as the registry lists them.

    Attributes
    ----------
    config : ModelConfig
    architecture : Architecture
        The family's settings, checked.
    defaults : dict
        Class attribute: settings of :class:`~pvae_neuro.training.config.TrainConfig` in which the
        family's recipe differs from the common one.
    unread : tuple of str
        Class attribute: settings of a training that mean something elsewhere, but not in this
        family; other values than its recipe's are refused.
    architecture_type : type
        Class attribute: the family's :class:`Architecture`.
    zero_threshold : float
        Class attribute: training counts latents up to this magnitude as zeros. It is 0.5 where
        training sees relaxed counts.
    law : str
        Class attribute: distribution of the latents, ``Poisson`` or ``Gaussian``; empty where the
        family infers values.
    one_pass : bool
        Class attribute: whether an encoder infers in one pass, so that more iterations only sample
        again.
    active_threshold : float
        Class attribute: a latent is active if its KL divergence, averaged over the data, is at
        least so many nats.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    unread: ClassVar[tuple[str, ...]] = ()
    architecture_type: ClassVar[type[Architecture]] = Architecture
    zero_threshold: ClassVar[float] = 0.0
    law: ClassVar[str] = ""
    one_pass: ClassVar[bool] = False
    active_threshold: ClassVar[float] = 0.01

    def __init__(
        self,
        config: ModelConfig,
        generator: torch.Generator | None = None,
        init_scale: float | None = None,
        preset: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.architecture: Any = check_architecture(self.architecture_type, config, preset or {})
        self.build(generator, init_scale)

    @abstractmethod
    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the parameters; called once, by the constructor.

        The order of creation is that of the arrays in saved files and of the draws from the
        generator, so it must not change.
        """

    @abstractmethod
    def start(self, x: Tensor) -> State:
        """State before the first iteration on inputs x [B, M]."""

    @abstractmethod
    def window(self, x: Tensor, state: State, settings: WindowSettings) -> Window:
        """Run a window of training iterations on inputs x [B, M]; gradients reach the parameters.

        ``state`` comes from :meth:`start`, or from the window before, detached.
        """

    @abstractmethod
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Run one iteration of inference with exact samples, without gradients.

        The inputs x [B, M] may change from one iteration to the next.
        """

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct inputs [B, M] from latents [B, K]."""

    @classmethod
    def settings_of(cls, images: Images) -> dict[str, Any]:
        """Settings of the architecture that follow from the training data, unless they are given.

        Raises
        ------
        InputError
            If the data do not fit the family.
        """
        return {}

    def targets(self, images: Images) -> Tensor | None:
        """What the model is to predict of each input, [N, ...]; None if the inputs are all.

        Raises
        ------
        InputError
            If the images lack it, or it does not fit the model.
        """
        return None

    def squared_error(self, x: Tensor, z: Tensor, target: Tensor | None) -> Tensor:
        """Squared error of the outputs of latents z [B, K], summed over outputs, [B]."""
        return (x - self.decode(z)).square().sum(1)

    def scores(self, x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """How well the model does its task on inputs x [B, M]: figures by name, [B] each.

        See :mod:`pvae_neuro.evaluation.tasks`.

        Raises
        ------
        InputError
            If the task of the family is to reconstruct.
        """
        raise InputError(
            f"scores: the family {self.config.family!r} reconstructs; evaluate it by its squared "
            f"error"
        )

    def code(self, x: Tensor, iteration: Iteration) -> Tensor:
        """What classifiers read of inputs x [B, M] after an iteration, never a sample: [B, K].

        By default posterior means, of Poisson neurons the rates exp(u), as in the authors' iP-VAE
        code (``analysis/linear.py``, ``_u2z``).
        """
        return iteration.mean

    def divergence(self, x: Tensor, before: State, after: State) -> Tensor | None:
        """KL divergence of the posterior from its prior, nats per latent, [B, K].

        The prior is the posterior of the iteration before, or that of the model where inference is
        one pass; ``before`` and ``after`` are the states around an iteration on inputs x [B, M].
        None, as by default, where the family infers values instead of a distribution.
        """
        return None

    @property
    def observation_variance(self) -> Tensor:
        """Variance of each pixel about the reconstruction, [M]; by default 1, as of ``½|e|²``."""
        return torch.ones(self.config.pixels)

    @torch.no_grad()
    def repeat(
        self, x: Tensor, state: State, count: int, generator: torch.Generator | None
    ) -> State:
        """State after so many iterations of inference on inputs x [B, M], of which nothing is seen.

        By default :meth:`iterate`, again and again; a family may draw other words where it is
        faster.
        """
        for _ in range(count):
            state = self.iterate(x, state, generator).state
        return state

    def is_compiled(self, estimator: str) -> bool:
        """Whether windows run on compiled kernels, which use one thread."""
        return False

    def learning_rate_shares(self, dictionary_rate: float) -> dict[str, float]:
        """Learning rates relative to the common one, by parameter name; 1 for names left out."""
        return {}

    def project(self) -> None:
        """Project parameters onto their constraints, after each step of the optimiser."""

    def __repr__(self) -> str:
        c = self.config
        return (
            f"<{type(self).__name__} {c.family}: {c.pixels} pixels, {c.latents} latents, "
            f"{self.parameter_count} parameters>"
        )

    @property
    def parameter_count(self) -> int:
        """Number of scalars in all parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def to_saved(self, **changes: object) -> SavedModel:
        """Copy the parameters out as float32 NumPy arrays.

        ``changes`` replace fields of the configuration, such as ``training`` (provenance).
        """
        values = {**self.config.model_dump(), **changes}
        arrays = {name: _to_numpy(value) for name, value in self.named_parameters()}
        return SavedModel(ModelConfig.model_validate(values), arrays)

    @classmethod
    def from_saved(cls, saved: SavedModel, preset: Mapping[str, Any] | None = None) -> Self:
        """Build the module of a saved model of this family, in float32, on the CPU.

        Raises
        ------
        ModelFileError
            If its arrays do not fit its configuration.
        """
        where = f"model of the family {saved.config.family!r}"
        # First without memory: the configuration may demand more than there is.
        with torch.device("meta"):
            cls(saved.config, preset=preset).check_arrays(saved.arrays, where)
        model = cls(saved.config, preset=preset)
        model.load_arrays(saved.arrays, where)
        return model

    def check_arrays(self, arrays: Mapping[str, Float32], where: str) -> None:
        """Refuse arrays whose names or shapes are not those of the parameters.

        Raises
        ------
        ModelFileError
            If they differ; the message begins with ``where``.
        """
        expected = {name: tuple(value.shape) for name, value in self.named_parameters()}
        got = {name: array.shape for name, array in arrays.items()}
        if expected != got:
            differing = sorted({name for name, _ in expected.items() ^ got.items()})
            raise ModelFileError(
                f"{where}: its arrays do not fit its configuration, they differ in {differing}: "
                f"expected {[expected.get(name) for name in differing]}, got "
                f"{[got.get(name) for name in differing]}; save the model again"
            )

    def load_arrays(self, arrays: Mapping[str, Float32], where: str) -> None:
        """Copy arrays into the parameters of the same names.

        Raises
        ------
        ModelFileError
            If names or shapes differ; the message begins with ``where``.
        """
        self.check_arrays(arrays, where)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.from_numpy(np.array(arrays[name])))


def check_architecture(
    kind: type[Architecture], config: ModelConfig, preset: Mapping[str, Any]
) -> Architecture:
    """Validate ``config.architecture`` together with the settings that the family's name fixes.

    Raises
    ------
    InputError
        If the family has no such setting, a value is not allowed, or it contradicts the preset.
    """
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
        raise InputError(
            f"architecture of {config.family!r}: {problems_of(error)}; its settings are: {known}"
        ) from error


def linear_layers(
    shapes: Iterable[tuple[int, int]], generator: torch.Generator | None, init_scale: float | None
) -> nn.ModuleList:
    """Linear layers with biases; torch's own weights, or of the standard deviation ``init_scale``.

    Each shape is inputs, outputs.
    """
    with seeded(generator):
        layers = [nn.Linear(*shape) for shape in shapes]
        if init_scale is not None:
            for layer in layers:
                nn.init.normal_(layer.weight, std=init_scale)
    return nn.ModuleList(layers)


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Let torch's own layers draw their initial weights from a generator.

    The generator advances by one draw. Without one, the layers draw from torch's global generator.
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
