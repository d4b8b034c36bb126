"""``xopt run``: answers from a bundle with the base install alone."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import numpy as np
import typer

from xopt.artifacts import Bundle
from xopt.cli.app import app
from xopt.cli.common import JsonOption, find_bundle
from xopt.cli.output import console, print_json, table
from xopt.engines.base import open_engine
from xopt.errors import InputError
from xopt.packing import Encoding, pack
from xopt.tokenization import Tokenizer

__all__ = ["run"]

# An answer has at most this many tokens.
LONGEST = 30


@app.command(epilog='Example:  xopt run bundles/e5 "Habari za asubuhi" "Good morning"')
def run(
    bundle: Annotated[str, typer.Argument(help="Bundle folder.")],
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; none: lines of stdin.")] = None,
    pair: Annotated[
        str | None,
        typer.Option(
            help="Second text of every pair: a hypothesis, or the context that answers a question."
        ),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut a text that is longer than the encoder takes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Answer texts: labels, tags, or embeddings and how similar they are."""
    opened = find_bundle(bundle)
    given = texts if texts else _stdin()
    tokenizer = Tokenizer.open(
        opened.folder / "tokenizer.json", opened.manifest["signature"]["max_tokens"]
    )
    encodings = tokenizer.check_texts(given, truncate=truncate)
    if pair is not None:
        tokenizer.check_texts([pair], truncate=truncate)
        seconds = [str(pair)] * len(given)
        encodings = tokenizer.encode(given, seconds, details=True)
    elif opened.head["kind"] == "span":
        raise InputError(
            "This bundle answers questions from a context.",
            hint='Type: xopt run BUNDLE "a question" --pair "the context"',
        )
    with open_engine(opened) as engine:
        signature = engine.signature
        answer = engine.run(pack(encodings, first_position=signature.first_position))
    values = answer[signature.output].astype(np.float32)
    rows = (
        np.split(values, np.cumsum([len(e) for e in encodings])[:-1])
        if signature.per_token
        else list(values)
    )
    if as_json:
        print_json(_document(opened, given, encodings, rows))
    else:
        _show(opened, given, encodings, rows, tokenizer, pair or "")


def _stdin() -> list[str]:
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"Standard input is not valid UTF-8 (byte {error.start}).",
            hint="Convert it to UTF-8 first.",
        ) from error
    return [line for line in text.split("\n") if line.strip()]


def _document(
    bundle: Bundle, texts: list[str], encodings: list[Encoding], rows: list[Any]
) -> dict[str, Any]:
    return {
        "bundle": bundle.fingerprint,
        "head": dict(bundle.head),
        "answers": [
            {
                "text": text,
                "tokens": len(encoding),
                bundle.manifest["signature"]["output"]: row.tolist(),
            }
            for text, encoding, row in zip(texts, encodings, rows, strict=True)
        ],
    }


def _show(
    bundle: Bundle,
    texts: list[str],
    encodings: list[Encoding],
    rows: list[Any],
    tokenizer: Tokenizer,
    context: str,
) -> None:
    labels = bundle.head.get("labels", [])
    match bundle.head["kind"]:
        case "classify":
            shown = []
            for text, row in zip(texts, rows, strict=True):
                probabilities = np.exp(row - row.max())
                probabilities /= probabilities.sum()
                best = int(row.argmax())
                shown.append([text, labels[best], f"{probabilities[best]:.1%}"])
            table("", ["text", "label", "probability"], shown, left=2)
        case "embed":
            _show_embeddings(texts, encodings, rows)
        case "span":
            cells = [
                [text, _best_span(encoding, row, context)]
                for text, encoding, row in zip(texts, encodings, rows, strict=True)
            ]
            table("", ["question", "answer"], cells, left=2)
        case _:
            for encoding, row in zip(encodings, rows, strict=True):
                pieces = [tokenizer.fast.id_to_token(int(i)) or "" for i in encoding.ids]
                best = row.argmax(axis=1)
                cells = [[piece, labels[int(b)]] for piece, b in zip(pieces, best, strict=True)]
                table("", ["token", "label"], cells, left=2)


def _best_span(encoding: Encoding, logits: Any, context: str) -> str:
    """The characters of the context between the best start and the best end behind it."""
    assert encoding.offsets is not None
    assert encoding.sequence is not None
    inside = np.flatnonzero(encoding.sequence == 1)
    if not len(inside):
        return ""
    scores = logits[inside, 0][:, None] + logits[inside, 1][None, :]
    allowed = np.triu(np.ones_like(scores, bool)) & ~np.triu(np.ones_like(scores, bool), LONGEST)
    start, end = np.unravel_index(np.where(allowed, scores, -np.inf).argmax(), scores.shape)
    return context[encoding.offsets[inside[start], 0] : encoding.offsets[inside[end], 1]]


def _show_embeddings(texts: list[str], encodings: list[Encoding], rows: list[Any]) -> None:
    unit = np.stack(rows)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    similar = unit @ unit.T
    if len(texts) <= 12:
        columns = ["", "text", "tokens", *[f"cos {n}" for n in range(1, len(texts) + 1)]]
        cells = [
            [str(n), text, str(len(encoding)), *[f"{value:.3f}" for value in similar[n - 1]]]
            for n, (text, encoding) in enumerate(zip(texts, encodings, strict=True), 1)
        ]
        table("cosine similarity", columns, cells, left=2)
    size = f"{len(rows)} embeddings of {len(rows[0])} values"
    console().print(f"{size}; --json prints them.", highlight=False)
