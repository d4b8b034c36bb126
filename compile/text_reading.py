"""What sentence-transformers and transformers do to a text: limits, lower case, prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xopt.compile.st_folder import CONFIG, Modules
from xopt.compile.st_transformer import read_json
from xopt.compile.tokens import TokenizerFile, normalizer_steps
from xopt.encoders.spec import EncoderSpec
from xopt.errors import CheckpointError
from xopt.forms import spelled
from xopt.model.texts import is_unicode
from xopt.text_spec import Normalize, TextSpec

__all__ = ["check_rows", "read_text_spec"]


def read_text_spec(
    folder: Path,
    config: EncoderSpec,
    tokenizer: TokenizerFile,
    modules: Modules | None,
    sentence: Mapping[str, Any],
    *,
    sentences: bool,
    counts_prompts: bool,
) -> TextSpec:
    """How the folder's library reads texts.

    Args:
        folder: of the encoder and its tokenizer.
        config: of the encoder.
        tokenizer: as the library makes it.
        modules: of a sentence-transformers folder.
        sentence: ``config_sentence_transformers.json``, empty where there is none.
        sentences: whether sentence-transformers is the folder's library, which cuts every text
            to its own limit; transformers' pipelines take what the encoder takes.
        counts_prompts: whether the prompt's tokens are left out of the pooling.

    Raises:
        CheckpointError: a limit is no number, or the default prompt is not among the prompts.
    """
    options = modules.options if modules else {}
    limit, cut = config.max_tokens, None
    own = _limit(folder, modules, strict=sentences)
    if own is not None and own < limit:
        # transformers' pipelines take what the encoder takes, and cut to their own limit if told.
        limit, cut = (own, None) if sentences else (limit, own)
    steps = normalizer_steps(tokenizer.path)
    lower = bool(options.get("do_lower_case")) and "Lowercase" not in steps
    normalize: Normalize = "nfc" if _composes(steps) else "none"
    prompts = sentence.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(
        prompt is None or (isinstance(prompt, str) and is_unicode(prompt))
        for prompt in prompts.values()
    ):
        raise CheckpointError(f"{CONFIG}: prompts is {spelled(prompts)}, not names with texts.")
    # encode_query and encode_document of sentence-transformers find these two in every folder.
    known = {"query": "", "document": ""} if modules or prompts else {}
    known |= {str(name): prompt or "" for name, prompt in prompts.items()}
    default = sentence.get("default_prompt_name")
    if default is not None and (not isinstance(default, str) or default not in known):
        raise CheckpointError(
            f"{CONFIG}: the default prompt {spelled(default)} is not among its prompts "
            f"({', '.join(known) or 'none'}).",
            hint="sentence-transformers refuses the folder too: correct default_prompt_name.",
        )
    # Never empty where they are counted: that would say that the prompt is pooled.
    special = (tokenizer.special_ids or (-1,)) if counts_prompts else ()
    side = tokenizer.truncation_side
    return TextSpec(limit, normalize, lower, known, default, special, side, cut)


def _composes(steps: Sequence[str]) -> bool:
    """Whether texts are composed before the tokenizer.

    SentencePiece's normalizer needs it. One that composes first of all makes the same tokens of
    composed text, but where it composed something its own offsets are wrong.
    """
    first = next((step for step in steps if step != "Sequence"), None)
    return "Precompiled" in steps or first in ("NFC", "NFKC")


def _limit(folder: Path, modules: Modules | None, *, strict: bool) -> int | None:
    """``max_seq_length`` as the Transformer module decides it, or what the tokenizer says.

    Args:
        folder: of the encoder and its tokenizer.
        modules: of a sentence-transformers folder.
        strict: refuse a value that is no number of tokens; else it says nothing.
    """
    arguments = modules.tokenizer_options if modules else {}
    for value, name in (
        (arguments.get("model_max_length"), "model_max_length"),
        (modules.options.get("max_seq_length") if modules else None, "max_seq_length"),
    ):
        if value is not None:
            return _positive(value, f"The Transformer module's {name}")
    path = folder / "tokenizer_config.json"
    facts = read_json(path) if path.is_file() else {}
    value = facts.get("model_max_length", facts.get("max_len"))
    if value is None:
        return None
    try:
        return _positive(value, f"{path}: model_max_length")
    except CheckpointError:
        if strict:
            raise
        return None


def _positive(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
        raise CheckpointError(f"{name} is {spelled(value)}, not a number of tokens.")
    return int(min(value, 2**31))


def check_rows(made: Path, folder: Path, rows: int, limit: int) -> None:
    """Refuse tokens without a row in the embeddings, and more special tokens than a text may have.

    Args:
        made: ``tokenizer.json`` as the library makes it.
        folder: of the checkpoint, whose own ``tokenizer.json`` is looked at where it has one.
        rows: of the word embeddings.
        limit: tokens of a text.

    Raises:
        CheckpointError: the tokens are named; or ``limit`` has no room for the special ones.
    """
    from tokenizers import Tokenizer

    special = Tokenizer.from_file(str(made)).num_special_tokens_to_add(is_pair=False)
    if limit < special:
        raise CheckpointError(
            f"{folder}: a text may have {limit} tokens, and its {special} special ones are more.",
            hint="Correct max_seq_length in sentence_bert_config.json, or model_max_length in "
            "tokenizer_config.json.",
        )

    path = folder / "tokenizer.json"
    name = str(path)
    if not path.is_file():
        path, name = made, f"What transformers makes of {folder}'s vocabulary"
    try:
        fast = Tokenizer.from_file(str(path))
    except Exception as error:
        raise CheckpointError(f"{path} is no readable tokenizer.json: {error}.") from error
    if fast.get_vocab_size(with_added_tokens=True) <= rows:
        added = fast.get_added_tokens_decoder()
        if max(added, default=0) < rows:
            return
    beyond = sorted((i, token) for token, i in fast.get_vocab().items() if i >= rows)
    if not beyond:
        return
    shown = ", ".join(f"{token!r} ({number})" for number, token in beyond[:5])
    more = f" and {len(beyond) - 5} more" if len(beyond) > 5 else ""
    raise CheckpointError(
        f"{name} has tokens without a row among the encoder's {rows:,} word embeddings: "
        f"{shown}{more}.",
        hint="A text with one of them could not be answered. Take them out of tokenizer.json, or "
        "give the encoder rows for them: model.resize_token_embeddings(len(tokenizer)), and train "
        "them.",
    )
