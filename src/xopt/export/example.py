"""Run the graph in this folder with ONNX Runtime: texts in, answers out.

    pip install onnxruntime numpy tokenizers
    python run.py "Habari za asubuhi" "Good morning"
    python run.py "Mvua inanyesha." --pair "Barabara ni kavu."

Nothing of xopt is needed. README.md says what every input is; `pack` below makes them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray
    from tokenizers import Tokenizer, normalizers
except ModuleNotFoundError as error:
    sys.exit(f"run.py needs {error.name}: pip install onnxruntime numpy tokenizers")

__all__ = ["Exported", "main"]

Array = NDArray[Any]
# Added to the attention scores of padding slots.
MASKED = -10000.0


class Exported:
    """The graph and the tokenizer of one folder.

    Args:
        folder: with graph.onnx, weights.bin, tokenizer.json and manifest.json.
    """

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.folder, self.text, self.head = folder, facts["text"], facts["head"]
        self.signature = facts["signature"]
        # Modules that lie beside this file.
        sys.path.insert(0, str(folder))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if self.text["lower"]:
            own = [self.tokenizer.normalizer] if self.tokenizer.normalizer else []
            self.tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        options = onnxruntime.SessionOptions()
        # Without it, CPUs that lack VNNI add two INT8 products in 16 bits, which overflow.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.session = onnxruntime.InferenceSession(str(folder / "graph.onnx"), options)

    def answer(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Any]:
        """One array for each text, or pair of texts.

        An embedding, the probabilities of a classifier, or ``[tokens, labels]`` logits of a tagger
        or of a span head.

        Raises:
            ValueError: a text is longer than the encoder takes.
        """
        prompt = ""
        if self.head["kind"] in ("embed", "classify") and self.text["default_prompt"]:
            prompt = self.text["prompts"][self.text["default_prompt"]]
        texts = [self.compose(prompt + text) for text in texts]
        items: list[Any] = list(texts)
        if pairs is not None:
            items = list(zip(texts, map(self.compose, pairs), strict=True))
        encoded = self.tokenizer.encode_batch(items)
        lengths = np.array([len(found.ids) for found in encoded], np.int32)
        if lengths.max() > self.signature["max_tokens"]:
            raise ValueError(
                f"a text has {lengths.max()} tokens; at most {self.signature['max_tokens']}"
            )
        ids = np.concatenate([np.array(found.ids, np.int32) for found in encoded])
        types = np.concatenate([np.array(found.type_ids, np.int32) for found in encoded])
        feeds = self.pack(ids, types, lengths, self.prompt_tokens(prompt))
        wanted = {name: feeds[name] for name in self.signature["inputs"]}
        answer: Any = self.session.run(None, wanted)
        values: Array = answer[0]
        if self.signature["per_token"]:
            return list(np.split(values, np.cumsum(lengths)[:-1]))
        return [self.finish(row) for row in values]

    def compose(self, text: str) -> str:
        """A text as its tokenizer has to see it."""
        return unicodedata.normalize("NFC", text) if self.text["normalize"] == "nfc" else text

    def prompt_tokens(self, prompt: str) -> int:
        """Tokens of the prompt, where they are left out of the pooling; else 0."""
        special = self.text["special_ids"]
        if not prompt or not special:
            return 0
        ids = self.tokenizer.encode(self.compose(prompt)).ids
        return len(ids) - (ids[-1] in special)

    def pack(self, ids: Array, types: Array, lengths: Array, prompt: int) -> dict[str, Array]:
        """Every input the graph may ask for, from tokens that stand end to end."""
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        longest = int(lengths.max())
        within = np.arange(len(ids), dtype=np.int32) - np.repeat(starts[:-1], lengths)
        unpad = np.repeat(np.arange(len(lengths), dtype=np.int32) * longest, lengths) + within
        pad = np.zeros(len(lengths) * longest, np.int32)
        pad[unpad] = np.arange(len(ids), dtype=np.int32)
        padded = np.arange(longest)[None, :] >= lengths[:, None]
        feeds = {
            "input_ids": ids,
            "token_type_ids": types,
            "position_ids": self.positions(ids, within, starts, lengths),
            "cu_seqlens": starts,
            "pad_index": pad.reshape(len(lengths), longest),
            "unpad_index": unpad,
            "attention_bias": np.where(padded, np.float32(MASKED), np.float32(0))[:, None, None],
            "prompt_tokens": np.full(len(lengths), prompt, np.int32),
        }
        window = self.signature["window"]
        if window is not None:
            windows = importlib.import_module("windows")
            feeds |= windows.cut_windows(starts[:-1], lengths, window, MASKED).arrays()
        return feeds

    def positions(self, ids: Array, within: Array, starts: Array, lengths: Array) -> Array:
        """Counted from 0 as BERT does, or behind the padding token's id as RoBERTa does."""
        first = self.signature["first_position"]
        if first == 0:
            return within
        counted = (ids != first - 1).astype(np.int32)
        through = np.concatenate(([0], np.cumsum(counted))).astype(np.int32)
        number = through[1:] - np.repeat(through[starts[:-1]], lengths)
        found: Array = np.where(counted == 1, number + np.int32(first - 1), np.int32(first - 1))
        return found

    def finish(self, row: Array) -> Array:
        """The last step of the checkpoint's own library."""
        if self.head["kind"] == "embed":
            length = max(float(np.linalg.norm(row)), 1e-12)
            return row / np.float32(length) if self.head["normalize"] else row
        activations = importlib.import_module("activations")
        found: Array = activations.activate(self.head["activation"], row)
        return found


def main() -> None:
    """Answer what was typed, one JSON line for each text."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--pair", action="append", help="the second text of each pair")
    asked = parser.parse_args()
    if asked.pair and len(asked.pair) != len(asked.texts):
        parser.error("as many --pair as texts")
    exported = Exported(Path(__file__).parent)
    try:
        answers = exported.answer(asked.texts, asked.pair)
    except ValueError as error:
        parser.error(str(error))
    for text, answer in zip(asked.texts, answers, strict=True):
        print(json.dumps({"text": text, "answer": answer.tolist()}, ensure_ascii=False))


if __name__ == "__main__":
    main()
