"""bge-m3's sparse head beside the embedding, against its published definition over transformers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.encoders.families import add_tokenizer, save
from tests.rounding import MARGIN, distance, rounding_error
from transformers import AutoModel, AutoTokenizer

from xopt.artifacts import Bundle
from xopt.calibrate.corpus import load_corpus
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.errors import CheckpointError, InputError, UnsupportedError
from xopt.model.core import Model
from xopt.packing import pack
from xopt.tokenization import Tokenizer

HIDDEN = 48
TEXTS = [text[:200] for _, text in load_corpus().rows[::25]][:24]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Path:
    """The encoder and, by its side, the sparse head."""
    own = save(
        tmp_path_factory.mktemp("bge"), "XLMRoberta", "embed", seed=3, vocab_size=1200,
        hidden_size=HIDDEN, num_attention_heads=3, num_hidden_layers=2, intermediate_size=64,
        max_position_embeddings=300,
    )  # fmt: skip
    add_tokenizer(own, tokenizer_file, cls_token="<s>", eos_token="</s>", unk_token="<unk>")
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, HIDDEN, generator=generator) / HIDDEN**0.5
    save_file({"weight": weight, "bias": torch.tensor([1.7])}, own / "sparse_linear.safetensors")
    return own


def build(folder: Path, out: Path, precision: str = "fp32", **options: str) -> Model:
    wanted = BuildOptions(
        str(folder), precision, calibration_tokens=1000, out=str(out), pooling="cls", **options
    )
    return Model.open(build_bundle(wanted, record=False).bundle, threads=2, streams=2)


def published(folder: Path, texts: list[str]) -> tuple[np.ndarray, list[dict[int, float]]]:
    """As FlagEmbedding computes them: dense of the first token, relu of one linear layer."""
    from safetensors.torch import load_file

    head = load_file(folder / "sparse_linear.safetensors")
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = (tokenizer.cls_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    unused = {tokenizer.convert_tokens_to_ids(name) for name in names}
    dense, weights = [], []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            states = model(input_ids=ids).last_hidden_state[0]
        dense.append(states[0].numpy())
        found: dict[int, float] = defaultdict(float)
        values = torch.relu(states @ head["weight"][0] + head["bias"])
        for value, token in zip(values.tolist(), ids[0].tolist(), strict=True):
            if token not in unused and value > 0:
                found[token] = max(found[token], value)
        weights.append(dict(found))
    return np.stack(dense), weights


def tokens_of(folder: Path) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text)["input_ids"] for text in TEXTS]


def test_both_vectors_are_those_of_the_published_definition(folder: Path, tmp_path: Path) -> None:
    dense, weights = published(folder, TEXTS)
    with build(folder, tmp_path / "bundle") as model:
        # Several batches, in parts that are cut over two streams.
        found = model.encode(TEXTS, return_sparse=True, batch_tokens=600)
        plain = model.encode(TEXTS, batch_tokens=600)
        alone = [model.encode([text], return_sparse=True).weights[0] for text in TEXTS[:5]]
        empty = model.encode([], return_sparse=True)
    np.testing.assert_allclose(found.dense, dense, atol=1e-4)
    np.testing.assert_array_equal(found.dense, plain)
    assert empty.dense.shape == (0, HIDDEN)
    assert empty.weights == []
    for ours in (found.weights, alone):
        for mine, theirs in zip(ours, weights, strict=len(ours) == len(TEXTS)):
            # A weight about 0 may fall on either side.
            for token in mine.keys() | theirs.keys():
                assert abs(mine.get(token, 0.0) - theirs.get(token, 0.0)) <= 1e-4
    pairs = [(0, 0), (0, 1), (3, 2)]
    for first, second in pairs:
        common = weights[first].keys() & weights[second].keys()
        expected = sum(weights[first][t] * weights[second][t] for t in common)
        assert abs(found.score(first, second) - expected) <= 1e-3
    # Neither all of the tokens nor none.
    assert 0 < sum(map(len, weights)) < sum(len(set(ids)) for ids in tokens_of(folder))


def test_int8_weights_are_close(folder: Path, tmp_path: Path) -> None:
    _, weights = published(folder, TEXTS)
    with build(folder, tmp_path / "bundle", "int8") as model:
        found = model.encode(TEXTS, return_sparse=True).weights
    both = [
        (mine.get(token, 0.0), theirs.get(token, 0.0))
        for mine, theirs in zip(found, weights, strict=True)
        for token in mine.keys() | theirs.keys()
    ]
    ours, exact = np.array(both).T
    assert len(exact) > 100
    checkpoint = Checkpoint.open(folder)
    encodings = Tokenizer.open(folder / "tokenizer.json", 128).encode(TEXTS)
    batch = pack(encodings, first_position=checkpoint.config.first_position)
    bound = MARGIN * rounding_error(checkpoint, batch, "int8", sparse=True)
    assert distance(ours, exact) <= bound


def test_a_bundle_without_it_says_how_to_get_it(bundles: Callable[[str], Bundle]) -> None:
    with (
        Model.open(bundles("encoder")) as model,
        pytest.raises(InputError, match="no sparse head") as caught,
    ):
        model.encode(["a"], return_sparse=True)
    assert "weights_only=True" in caught.value.hint


def test_what_cannot_be_is_refused(folder: Path, tmp_path: Path) -> None:
    from shutil import copytree

    with pytest.raises(UnsupportedError, match="token weights") as caught:
        build(folder, tmp_path / "rtx", "fp16", target="tensorrt-rtx")
    assert "--target cpu" in caught.value.hint
    copy = copytree(folder, tmp_path / "wrong")
    save_file({"weight": torch.zeros(2, HIDDEN)}, copy / "sparse_linear.safetensors")
    with pytest.raises(CheckpointError, match="sparse head"):
        build(copy, tmp_path / "bundle")
