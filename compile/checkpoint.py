"""A Hugging Face checkpoint, read without running any of its code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from xopt.artifacts import fingerprint
from xopt.encoders.config import Config
from xopt.encoders.families import family_of
from xopt.encoders.family import Family
from xopt.encoders.spec import EncoderSpec, HeadForm
from xopt.errors import CheckpointError
from xopt.hashing import sha256_file_cached

__all__ = ["Checkpoint", "Head", "HeadKind", "Pooling"]

HeadKind = Literal["classify", "tag", "span", "embed"]
Pooling = Literal["mean", "cls"]

MULTIPLE_CHOICE = "ForMultipleChoice"
# Architecture suffix in config.json -> head.
HEADS: dict[str, HeadKind] = {
    "ForSequenceClassification": "classify",
    # One score per sequence; the choice is the caller's, among the sequences of a question.
    MULTIPLE_CHOICE: "classify",
    "ForTokenClassification": "tag",
    "ForQuestionAnswering": "span",
    "ForMaskedLM": "embed",
    "Model": "embed",
}

PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth")


@dataclass(frozen=True)
class Head:
    """What the encoder's states are turned into.

    Attributes:
        kind: ``classify``, ``tag``, ``span`` or ``embed``.
        labels: label names by id; empty for ``embed``.
        layer: for ``embed``, which hidden state is pooled: 0 the embeddings, ``layers`` the last.
        pooling: for ``embed``, ``mean`` over all tokens with the special ones, or ``cls``.
        form: of every other kind, what stands between the states and the logits.
    """

    kind: HeadKind
    labels: tuple[str, ...] = ()
    layer: int | None = None
    pooling: Pooling | None = None
    form: HeadForm | None = None

    def manifest(self) -> dict[str, Any]:
        """As a JSON object."""
        if self.kind == "embed":
            return {"kind": self.kind, "layer": self.layer, "pooling": self.pooling}
        return {"kind": self.kind, "labels": list(self.labels)}


@dataclass(frozen=True)
class Checkpoint:
    """A folder with ``config.json``, safetensors weights and ``tokenizer.json``.

    Attributes:
        folder: where it lies.
        source: where it came from, in words that stand in every report.
        raw: config.json as it is.
        config: the encoder's description.
        family: which reads its config and names its tensors.
        head: read from the config's architecture.
    """

    folder: Path
    source: str
    raw: Mapping[str, Any]
    config: EncoderSpec
    family: Family
    head: Head

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        source: str | None = None,
        layer: int | None = None,
        pooling: Pooling = "mean",
    ) -> Checkpoint:
        """Read and check a checkpoint folder.

        Args:
            folder: a local folder.
            source: what reports call it; the folder's name by default.
            layer: for an ``embed`` head, the hidden state to pool; the last by default.
            pooling: for an ``embed`` head.

        Raises:
            CheckpointError: a file is missing or unsafe, or the architecture is not supported.
        """
        raw = _read_config(folder)
        asked = Config(raw, str(folder))
        family = family_of(str(raw.get("model_type")), str(folder))
        config = family.read(asked)
        head = _head(asked, family, config.layers, layer, pooling)
        if not (folder / "tokenizer.json").is_file():
            raise CheckpointError(
                f"{folder} has no tokenizer.json.",
                hint="Make one with: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
            )
        checkpoint = cls(folder, source or folder.name, raw, config, family, head)
        checkpoint.weight_files  # noqa: B018  (raises early when weights are missing or pickled)
        return checkpoint

    @cached_property
    def weight_files(self) -> list[Path]:
        """The safetensors files, one or several."""
        index = self.folder / "model.safetensors.index.json"
        if index.is_file():
            try:
                found = json.loads(index.read_text())["weight_map"].values()
                names = sorted({str(name) for name in found})
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise CheckpointError(f"{index} is damaged: {error!r}.") from error
            paths = [self.folder / name for name in names]
            root = self.folder.resolve()
            for path in paths:
                if path.parent.resolve() != root:
                    raise CheckpointError(f"{index} names {path.name!r} outside of its folder.")
        else:
            paths = [self.folder / "model.safetensors"]
        missing = [path.name for path in paths if not path.is_file()]
        if not missing:
            return paths
        pickled = [name for name in PICKLED if (self.folder / name).is_file()]
        if pickled:
            raise CheckpointError(
                f"{self.folder} has its weights as a pickle ({pickled[0]}); xopt reads safetensors "
                "only, because loading a pickle can run any code.",
                hint="Convert it where you trust it: AutoModel.from_pretrained(FOLDER)"
                ".save_pretrained(NEW)",
            )
        raise CheckpointError(f"{self.folder} has no {', '.join(missing)}.")

    @property
    def is_choice(self) -> bool:
        """Whether its head gives one score to each of several sequences."""
        return str((self.raw.get("architectures") or [""])[0]).endswith(MULTIPLE_CHOICE)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over config, weights and tokenizer, and the head's choices."""
        files = [self.folder / "config.json", self.folder / "tokenizer.json", *self.weight_files]
        return fingerprint(
            [[path.name, sha256_file_cached(path)] for path in files], self.head.manifest()
        )

    @cached_property
    def training(self) -> dict[str, Any] | None:
        """What ``xopt tune`` wrote of how this checkpoint was made, if it made it.

        Raises:
            CheckpointError: ``training.json`` is damaged.
        """
        path = self.folder / "training.json"
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged: {error}.") from error
        # Other tools write a file of this name too.
        ours = isinstance(found, dict) and {"phase", "tasks", "fingerprint"} <= set(found)
        return found if ours else None

    def signature(self, inputs: Sequence[str], output: str) -> dict[str, Any]:
        """What a bundle's manifest says of its inputs, its output and their limits."""
        head, config = self.head, self.config
        return {
            "inputs": list(inputs),
            "output": output,
            "per_token": head.kind in ("tag", "span"),
            "width": config.hidden if head.kind == "embed" else len(head.labels),
            "max_tokens": config.max_tokens,
            "first_position": config.first_position,
            "vocabulary": config.vocabulary,
            "types": max(config.types, 1),
        }

    @property
    def depth(self) -> int:
        """How many layers run: all, or as many as an ``embed`` head's layer needs."""
        return self.config.layers if self.head.layer is None else self.head.layer

    @property
    def name(self) -> str:
        """A short name fit for a folder."""
        return re.sub(
            r"[^A-Za-z0-9._-]+", "-", self.source.split(" (")[0].split(":")[-1].split("/")[-1]
        )


