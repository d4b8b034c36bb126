"""What the tests of tokenizers share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from xopt.calibrate.corpus import load_corpus


def train(path: Path) -> None:
    """Write a Unigram tokenizer with XLM-R's special tokens."""
    fast = FastTokenizer(models.Unigram())
    fast.normalizer = normalizers.NFKC()
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=3000, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    fast.train_from_iterator((text for _, text in load_corpus().rows), trainer)
    fast.add_special_tokens(["<mask>"])
    fast.save(str(path))


@pytest.fixture(scope="session", params=["template", "roberta"])
def unigram(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    made_once: Callable[[str, Callable[[Path], object]], Path],
) -> Path:
    """A Unigram tokenizer as XLM-R has one, trained on the calibration texts."""
    fast = FastTokenizer.from_file(str(made_once("unigram.json", train)))
    if request.param == "roberta":
        fast.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        fast.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B:1 </s>:1",
            special_tokens=[("<s>", 0), ("</s>", 2)],
        )
    path = tmp_path_factory.mktemp("unigram") / "tokenizer.json"
    fast.save(str(path))
    return path
