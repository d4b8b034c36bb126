"""The tokenizer that the checkpoint's own library makes of its files, as one ``tokenizer.json``.

transformers 5 does not take a ``tokenizer.json`` as it stands: a class such as XLMRobertaTokenizer
or BertTokenizer reads the vocabulary from it and makes normalizer, pre-tokenizer and post-processor
itself, by ``tokenizer_config.json``. What a checkpoint was trained and measured with is what its
library makes, so where that gives other tokens than the file, it is what a bundle holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tokenizers import Tokenizer as FastTokenizer

from xopt.artifacts import Artifact, fingerprint, publish, write_manifest
from xopt.compile.token_library import (
    CONFIG,
    FILE,
    VOCABULARIES,
    Library,
    Tokens,
    convert,
    open_library,
)
from xopt.compile.token_texts import Sample, token_samples
from xopt.errors import CheckpointError
from xopt.hashing import sha256_file_cached
from xopt.host import tool_versions
from xopt.panics import panics_as_errors
from xopt.reading import copied_again, parse_json
from xopt.text_spec import Side

__all__ = ["TokenizerFile", "normalizer_steps", "read_tokenizer"]

READ = (FILE, CONFIG, "special_tokens_map.json", "added_tokens.json", *VOCABULARIES)


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

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The tokens that the library calls special."""
        return tuple(self.manifest["special_ids"])

    @property
    def truncation_side(self) -> Side:
        """Where the library takes tokens away of a text that is too long."""
        side: Side = self.manifest["truncation_side"]
        return side


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
    named = _read_object(folder / "config.json")
    kind = [named.get("model_type"), named.get("tokenizer_class")]
    used = tool_versions("transformers", "tokenizers")
    given = [rows, types > 1, dict(options or {})]
    digest = fingerprint("tokenizer", "truncation_side", files, kind, given, used)
    place = TokenizerFile.place(digest)
    found = TokenizerFile.find_whole(place, digest)
    if found is not None:
        return found
    library = open_library(folder, options or {})
    if FILE in files:
        document, facts = _choose(folder, library, rows, types)
    else:
        document, facts = convert(folder, library), {"adopted": True, "texts": 0, "different": 0}
    source = FILE if FILE in files else next(name for name in VOCABULARIES if name in files)
    version = used["transformers"]
    facts = {"source": source, "library": "transformers", "version": version, **facts}
    with publish(place) as work:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        (work / FILE).write_text(text, encoding="utf-8")
        if "reason" in facts:
            library = Library()
        special = _special(library, document)
        manifest = {"tokenizer": facts, "special_ids": special}
        manifest["truncation_side"] = getattr(library.made, "truncation_side", "right")
        write_manifest(work, TokenizerFile.kind, digest, manifest)
    return TokenizerFile.open(place)


def normalizer_steps(path: Path) -> list[str]:
    """The steps of a ``tokenizer.json``'s normalizer, outermost first, by their types."""

    def steps(part: Any) -> list[str]:
        if not isinstance(part, dict):
            return []
        inner = [name for each in part.get("normalizers", ()) for name in steps(each)]
        return [str(part.get("type")), *inner]

    return steps(json.loads(path.read_text(encoding="utf-8")).get("normalizer"))


