"""A classifier as a chain of nodes: pixels predict hidden nodes, the last of which predict labels.

Gaussian nodes hand on tanh of what they hold; nodes of other families their means. With a
categorical node in the chain, standard predictive coding fails where backpropagation and the
energies of the families' own do not (Pinchetti et al. 2022, arXiv:2211.03481, section 4).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError
from pvae_neuro.models.base import linear_layers
from pvae_neuro.models.generalized.families import Categorical, find_family
from pvae_neuro.models.generalized.family import Family
from pvae_neuro.models.generalized.model import NodeModel, Pass
from pvae_neuro.models.generalized.nodes import ALL, SQUARED, Nodes, NodeSettings
from pvae_neuro.saved.model_file import Size

LABEL = "label"
"""Name of the observed output, for ``families``."""


class ClassifierArchitecture(NodeSettings):
    """Settings of the classifier, beside those of its nodes.

    Attributes
    ----------
    layers : tuple of str
        Families of the hidden nodes, from the pixels on; node n is named ``n``, from 1.
    hidden : tuple of int
        Units of all hidden nodes but the last, which has the model's latents.
    groups : int
        Groups of each categorical node.
    classes : int
    """

    array_settings = ("layers", "groups")

    step_size: float = Field(default=0.3, gt=0.0)
    layers: tuple[str, ...] = Field(default=("gaussian", "categorical", "gaussian"), min_length=1)
    hidden: tuple[Size, ...] = (128, 128)
    groups: Size = 1
    classes: Size = 10

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.hidden) != len(self.layers) - 1:
            raise ValueError(
                f"hidden: expected one width for each of {len(self.layers)} layers but the last, "
                f"{len(self.layers) - 1} in all, got {len(self.hidden)}"
            )
        return self


class NodeClassifier(NodeModel):
    """Classifier of a chain of nodes; the latents are what the last hidden node hands on.

    Attributes
    ----------
    layers : ModuleList
        Linear layers with biases, from the pixels on; their initial weights are torch's default,
        or have the standard deviation ``init_scale``.
    """

    architecture_type = ClassifierArchitecture
    observed = LABEL
    observed_family = "categorical"
    defaults: ClassVar[dict[str, Any]] = {
        "latents": 128, "steps": 12, "beta": 1.0, "learning_rate": 3e-3, "weight_decay": 0.0,
    }  # fmt: skip

    def build(self, generator: torch.Generator | None, init_scale: float | None) -> None:
        """Create the layers, from the pixels on."""
        super().build(generator, init_scale)
        own: ClassifierArchitecture = self.architecture
        sizes = [self.config.pixels, *own.hidden, self.config.latents]
        self._families = [
            self._family(*named) for named in zip(self.node_names, own.layers, strict=True)
        ]
        for family, size in zip(self._families, sizes[1:], strict=True):
            family.mean(torch.empty(1, family.parts * size))
        wide = [f.parts * n for f, n in zip(self._families, sizes[1:], strict=True)]
        shapes = [*zip(sizes, wide, strict=False), (sizes[-1], own.classes)]
        self.layers = linear_layers(shapes, generator, init_scale)

    def _family(self, node: str, layer: str) -> Family:
        """The layer's, or that which the settings put in its place; squared nodes keep theirs."""
        own: ClassifierArchitecture = self.architecture
        found = own.families.get(node, own.families.get(ALL, layer))
        return find_family(layer if found == SQUARED else found).grouped(own.groups)

    @property
    def node_names(self) -> tuple[str, ...]:
        """``1``, ``2`` and so on."""
        return tuple(str(number) for number in range(1, len(self.architecture.layers) + 1))

    def before_nodes(self, x: Tensor) -> Tensor:
        """What the pixels predict of the first node."""
        found: Tensor = self.layers[0](x)
        return found

    def forward_pass(
        self, nodes: Nodes, x: Tensor, given: Tensor, target: Tensor | None, beta: float
    ) -> Pass:
        """Predict labels; see :meth:`NodeModel.forward_pass`. The target is labels, [B]."""
        predicted, z = given, given
        for name, family, layer in zip(
            self.node_names, self._families, self.layers[1:], strict=True
        ):
            z = nodes.node(name, family, predicted)
            z = torch.tanh(z) if family.unbounded else z
            predicted = layer(z)
        if target is None:
            return Pass(z.new_zeros(len(z)), z)
        wanted = functional.one_hot(target, self.architecture.classes).to(z.dtype)
        return Pass(nodes.observe(LABEL, Categorical(), predicted, wanted), z)

    def decode(self, z: Tensor) -> Tensor:
        """Probabilities of the labels [B, classes] from latents [B, K]."""
        found: Tensor = self.layers[-1](z).softmax(1)
        return found

    def targets(self, images: Images) -> Tensor:
        """Labels, int64 [N].

        Raises
        ------
        InputError
            If there are none, or one is no class.
        """
        classes, labels = self.architecture.classes, images.labels
        if labels is None:
            raise InputError(
                f"{images.name}: expected a label for each image, as {self.config.family!r} "
                f"learns to predict them, got none; give images with labels"
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise InputError(
                f"{images.name}: expected labels from 0 to {classes - 1}, got {labels.min()} to "
                f"{labels.max()}; set the architecture's classes"
            )
        return torch.from_numpy(labels)

    def squared_error(self, x: Tensor, z: Tensor, target: Tensor | None) -> Tensor:
        """Squared error of the probabilities of labels, summed over classes, [B]."""
        found = self.decode(z)
        if target is None:
            return torch.full_like(found[:, 0], torch.nan)
        wanted = functional.one_hot(target, self.architecture.classes)
        return (found - wanted).square().sum(1)

    @torch.no_grad()
    def scores(self, x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """``correct`` and ``nll``; nodes are what is predicted."""
        _, found = self.settled(x, (), None)
        logits = self.layers[-1](found.z)
        if target is None:
            raise InputError(f"{self.config.family!r}: expected labels, got none")
        nll = functional.cross_entropy(logits, target, reduction="none")
        return {"correct": (logits.argmax(1) == target).to(x.dtype), "nll": nll}