def _read_config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is no checkpoint: it has no config.json.",
            hint="Give a Hugging Face folder, a hub id, or pip:multilingual-e5-small.",
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} is damaged: it holds no JSON object.")
    return raw


def _head(config: Config, family: Family, layers: int, layer: int | None, pooling: Pooling) -> Head:
    raw = config.raw
    names = raw.get("architectures")
    if names is not None and not (isinstance(names, list) and names):
        raise CheckpointError(f"config.json: architectures is {names!r}, not a list of names.")
    prefix = family.types[raw["model_type"]][0]
    name = str(names[0]) if names else prefix + "Model"
    suffix = name.removeprefix(prefix)
    kind = HEADS.get(suffix)
    form = None
    if kind not in (None, "embed"):
        form = family.head(config, "choice" if suffix == MULTIPLE_CHOICE else str(kind))
    if kind is None or (kind != "embed" and form is None):
        raise CheckpointError(f"The head {name!r} is not supported.", hint=_heads(config, family))
    if kind == "embed":
        chosen = layers if layer is None else layer
        if not 0 <= chosen <= layers:
            raise CheckpointError(
                f"There is no layer {chosen}.",
                hint=f"Layers are 0 (embeddings) to {layers} (the last).",
            )
        return Head("embed", layer=chosen, pooling=pooling)
    if layer is not None:
        raise CheckpointError(
            f"--layer is for encoders without a head; {name} has one.",
            hint="Leave --layer out, or give the encoder alone.",
        )
    if kind == "span":
        return Head("span", labels=("start", "end"), form=form)
    if suffix == MULTIPLE_CHOICE:
        return Head("classify", labels=("score",), form=form)
    labels = raw.get("id2label") or {}
    if not isinstance(labels, dict):
        raise CheckpointError("config.json: id2label is no object of label names.")
    count = len(labels) or config.size("num_labels", 2)
    found = tuple(str(labels.get(str(i), f"LABEL_{i}")) for i in range(count))
    return Head(kind, labels=found, form=form)


def _heads(config: Config, family: Family) -> str:
    """The heads that this family has, by the names of its classes."""
    prefix = family.types[config.raw["model_type"]][0]
    kinds = {s: "choice" if s == MULTIPLE_CHOICE else kind for s, kind in HEADS.items()}
    found = [s for s, kind in kinds.items() if kind == "embed" or family.head(config, kind)]
    return "Supported: " + ", ".join(prefix + suffix for suffix in found) + "."
