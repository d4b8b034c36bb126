"""A checkpoint's tokenizer as transformers makes it."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xopt.compile.token_texts import Sample
from xopt.errors import CheckpointError, require
from xopt.panics import panics_as_errors

__all__ = ["CONFIG", "FILE", "VOCABULARIES", "Library", "Tokens", "convert", "open_library"]

FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"
# What a tokenizer.json can be made of.
VOCABULARIES = (
    "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.txt", "vocab.json",
    "merges.txt",
)  # fmt: skip
# By which a class of transformers cuts Chinese words (RoFormer).
CUTTER = "rjieba"
# Ids, types, and the characters of each, which an answer or a tag is read from.
Tokens = tuple[list[int], list[int], list[tuple[int, int]]]


@dataclass(frozen=True)
class Library:
    """What transformers makes of a folder: a tokenizer, or the reason why it makes none."""

    made: Any = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The class."""
        return type(self.made).__name__

    @property
    def document(self) -> dict[str, Any]:
        """As a ``tokenizer.json``, without truncation and padding."""
        found: dict[str, Any] = json.loads(self.made.backend_tokenizer.to_str())
        if getattr(self.made, "split_special_tokens", False):
            # No tokenizer.json can say so: a name that is not listed is cut like any word.
            found["added_tokens"] = [t for t in found["added_tokens"] if not t["special"]]
        return found | {"truncation": None, "padding": None}

    def tokens(self, sample: Sample) -> Tokens | None:
        """Ids, types and offsets; None where it refuses such a text."""
        words = isinstance(sample.text, tuple)
        try:
            with panics_as_errors():
                found = self.made(
                    list(sample.text) if words else sample.text,
                    sample.pair,
                    is_split_into_words=words,
                    return_offsets_mapping=True,
                )
        except AssertionError:
            # A byte-level tokenizer without add_prefix_space takes no words.
            return None
        ids = list(found["input_ids"])
        # A model that is given no types takes 0 for every token.
        types = list(found.get("token_type_ids") or [0] * len(ids))
        return ids, types, [(int(start), int(stop)) for start, stop in found["offset_mapping"]]


def open_library(folder: Path, options: Mapping[str, Any]) -> Library:
    """What AutoTokenizer makes of a folder, without remote code and without a network.

    Raises:
        CheckpointError: its class cuts texts by code of its own.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    transformers = require("transformers", extra="build", why="Reading a tokenizer")
    transformers.logging.set_verbosity_error()
    kept = {k: v for k, v in options.items() if k not in ("trust_remote_code", "local_files_only")}
    try:
        with panics_as_errors():
            made = transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **kept
            )
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        if isinstance(error, ImportError) and CUTTER in reason:
            raise _cut_by_code(folder, reason) from error
        return Library(reason=f"{type(error).__name__}: {reason}")
    if not getattr(made, "is_fast", False):
        return Library(reason=f"{type(made).__name__} has no fast form")
    try:
        made.backend_tokenizer.to_str()
    except Exception as error:
        raise _cut_by_code(folder, str(error).strip().split("\n")[0]) from error
    return Library(made)


def _cut_by_code(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{folder}: its tokenizer cuts words by code in Python, which no {FILE} can hold, and "
        f"without which its tokens would be others ({reason}).",
        hint=f"Where the model was trained with the {FILE} as it stands, say so in {CONFIG}: "
        '"tokenizer_class": "PreTrainedTokenizerFast".',
    )


def convert(folder: Path, library: Library) -> dict[str, Any]:
    """A tokenizer made of a vocabulary alone.

    Raises:
        CheckpointError: there is none, or it is not the one that the class reads.
    """
    present = [name for name in VOCABULARIES if (folder / name).is_file()]
    if not present:
        raise CheckpointError(
            f"{folder} has no {FILE}, and no vocabulary that one could be made of.",
            hint=f"Copy one of {', '.join((FILE, *VOCABULARIES))} from where the checkpoint was "
            "trained.",
        )
    if library.made is None:
        raise _cannot_convert(folder, present, library)
    # transformers makes an empty tokenizer, without a word, where the file of its class is missing.
    needed = {k: v for k, v in library.made.vocab_files_names.items() if k != "tokenizer_file"}
    lacking = sorted(set(needed.values()) - set(present))
    if lacking:
        raise CheckpointError(
            f"{folder} has no {FILE}, and lacks {', '.join(lacking)}, of which transformers' "
            f"{library.name} would make one; it has {', '.join(present)}.",
            hint=f"Name another tokenizer_class in {CONFIG}, or copy the missing file there.",
        )
    return library.document


def _cannot_convert(folder: Path, present: list[str], library: Library) -> CheckpointError:
    pieces = [name for name in present if name.endswith(".model")]
    if pieces and importlib.util.find_spec("sentencepiece") is None:
        return CheckpointError(
            f"{folder} has no {FILE}; to make one of {pieces[0]}, the package sentencepiece is "
            "needed.",
            hint="Install it with: pip install sentencepiece protobuf",
        )
    return CheckpointError(
        f"{folder} has no {FILE}, and transformers could not make one of {', '.join(present)}: "
        f"{library.reason}.",
        hint=f"Copy a {FILE} from where the checkpoint was trained.",
    )
