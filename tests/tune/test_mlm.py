"""Masking: how much, into what, and never a special token; batches and the head that reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from scipy import stats
from tests.tune.losses import fall

from xopt.errors import InputError
from xopt.tokenization import Tokenizer
from xopt.tune.encode import IGNORED
from xopt.tune.mlm import MlmBatches, MlmHead, load_mlm_texts, mask_tokens, masking_ids

VOCABULARY, MASK = 50, 7
SPECIAL = frozenset({0, 1, 2, 3, MASK})
Factory = Callable[..., Path]


def within(count: int, total: int, share: float) -> bool:
    """Whether a binomial draw this far off has a chance of more than one in a thousand."""
    return float(stats.binomtest(count, total, share).pvalue) > 1e-3


def test_fifteen_percent_are_chosen_and_split_80_10_10() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCABULARY, (400, 200))
    inputs, labels = mask_tokens(
        ids, mask_id=MASK, vocabulary=VOCABULARY, special_ids=SPECIAL, rng=rng
    )
    plain = ~np.isin(ids, list(SPECIAL))
    chosen = labels != IGNORED
    assert not (chosen & ~plain).any()
    assert (labels[chosen] == ids[chosen]).all()
    assert (inputs[~chosen] == ids[~chosen]).all()
    total = int(chosen.sum())
    assert within(total, int(plain.sum()), 0.15)
    masked = inputs[chosen] == MASK
    assert within(int(masked.sum()), total, 0.8)
    # A tenth is replaced, by itself once in 45 times.
    changed = ~masked & (inputs[chosen] != ids[chosen])
    assert within(int(changed.sum()), total, 0.1 * 44 / 45)
    assert not within(int(changed.sum()), total, 0.12)
    replaced = inputs[chosen][changed]
    assert not np.isin(replaced, list(SPECIAL)).any()
    counts = np.bincount(replaced, minlength=VOCABULARY)[~np.isin(range(VOCABULARY), list(SPECIAL))]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_every_token_can_be_asked_and_another_share_is_kept() -> None:
    ids = np.arange(8, 40)[None, :].repeat(50, 0)
    rng = np.random.default_rng(1)
    options = {"mask_id": MASK, "vocabulary": VOCABULARY, "special_ids": SPECIAL, "rng": rng}
    _, labels = mask_tokens(ids, share=1.0, **options)  # type: ignore[arg-type]
    assert (labels == ids).all()
    _, labels = mask_tokens(ids, share=0.4, **options)  # type: ignore[arg-type]
    assert within(int((labels != IGNORED).sum()), ids.size, 0.4)
    for share in (0.0, 1.5):
        with pytest.raises(InputError, match="masked share"):
            mask_tokens(ids, share=share, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def masked_tokenizer(tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small tokenizer with XLM-R's mask."""
    document = json.loads(tokenizer_file.read_text())
    token = dict(document["added_tokens"][0]) | {"id": 1200, "content": "<mask>"}
    document["added_tokens"].append(token)
    path = tmp_path_factory.mktemp("masked") / "tokenizer.json"
    path.write_text(json.dumps(document))
    return path


def batches(tokenizer: Path, **changes: object) -> MlmBatches:
    mask, special = masking_ids(tokenizer)
    options: dict[str, object] = {
        "corpus": load_mlm_texts(), "tokenizer": Tokenizer.open(tokenizer, 128), "mask_id": mask,
        "special_ids": special, "vocabulary": 1200, "padding": 1, "batch": 16, "max_tokens": 40,
    }  # fmt: skip
    return MlmBatches(**(options | changes))  # type: ignore[arg-type]


def test_a_tokenizer_without_mask_is_refused(tokenizer_file: Path, masked_tokenizer: Path) -> None:
    assert masking_ids(masked_tokenizer) == (1200, frozenset({0, 1, 2, 3, 1200}))
    with pytest.raises(InputError, match="no mask token"):
        masking_ids(tokenizer_file)


def test_batches_are_a_function_of_the_step(masked_tokenizer: Path) -> None:
    first, again = batches(masked_tokenizer), batches(masked_tokenizer)
    third = first.at(3)
    first.at(4)
    for name, values in again.at(3).items():
        assert torch.equal(values, third[name]), name
    assert not torch.equal(first.at(4)["labels"], third["labels"])
    assert third["input_ids"].shape[0] == 16
    assert third["input_ids"].shape[1] <= 40
    padding = third["attention_mask"] == 0
    assert (third["labels"][padding] == IGNORED).all()
    assert (third["input_ids"][padding] == 1).all()
    starts = third["input_ids"][:, 0]
    assert (starts == 0).all()


def test_small_languages_come_more_often_than_their_share(
    masked_tokenizer: Path, tmp_path: Path
) -> None:
    (tmp_path / "en.txt").write_text("\n".join(f"a text number {n}" for n in range(900)))
    (tmp_path / "sw.txt").write_text("\n".join(f"maandishi namba {n}" for n in range(9)))
    found = batches(masked_tokenizer, corpus=load_mlm_texts(str(tmp_path)))
    drawn = sum(found.languages.task(step) == "sw" for step in range(2000))
    assert within(drawn, 2000, 9**0.3 / (9**0.3 + 900**0.3))


@pytest.mark.parametrize("model_type", ["xlm-roberta", "bert"])
def test_the_head_gives_the_loss_of_transformers(model_type: str) -> None:
    torch.manual_seed(0)
    prefix = {"bert": "Bert", "xlm-roberta": "XLMRoberta"}[model_type]
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=90, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=40, pad_token_id=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    theirs = getattr(transformers, f"{prefix}ForMaskedLM")(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
    ids = torch.randint(5, 90, (3, 12))
    labels = torch.where(torch.rand(3, 12) < 0.3, ids, IGNORED)
    head = MlmHead(32, 90)
    assert head.take_weights(theirs.state_dict())
    encoder = getattr(theirs, theirs.base_model_prefix)
    with torch.no_grad():
        hidden = encoder(ids).last_hidden_state
        ours = head(hidden, encoder.get_input_embeddings().weight, labels)
        expected = theirs(ids, labels=labels).loss
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    nothing = head(hidden, encoder.get_input_embeddings().weight, torch.full_like(ids, IGNORED))
    assert nothing.item() == 0.0


def test_a_checkpoint_without_the_head_leaves_a_fresh_one(make_checkpoint: Factory) -> None:
    state = transformers.AutoModel.from_pretrained(make_checkpoint()).state_dict()
    assert not MlmHead(64, 1200).take_weights(state)


def test_the_loss_falls(make_checkpoint: Factory, masked_tokenizer: Path) -> None:
    model = transformers.AutoModel.from_pretrained(make_checkpoint(vocab_size=1201))
    torch.manual_seed(0)
    head = MlmHead(64, 1201)
    made = batches(masked_tokenizer, batch=8, share=0.3)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=2e-3)
    losses = []
    for step in range(40):
        batch = made.at(step % 4)
        labels = batch.pop("labels")
        hidden = model(**batch).last_hidden_state
        loss = head(hidden, model.get_input_embeddings().weight, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert fall(losses)
