"""The last step, from what an engine gives to what the checkpoint's own library says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.activations import ACTIVATIONS, PROBABILITIES, activate
from xopt.errors import ArtifactError

__all__ = ["READS_PLACES", "Head"]

Array = NDArray[np.float32]
# Kinds of heads whose texts are read in words, or with the place of each token.
READS_PLACES = ("tag", "span")
# torch.nn.functional.normalize divides by no less.
EPSILON = 1e-12


@dataclass(frozen=True)
class Head:
    """The head of a bundle, as far as its last step needs it.

    Attributes:
        kind: ``classify``, ``tag``, ``span`` or ``embed``.
        labels: names of the columns of a classifier's or tagger's logits.
        activation: which of :data:`~xopt.activations.ACTIVATIONS` makes answers of logits.
        normalize: whether embeddings get length 1.
        sparse: the special tokens, where every other token gets a weight beside the embedding;
            None for no such weights.
    """

    kind: str
    labels: tuple[str, ...] = ()
    activation: str = "softmax"
    normalize: bool = False
    sparse: tuple[int, ...] | None = None

    @classmethod
    def read(cls, facts: Mapping[str, Any], width: int | None = None) -> Head:
        """From ``head`` of a bundle's manifest.

        Args:
            facts: it.
            width: how many numbers the engine gives, where that is known.

        Raises:
            ArtifactError: an activation that this xopt does not know, or a label too many or too
                few.
        """
        labels = tuple(str(label) for label in facts.get("labels") or ())
        named = bool(labels) or facts["kind"] in ("classify", "tag")
        if width is not None and named and len(labels) != width:
            raise ArtifactError(
                f"The bundle's head names {len(labels)} labels, and its engine gives {width} "
                "numbers: they do not belong together.",
                hint="Copy the bundle again, or build it again: xopt build CHECKPOINT",
            )
        # A bundle from before the key: transformers squashes a single logit.
        alone = facts["kind"] == "classify" and len(labels) == 1
        activation = str(facts.get("activation") or ("sigmoid" if alone else "softmax"))
        if activation not in ACTIVATIONS:
            raise ArtifactError(
                f"The bundle's head has the activation {activation!r}.",
                hint=f"This xopt knows {', '.join(ACTIVATIONS)}; build it again with this version.",
            )
        found = facts.get("sparse")
        sparse = None if found is None else tuple(int(number) for number in found)
        normalize = bool(facts.get("normalize", False))
        return cls(str(facts["kind"]), labels, activation, normalize, sparse)

    @property
    def says(self) -> str:
        """What its values are: ``probability`` or ``score``."""
        return "probability" if self.activation in PROBABILITIES else "score"

    def finish(self, logits: Array) -> Array:
        """Logits ``[..., labels]`` as probabilities or scores, float32."""
        return activate(self.activation, logits)

    def finish_embeddings(self, rows: Array, normalize: bool | None = None) -> Array:
        """Embeddings ``[..., width]``, of length 1 if the checkpoint (or ``normalize``) says so."""
        if not (self.normalize if normalize is None else normalize):
            return rows
        lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
        unit: Array = (rows / np.maximum(lengths, EPSILON)).astype(np.float32)
        return unit
