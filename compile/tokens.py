"""The tokenizer that the checkpoint's own library makes of its files, as one ``tokenizer.json``.

transformers 5 does not take a ``tokenizer.json`` as it stands: a class such as XLMRobertaTokenizer
or BertTokenizer reads the vocabulary from it and makes normalizer, pre-tokenizer and post-processor
itself, by ``tokenizer_config.json``. What a checkpoint was trained and measured with is what its
library makes, so where that gives other tokens than the file, it is what a bundle holds.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tokenizers import Tokenizer as FastTokenizer

from xopt.artifacts import Artifact, fingerprint, publish, write_manifest
from xopt.compile.token_texts import Sample, token_samples
from xopt.errors import CheckpointError, require
from xopt.hashing import sha256_file_cached
from xopt.host import tool_versions

__all__ = ["TokenizerFile", "normalize_steps", "read_tokenizer"]

FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"
VOCABULARIES = (
    "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.txt", "vocab.json",
    "merges.txt",
)  # fmt: skip
READ = (FILE, CONFIG, "special_tokens_map.json", "added_tokens.json", "config.json", *VOCABULARIES)
Tokens = tuple[list[int], list[int]]


@dataclass(frozen=True)
class TokenizerFile(Artifact):
    """``tokenizer.json`` as a bundle holds it; its manifest says where it is from."""

    kind: ClassVar[str] = "tokenizer"

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / FILE

    @property
    def facts(self) -> dict[str, Any]:
        """``tokenizer`` of a bundle's manifest."""
        found: dict[str, Any] = dict(self.manifest["tokenizer"])
        return found


@dataclass(frozen=True)
class _Library:
    """What transformers makes of a folder: a tokenizer, or the reason why it makes none."""

    made: Any = None
    reason: str = ""

    @property
    def name(self) -> str:
        return type(self.made).__name__

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.made.backend_tokenizer.to_str())
        return found | {"truncation": None, "padding": None}

    def tokens(self, sample: Sample) -> Tokens | None:
        """Ids and types; None where it refuses such a text."""
        words = isinstance(sample.text, tuple)
        try:
            found = self.made(
                list(sample.text) if words else sample.text, sample.pair, is_split_into_words=words
            )
        except AssertionError:
            # A byte-level tokenizer without add_prefix_space takes no words.
            return None
        ids = list(found["input_ids"])
        # A model that is given no types takes 0 for every token.
        return ids, list(found.get("token_type_ids") or [0] * len(ids))


def read_tokenizer(
    folder: Path, *, rows: int, types: int, options: Mapping[str, Any] | None = None
) -> TokenizerFile:
    """The tokenizer of a checkpoint, made once and kept.

    Args:
        folder: of the encoder and its tokenizer.
        rows: of the word embeddings.
        types: of token types; where there is one, nothing reads them.
        options: what sentence-transformers gives to transformers' loader.

    Raises:
        CheckpointError: there is no tokenizer, it cannot be read, or two of its files disagree.
    """
    files = {name: sha256_file_cached(folder / name) for name in READ if (folder / name).is_file()}
    used = tool_versions("transformers", "tokenizers")
    digest = fingerprint("tokenizer", files, rows, types > 1, dict(options or {}), used)
    place = TokenizerFile.place(digest)
    found = TokenizerFile.find_whole(place, digest)
    if found is not None:
        return found
    library = _open_library(folder, options or {})
    if FILE in files:
        document, facts = _choose(folder, library, rows, types)
    else:
        document, facts = _convert(folder, library), {"adopted": True, "texts": 0, "different": 0}
    source = FILE if FILE in files else _vocabulary(folder)
    version = used["transformers"]
    facts = {"source": source, "library": "transformers", "version": version, **facts}
    with publish(place) as work:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        (work / FILE).write_text(text, encoding="utf-8")
        write_manifest(work, TokenizerFile.kind, digest, {"tokenizer": facts})
    return TokenizerFile.open(place)


def normalize_steps(path: Path) -> list[str]:
    """The steps of a ``tokenizer.json``'s normalizer, outermost first, by their types."""

    def steps(part: Any) -> list[str]:
        if not isinstance(part, dict):
            return []
        inner = [name for each in part.get("normalizers", ()) for name in steps(each)]
        return [str(part.get("type")), *inner]

    return steps(json.loads(path.read_text(encoding="utf-8")).get("normalizer"))


