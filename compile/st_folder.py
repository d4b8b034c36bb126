"""A sentence-transformers folder: its module files and what they decide, read as that library does.

Read after its versions 2 to 6: ``modules.json`` lists the modules, each with a ``config.json`` in
its own folder; the Transformer may lie in the folder itself or, in older ones, in
``0_Transformer/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from xopt.activations import CLASSES
from xopt.compile.head_spec import (
    POOLING_MODES,
    Dense,
    HeadModule,
    LayerNorm,
    Normalize,
)
from xopt.compile.st_transformer import read_json, read_transformer
from xopt.encoders.config import UNLIKE
from xopt.errors import CheckpointError
from xopt.forms import spelled

__all__ = [
    "CONFIG",
    "MODULES",
    "Modules",
    "encoder_folder",
    "module_paths",
    "read_modules",
]

MODULES = "modules.json"
CONFIG = "config_sentence_transformers.json"
# Flags of files before version 5.
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
SENTENCE, SCORES = "sentence_embedding", "scores"
KINDS = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")


@dataclass(frozen=True)
class Modules:
    """What the module files of a folder decide.

    Attributes:
        options: of the Transformer module: ``max_seq_length`` and so on.
        task: the Transformer's, ``feature-extraction`` or ``sequence-classification``.
        pooling: modes, one behind the other.
        include_prompt: whether the prompt's tokens are pooled too.
        modules: what follows the pooling; a last Normalize is ``normalize`` instead.
        normalize: whether the answer gets length 1.
        scores: how many scores the last module gives, as in a cross-encoder that is made of a
            pooling and a Dense; None where the answer is an embedding.
        files: every file that was read.
    """

    options: Mapping[str, Any]
    task: str
    pooling: tuple[str, ...]
    include_prompt: bool
    modules: tuple[HeadModule, ...]
    normalize: bool
    scores: int | None
    files: tuple[Path, ...]

    @property
    def tokenizer_options(self) -> Mapping[str, Any]:
        """What the Transformer module gives to transformers' loader of tokenizers."""
        found = self.options.get("processor_kwargs") or self.options.get("tokenizer_args") or {}
        return found if isinstance(found, dict) else {}


