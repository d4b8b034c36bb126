"""What decomposed text costs a SentencePiece tokenizer: Tatoeba with the foreign side in NFD.

Each foreign sentence is searched for among the English ones, by cosine similarity, three times: as
it is given (in NFC), in NFD as `tokenizers` alone reads it, and in NFD composed before that.
"""

from __future__ import annotations

import argparse
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet

import xopt
from xopt.tokenization import Tokenizer


def read(folder: Path, rows: int) -> tuple[list[str], list[str]]:
    table = pyarrow.parquet.read_table(folder / "validation.parquet").to_pylist()[:rows]
    return [row["source_sentence"] for row in table], [row["target_sentence"] for row in table]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--languages", default="kor,jpn,ara")
    parser.add_argument("--rows", type=int, default=400)
    options = parser.parse_args()
    with xopt.load(options.bundle) as model:
        own = model.session.tokenizer

        def encode(texts: list[str], normalize: str) -> np.ndarray:
            spec = replace(own.spec, normalize=normalize)
            model.session.tokenizer = Tokenizer.open(options.bundle, spec)
            return model.encode(texts, normalize=True)

        print("| language | NFC | NFD, none | NFD, composed |\n|---|---|---|---|")
        for code in options.languages.split(","):
            foreign, english = read(options.data / f"tatoeba.{code}", options.rows)
            composed = [unicodedata.normalize("NFC", text) for text in foreign]
            apart = [unicodedata.normalize("NFD", text) for text in foreign]
            target = encode(english, "none")
            scores = []
            for texts, how in ((composed, "none"), (apart, "none"), (apart, "nfc")):
                best = (encode(texts, how) @ target.T).argmax(axis=1)
                scores.append(100 * float((best == np.arange(len(best))).mean()))
            print(
                f"| {code} | " + " | ".join(f"{score:.1f}" for score in scores) + " |", flush=True
            )


if __name__ == "__main__":
    main()