def _open_library(folder: Path, options: Mapping[str, Any]) -> _Library:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    transformers = require("transformers", extra="build", why="Reading a tokenizer")
    transformers.logging.set_verbosity_error()
    kept = {k: v for k, v in options.items() if k not in ("trust_remote_code", "local_files_only")}
    try:
        made = transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, **kept
        )
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        return _Library(reason=f"{type(error).__name__}: {reason}")
    if not getattr(made, "is_fast", False):
        return _Library(reason=f"{type(made).__name__} has no fast form")
    return _Library(made)


def _choose(
    folder: Path, library: _Library, rows: int, types: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The file's own tokenizer where it gives the library's tokens, else the library's."""
    path = folder / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        own = _fast(document)
    except Exception as error:
        raise CheckpointError(f"{path} is no readable tokenizer.json: {error}.") from error
    kept = {"adopted": False, "texts": 0, "different": 0}
    if library.made is None:
        return document, kept | {"reason": library.reason}
    theirs = library.document
    try:
        found = [(s, library.tokens(s)) for s in token_samples(library.made.all_special_tokens)]
    except Exception:
        found = []
    if not found or theirs["model"]["type"] != document["model"]["type"]:
        if _names_class(folder):
            raise _disagreement(folder, library, document)
        # transformers chose a class by the encoder's type, for another kind of tokenizer.
        reason = f"no file names a tokenizer class, and {library.name} reads no such tokenizer.json"
        return document, kept | {"reason": reason}
    # What has no row would stop the encoder.
    wanted = [(s, t) for s, t in found if t is not None and max(t[0], default=0) < rows]
    if types == 1:
        wanted = [(s, (ids, [0] * len(ids))) for s, (ids, _) in wanted]
    facts = {"class": library.name, "texts": len(wanted)}
    different = [s for s, t in wanted if _tokens(own, s, types) != t]
    if not different:
        return document, facts | {"adopted": False, "different": 0}
    theirs["added_tokens"] = [t for t in theirs["added_tokens"] if t["id"] < rows]
    if types > 1 and not any(any(kinds) for _, (_, kinds) in wanted):
        _drop_types(theirs.get("post_processor"))
    made = _fast(theirs)
    if any(_tokens(made, s, types) != t for s, t in wanted):
        raise _disagreement(folder, library, document)
    example = different[0].shown
    return theirs, facts | {"adopted": True, "different": len(different), "example": example}


def _fast(document: Mapping[str, Any]) -> FastTokenizer:
    made = FastTokenizer.from_str(json.dumps(document, ensure_ascii=False))
    made.no_padding()
    made.no_truncation()
    return made


def _tokens(fast: FastTokenizer, sample: Sample, types: int) -> Tokens:
    words = isinstance(sample.text, tuple)
    text: Any = list(sample.text) if words else sample.text
    found = fast.encode(text, sample.pair, is_pretokenized=words)
    return list(found.ids), list(found.type_ids) if types > 1 else [0] * len(found.ids)


def _drop_types(part: Any) -> None:
    """Number both texts of a pair 0, as a library does that gives its model no types."""
    if isinstance(part, dict):
        if "type_id" in part:
            part["type_id"] = 0
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            _drop_types(each)


def _names_class(folder: Path) -> bool:
    """Whether a file of the folder names the class of its tokenizer."""
    for name in (CONFIG, "config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and found.get("tokenizer_class"):
            return True
    return False


def _disagreement(folder: Path, library: _Library, document: Mapping[str, Any]) -> CheckpointError:
    return CheckpointError(
        f"{folder}: {FILE} and {CONFIG} disagree. {FILE} holds a {document['model']['type']} "
        f"tokenizer; with {CONFIG}, transformers makes a {library.name} that gives other tokens, "
        "or none.",
        hint=f"Correct tokenizer_class in {CONFIG} (PreTrainedTokenizerFast takes {FILE} as it "
        "is), or save both again: AutoTokenizer.from_pretrained(ORIGINAL).save_pretrained(FOLDER)",
    )


def _convert(folder: Path, library: _Library) -> dict[str, Any]:
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


def _cannot_convert(folder: Path, present: list[str], library: _Library) -> CheckpointError:
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


def _vocabulary(folder: Path) -> str:
    return next(name for name in VOCABULARIES if (folder / name).is_file())
