"""A cache of its own for every test run, and tiny checkpoints of every architecture and head."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# Triton reads it when it is first imported, which any test may do first.
os.environ.setdefault("TRITON_INTERPRET", "1")

REPOSITORY = Path(__file__).parents[1]
CheckpointFactory = Callable[..., Path]

CLASSES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
}
HEADS = {
    "embed": "Model",
    "classify": "ForSequenceClassification",
    "tag": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "choice": "ForMultipleChoice",
}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XOPT_CACHE")
    os.environ["XOPT_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XOPT_CACHE"]
    else:
        os.environ["XOPT_CACHE"] = before


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small byte-level BPE over the calibration texts, with XLM-R's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    from xopt.calibrate.corpus import load_corpus

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for _, text in load_corpus().rows), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def make_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path
) -> CheckpointFactory:
    """``make_checkpoint("bert", "tag", layers=2)``: random weights, the small tokenizer."""

    def make(
        model_type: str = "xlm-roberta",
        head: str = "embed",
        *,
        seed: int = 0,
        labels: list[str] | None = None,
        **changes: Any,
    ) -> Path:
        import torch
        import transformers

        torch.manual_seed(seed)
        prefix = CLASSES[model_type]
        numbers: dict[str, Any] = {
            "vocab_size": 1200,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 128,
            "max_position_embeddings": 130,
            "type_vocab_size": 2 if model_type == "bert" else 1,
            "pad_token_id": 1,
            "layer_norm_eps": 1e-5,
            # Larger than the usual 0.02, so that layers differ and attention is not uniform.
            "initializer_range": 0.1,
        }
        names = labels or ["a", "b", "c"]
        if head in ("classify", "tag"):
            numbers["id2label"] = dict(enumerate(names))
            numbers["label2id"] = {name: number for number, name in enumerate(names)}
        config = getattr(transformers, f"{prefix}Config")(**(numbers | changes))
        model = getattr(transformers, prefix + HEADS[head])(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0, 0.1)
        folder = tmp_path_factory.mktemp(f"{model_type}-{head}")
        model.save_pretrained(folder)
        (folder / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
        fast: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
        if model_type == "bert":
            # What BertTokenizer gives by itself; a model without it takes 0 for both texts.
            fast["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        (folder / "tokenizer_config.json").write_text(json.dumps(fast))
        return folder

    return make


FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --no-first-run --disable-sync "
    "--disable-component-update --disable-quic"
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless; tests that need it skip where it is not."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium (Debian's package chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def xtreme_data() -> Path:
    """Real XTREME data beside the repository; tests that need it skip where it is not."""
    folder = REPOSITORY.parent / "shared" / "data" / "xtreme"
    if not folder.is_dir():
        pytest.skip("the real XTREME data is not beside this repository")
    return folder


def _tags(task: str) -> list[str]:
    from xopt.evaluate.tasks import TASKS

    return list(reversed(TASKS.resolve(task).tags))  # type: ignore[attr-defined]


# Name -> head, and labels that stand in another order than the task's own, or the task's name.
TASK_HEADS: dict[str, tuple[str, list[str] | str | None]] = {
    "nli": ("classify", ["neutral", "contradiction", "ENTAILMENT"]),
    "pair": ("classify", ["1", "0"]),
    "pos": ("tag", "udpos"),
    "ner": ("tag", "panx"),
    "qa": ("span", None),
    "encoder": ("embed", None),
}


@pytest.fixture(scope="session")
def heads(make_checkpoint: CheckpointFactory) -> Callable[[str], Path]:
    """``heads("nli")``: the checkpoint's folder."""
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            kind, labels = TASK_HEADS[name]
            labels = _tags(labels) if isinstance(labels, str) else labels
            made[name] = make_checkpoint("xlm-roberta", kind, labels=labels, seed=len(name))
        return made[name]

    return find


@pytest.fixture(scope="session")
def bundles(
    heads: Callable[[str], Path], tmp_path_factory: pytest.TempPathCheckpointFactory
) -> Callable[..., Any]:
    """``bundles("nli", "int8")``."""
    from xopt.artifacts import Bundle
    from xopt.compile.build import BuildOptions, build_bundle

    root = tmp_path_factory.mktemp("bundles")

    def find(name: str, precision: str = "fp32", target: str = "cpu") -> Any:
        out = root / f"{name}-{precision}-{target}"
        if not out.is_dir():
            options: dict[str, Any] = {"checkpoint": str(heads(name)), "precision": precision}
            options |= {"calibration_tokens": 512, "target": target, "out": str(out)}
            build_bundle(BuildOptions(**options))
        return Bundle.open(out)

    return find