def _choose(
    folder: Path, library: Library, rows: int, types: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The file's own tokenizer where it gives the library's tokens, else the library's."""
    path = folder / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        own = _fast(document)
    except Exception as error:
        raise CheckpointError(
            f"{path} is no readable tokenizer.json: {error}.", hint=copied_again(path)
        ) from error
    if document["model"].get("dropout"):
        # Provilkov et al. 2020, "BPE-Dropout": made for training, and the library goes on with it.
        raise CheckpointError(
            f"{path} merges at random (BPE dropout {document['model']['dropout']}): no text has "
            "the same tokens twice, so no answer can be checked.",
            hint='Set "dropout": null in its model, as is usual once training is done.',
        )
    kept = {"adopted": False, "texts": 0, "different": 0}
    if library.made is None:
        return document, kept | {"reason": library.reason}
    theirs = library.document
    theirs["added_tokens"] = [t for t in theirs["added_tokens"] if t["id"] < rows]
    apart = _apart(json.loads(own.to_str()), theirs)
    named = [*library.made.all_special_tokens, *apart.pop("added_tokens", ())]
    try:
        found = [(s, library.tokens(s)) for s in token_samples(named)]
    except Exception:
        found = []
    # An old file does not name the type of its model.
    stated = document["model"].get("type", theirs["model"]["type"])
    if not found or theirs["model"]["type"] != stated:
        if _names_class(folder):
            raise _disagreement(folder, library, document)
        # transformers chose a class by the encoder's type, for another kind of tokenizer.
        reason = f"no file names a tokenizer class, and {library.name} reads no such tokenizer.json"
        return document, kept | {"reason": reason}
    # What has no row would stop the encoder.
    wanted = [(s, t) for s, t in found if t is not None and max(t[0], default=0) < rows]
    if types == 1:
        wanted = [(s, (ids, [0] * len(ids), places)) for s, (ids, _, places) in wanted]
    facts = {"class": library.name, "texts": len(wanted)}
    different = [s for s, t in wanted if _tokens(own, s, types) != t]
    if not different and not apart:
        return document, facts | {"adopted": False, "different": 0}
    if types > 1 and not any(any(kinds) for _, (_, kinds, _) in wanted):
        _drop_types(theirs.get("post_processor"))
    made = _fast(theirs)
    if any(_tokens(made, s, types) != t for s, t in wanted):
        raise _disagreement(folder, library, document)
    facts |= {"adopted": True, "different": len(different)}
    return theirs, facts | ({"example": different[0].shown} if different else {})


def _apart(own: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """The steps that two tokenizers do not have alike; of added tokens, the names of such.

    Vocabularies are not compared: scores lose their last digit on their way through a file.
    """

    def steps(side: Mapping[str, Any]) -> dict[str, Any]:
        options = {k: v for k, v in side["model"].items() if k not in ("vocab", "merges")}
        return {k: side[k] for k in ("normalizer", "pre_tokenizer")} | {"model": options}

    mine = steps(own)
    found = {part: step for part, step in steps(theirs).items() if step != mine[part]}
    ours, others = (
        {t["content"]: {**t, "special": None} for t in side["added_tokens"]}
        for side in (own, theirs)
    )
    names = [name for name in {**ours, **others} if ours.get(name) != others.get(name)]
    return found | ({"added_tokens": names} if names else {})


def _fast(document: Mapping[str, Any]) -> FastTokenizer:
    made = FastTokenizer.from_str(json.dumps(document, ensure_ascii=False))
    made.no_padding()
    made.no_truncation()
    return made


def _tokens(fast: FastTokenizer, sample: Sample, types: int) -> Tokens:
    words = isinstance(sample.text, tuple)
    text: Any = list(sample.text) if words else sample.text
    try:
        with panics_as_errors():
            found = fast.encode(text, sample.pair, is_pretokenized=words)
    except Exception as error:
        raise CheckpointError(
            f"{FILE} is damaged, or made for another version of tokenizers: {error}.",
            hint=f"Copy {FILE} again, or save it again with AutoTokenizer.",
        ) from error
    kinds = list(found.type_ids) if types > 1 else [0] * len(found.ids)
    return list(found.ids), kinds, list(found.offsets)


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
    return any(
        _read_object(folder / name).get("tokenizer_class") for name in (CONFIG, "config.json")
    )


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none, which whoever needs it refuses."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _special(library: Library, document: Mapping[str, Any]) -> list[int]:
    """Ids of the special tokens: the library's, or without one those that the file calls so."""
    if library.made is not None:
        # A special token that is not in the vocabulary has none.
        return sorted({int(n) for n in library.made.all_special_ids if n is not None})
    added = document.get("added_tokens") or []
    return sorted(int(token["id"]) for token in added if token.get("special"))


def _disagreement(folder: Path, library: Library, document: Mapping[str, Any]) -> CheckpointError:
    return CheckpointError(
        f"{folder}: {FILE} and {CONFIG} disagree. {FILE} holds a "
        f"{document['model'].get('type', 'nameless')} tokenizer; with {CONFIG}, transformers "
        f"makes a {library.name} that gives other tokens, "
        "or none.",
        hint=f"Correct tokenizer_class in {CONFIG} (PreTrainedTokenizerFast takes {FILE} as it "
        "is), or save both again: AutoTokenizer.from_pretrained(ORIGINAL).save_pretrained(FOLDER)",
    )