def module_paths(folder: Path) -> list[tuple[str, str]]:
    """(class, path within the folder) of every module; none where there is no ``modules.json``.

    Raises:
        CheckpointError: the file is damaged, leaves its folder, or names a class of another
            library.
    """
    path = folder / MODULES
    if not path.is_file():
        return []
    found: list[tuple[str, str]] = []
    for entry in read_json(path, list):
        try:
            kind, place = str(entry["type"]), str(entry["path"])
        except (TypeError, KeyError) as error:
            raise CheckpointError(f"{path} is damaged: {spelled(entry)} is no module.") from error
        parts = PurePosixPath(place.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise CheckpointError(f"{path} names {place!r} outside of its folder.")
        if not kind.startswith("sentence_transformers."):
            raise CheckpointError(
                f"{path} names the module {spelled(entry['type'])}, whose code is not "
                "sentence-transformers' own; xopt runs no code of a checkpoint.",
                hint=UNLIKE,
            )
        found.append((kind.rsplit(".", 1)[-1], parts.as_posix() if place else ""))
    return found


def encoder_folder(folder: Path) -> Path:
    """Where the encoder's own files lie: the folder itself but in the old layout.

    Raises:
        CheckpointError: ``modules.json`` is damaged, or names what xopt cannot do.
    """
    listed = module_paths(folder)
    for number, (kind, _) in enumerate(listed):
        if kind not in KINDS:
            raise CheckpointError(
                f"{folder / MODULES} names the module {kind}, which xopt does not do.",
                hint=f"xopt does {', '.join(KINDS)}.",
            )
        if (number == 0) != (kind == "Transformer"):
            raise CheckpointError(
                f"{folder / MODULES}: xopt does not do this: its first module, and no other, must "
                "be the Transformer.",
                hint=UNLIKE,
            )
    return folder / listed[0][1] if listed else folder


def read_modules(folder: Path, hidden: int) -> Modules | None:
    """Read ``modules.json`` and what it names; None where the folder has none.

    Args:
        folder: with ``modules.json``.
        hidden: width of the encoder's states.

    Raises:
        CheckpointError: a file is damaged, or asks for what xopt cannot do; it is named.
    """
    listed = module_paths(folder)
    if not listed:
        return None
    reader = _Reader(folder, listed, hidden)
    reader.read()
    return reader.result()


class _Reader:
    """Walks through the modules of one folder."""

    def __init__(self, folder: Path, listed: list[tuple[str, str]], hidden: int) -> None:
        self.folder, self.listed = folder, listed
        self.files = [folder / MODULES]
        self.options: Mapping[str, Any] = {}
        self.pooling: tuple[str, ...] = ()
        self.include_prompt = True
        self.modules: list[HeadModule] = []
        self.hidden, self.width = hidden, 0
        self.scores: int | None = None

    def read(self) -> None:
        """Take the modules one after another."""
        readers = {
            "Transformer": self._transformer,
            "Pooling": self._pooling,
            "Dense": self._dense,
            "LayerNorm": self._layer_norm,
            "Normalize": self._normalize,
            "Dropout": self._dropout,
        }
        for kind, place in self.listed:
            if self.scores is not None and kind != "Dropout":
                raise self._wrong(MODULES, f"{kind} ({place}) stands behind the scores")
            if kind in ("Dense", "LayerNorm", "Normalize") and not self.pooling:
                raise self._wrong(
                    MODULES, f"{kind} ({place}) stands before any Pooling, for single tokens"
                )
            readers[kind](place)

    def result(self) -> Modules:
        """What was read."""
        task = str(self.options.get("transformer_task") or "feature-extraction")
        if task == "sequence-classification" and len(self.listed) > 1:
            raise self._wrong(MODULES, "modules follow a classifier's Transformer")
        if task == "feature-extraction" and not self.pooling:
            raise self._wrong(MODULES, "there is no Pooling, so no embedding of a text")
        normalize = bool(self.modules) and isinstance(self.modules[-1], Normalize)
        kept = tuple(self.modules[:-1] if normalize else self.modules)
        return Modules(
            self.options, task, self.pooling, self.include_prompt, kept, normalize, self.scores,
            tuple(self.files),
        )  # fmt: skip

    def _transformer(self, place: str) -> None:
        self.options, read = read_transformer(self.folder / place)
        self.files += read

    def _pooling(self, place: str) -> None:
        config = self._config(place)
        if self.pooling:
            raise self._wrong(MODULES, "there are two Poolings")
        modes = config.get("pooling_mode")
        if modes is None:
            modes = [mode for flag, mode in FLAGS.items() if config.get(flag)] or ["mean"]
        modes = [modes] if isinstance(modes, str) else modes
        if not (isinstance(modes, list) and modes and set(map(str, modes)) <= set(POOLING_MODES)):
            what = f"it pools by {spelled(modes)}"
            raise self._wrong(f"{place}/config.json", what, POOLING_MODES)
        self.pooling = tuple(map(str, modes))
        self.include_prompt = bool(config.get("include_prompt", True))
        self.width = self.hidden * len(modes)

    def _dense(self, place: str) -> None:
        config, name = self._config(place), f"{place}/config.json"
        scores = config.get("module_output_name") == SCORES
        self._on_sentences({**config, "module_output_name": None} if scores else config, name)
        activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
        if not isinstance(activation, str):
            raise self._wrong(name, f"its activation is {spelled(activation)}", CLASSES)
        if not activation.startswith("torch."):
            # sentence-transformers runs no other code either, and takes its default.
            activation = "torch.nn.modules.activation.Tanh"
        kind = activation.rsplit(".", 1)[-1]
        if kind not in CLASSES:
            raise self._wrong(name, f"its activation is {spelled(activation)}", CLASSES)
        inputs, outputs = (self._size(config, key, name) for key in ("in_features", "out_features"))
        self._fits(inputs, name)
        bias, residual = bool(config.get("bias", True)), bool(config.get("use_residual", False))
        made = Dense(place, inputs, outputs, bias=bias, activation=kind, residual=residual)
        self._weights(place)
        self.modules.append(made)
        self.width = outputs
        self.scores = outputs if scores else None

    def _layer_norm(self, place: str) -> None:
        config, name = self._config(place), f"{place}/config.json"
        width = self._size(config, "dimension", name)
        self._fits(width, name)
        self._weights(place)
        self.modules.append(LayerNorm(place, width))
        self.width = width

    def _normalize(self, place: str) -> None:
        if (self.folder / place / "config.json").is_file():
            self._on_sentences(self._config(place), f"{place}/config.json")
        self.modules.append(Normalize(self.width))

    def _dropout(self, place: str) -> None:
        """Nothing, outside of training."""

    def _config(self, place: str) -> Mapping[str, Any]:
        path = self.folder / place / "config.json"
        if not place or not path.is_file():
            raise CheckpointError(
                f"{self.folder / MODULES} names {place or 'a module without a folder'}, "
                f"and {path} is not there.",
                hint="Copy or download the whole folder again.",
            )
        self.files.append(path)
        found: Mapping[str, Any] = read_json(path)
        return found

    def _on_sentences(self, config: Mapping[str, Any], name: str) -> None:
        for key in ("module_input_name", "module_output_name"):
            if config.get(key) not in (None, SENTENCE):
                raise self._wrong(name, f"{key} is {spelled(config[key])}, not {SENTENCE!r}")

    def _size(self, config: Mapping[str, Any], key: str, name: str) -> int:
        value = config.get(key)
        if type(value) is not int or value < 1:
            raise self._wrong(name, f"{key} is {spelled(value)}")
        return value

    def _fits(self, inputs: int, name: str) -> None:
        if self.width and inputs != self.width:
            raise self._wrong(name, f"it reads {inputs} values where {self.width} come in")

    def _weights(self, place: str) -> None:
        folder = self.folder / place
        if (folder / "model.safetensors").is_file():
            self.files.append(folder / "model.safetensors")
            return
        if (folder / "pytorch_model.bin").is_file():
            raise CheckpointError(
                f"{folder / 'pytorch_model.bin'} is a pickle; xopt reads safetensors only, because "
                "loading a pickle can run any code.",
                hint="Convert it where you trust it: "
                "SentenceTransformer(FOLDER).save_pretrained(NEW)",
            )
        raise CheckpointError(f"{folder} has no model.safetensors.")

    def _wrong(self, name: str, what: str, possible: tuple[str, ...] = ()) -> CheckpointError:
        hint = f"xopt does {', '.join(possible)}." if possible else ""
        return CheckpointError(f"{self.folder / name}: xopt does not do this: {what}.", hint=hint)
