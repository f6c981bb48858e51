"""Base of the models with an encoder: their two networks, and inference in one pass."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from pvae_neuro.models.base import Architecture, Iteration, Model, State
from pvae_neuro.models.networks.decoders import build_decoder
from pvae_neuro.models.networks.encoders import build_encoder
from pvae_neuro.models.networks.residual import PUBLISHED_WIDTH
from pvae_neuro.saved.model_file import Size

NetworkKind = str
"""A kind of :data:`~pvae_neuro.models.networks.encoders.ENCODERS` or of
:data:`~pvae_neuro.models.networks.decoders.DECODERS`."""

PUBLISHED_RECIPE: dict[str, Any] = {
    "steps": 1, "beta": 1.0, "beta_start": 1e-4, "hold": 0.01, "beta_anneal": 0.5,
    "batch_size": 100, "learning_rate": 2e-3, "warm_up": 0.0125, "weight_decay": 3e-4,
    "gradient_clip": 1000.0, "init_scale": 1.0,
}  # fmt: skip
"""Training of both VAEs on MNIST in the released code of arXiv 2405.14473, but for its epochs: 400,
and its bound of the gradient, which there is that of a loss 784 / 256 times as large."""


class AmortizedArchitecture(Architecture):
    """Settings of encoder and decoder.

    Attributes
    ----------
    encoder, decoder : str
        Kinds of network: ``linear``, ``mlp``, ``conv`` or ``residual``. Linear ones have no bias.
    hidden, channels : tuple of int
        Widths of an MLP encoder's hidden layers; feature maps of a convolutional encoder, from the
        image on.
    decoder_hidden, decoder_channels : tuple of int
        The same for the decoder, from the latents on.
    width : int
        Feature maps of the first convolution of a residual encoder; the smallest maps of the
        decoder have eight times as many.
    """

    encoder: NetworkKind = "linear"
    decoder: NetworkKind = "linear"
    hidden: tuple[Size, ...] = Field(default=(512,), min_length=1)
    channels: tuple[Size, ...] = Field(default=(32, 64), min_length=1)
    decoder_hidden: tuple[Size, ...] = Field(default=(512,), min_length=1)
    decoder_channels: tuple[Size, ...] = Field(default=(64, 32), min_length=1)
    width: Size = PUBLISHED_WIDTH


class EncoderDecoder(Model):
    """Base of models with an encoder.

    The observation noise has variance one half, so that the squared error is a negative
    log-likelihood, as in the P-VAE's published figures: "negative ELBO" there is
    ``|x - decode(z)|² + KL``.

    Attributes
    ----------
    encoder : Module
        Inputs [B, M] to posterior parameters.
    decoder : Module
        Latents [B, K] to inputs [B, M].
    outputs_per_latent, inputs_per_latent : int
        Class attributes: how many numbers the encoder returns per latent, and how many it takes per
        latent in addition to the pixels.
    """

    architecture_type: ClassVar[type[Architecture]] = AmortizedArchitecture
    outputs_per_latent: ClassVar[int] = 2
    inputs_per_latent: ClassVar[int] = 0

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create encoder and decoder."""
        config, settings = self.config, self.architecture
        pixels, latents = config.pixels, config.latents
        self.encoder = build_encoder(
            settings.encoder, pixels + self.inputs_per_latent * latents,
            self.outputs_per_latent * latents, config.image_shape, settings.hidden,
            settings.channels, generator, settings.width,
        )  # fmt: skip
        self.decoder = build_decoder(
            settings.decoder, latents, pixels, config.image_shape, settings.decoder_hidden,
            settings.decoder_channels, generator, init_scale, settings.width,
        )  # fmt: skip

    def decode(self, z: Tensor) -> Tensor:
        """Reconstruct inputs [B, M] from latents [B, K]."""
        reconstruction: Tensor = self.decoder(z)
        return reconstruction

    @property
    def observation_variance(self) -> Tensor:
        """One half for every pixel, [M]."""
        return torch.full((self.config.pixels,), 0.5)

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        """Negative log-likelihood ``|x - decode(z)|²`` without its constant, in nats, [B]."""
        return (x - self.decode(z)).square().sum(1)


class AmortizedModel(EncoderDecoder):
    """Base of models that infer in one pass; each iteration starts anew."""

    one_pass = True

    @abstractmethod
    def posterior(self, x: Tensor) -> tuple[Tensor, ...]:
        """Parameters of the posterior, each [B, K]."""

    @abstractmethod
    def sample(
        self, posterior: tuple[Tensor, ...], generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """An exact sample of the latents, and their mean, each [B, K]."""

    @abstractmethod
    def prior(self, count: int) -> tuple[Tensor, ...]:
        """Parameters of the prior, as :meth:`posterior` gives them, each [count, K]."""

    @torch.no_grad()
    def generate(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Images drawn of the prior, [count, M]."""
        return self.decode(self.sample(self.prior(count), generator)[0])

    def start(self, x: Tensor) -> State:
        """The empty state: the encoder needs none."""
        return ()

    def repeat(
        self, x: Tensor, state: State, count: int, generator: torch.Generator | None
    ) -> State:
        """The empty state: nothing is carried from one iteration to the next."""
        return state

    @torch.no_grad()
    def iterate(self, x: Tensor, state: State, generator: torch.Generator | None) -> Iteration:
        """Encode and sample; see :meth:`Model.iterate`."""
        z, mean = self.sample(self.posterior(x), generator)
        return Iteration((), z, self.decode(z), mean, x.new_zeros(len(x)))
