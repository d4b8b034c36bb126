"""Students: their layers, their loss, and the ordinary checkpoint they become."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.tune.losses import fall

from xopt.errors import InputError
from xopt.tune.distill import Distillation, layer_places, prepare_student, soft_loss

Factory = Callable[..., Path]
AUTO = {
    "classify": "AutoModelForSequenceClassification",
    "tag": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "choice": "AutoModelForMultipleChoice",
}


def model_of(folder: Path, head: str) -> Any:
    torch.manual_seed(1)
    return getattr(transformers, AUTO[head]).from_pretrained(folder)


def batch_of(head: str, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 1200, (6, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0
    if head == "choice":
        ids, mask = ids.view(3, 2, 9), mask.view(3, 2, 9)
        return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 0])}
    found = {"input_ids": ids, "attention_mask": mask}
    if head == "classify":
        return found | {"labels": torch.arange(6) % 3}
    if head == "tag":
        labels = (ids % 3).masked_fill(mask == 0, -100)
        labels[:, 0] = -100
        return found | {"labels": labels}
    return found | {
        "start_positions": torch.tensor([0, 1, 2, 3, 1, 2]),
        "end_positions": torch.tensor([1, 2, 3, 4, 2, 3]),
    }


def test_layers_are_evenly_spaced_and_the_last_is_among_them() -> None:
    assert layer_places(12, 6) == (1, 3, 5, 7, 9, 11)
    assert layer_places(12, 4) == (2, 5, 8, 11)
    for teacher in range(2, 25):
        for student in range(1, teacher):
            places = layer_places(teacher, student)
            assert len(set(places)) == student
            assert places[-1] == teacher - 1
            assert np.ptp(np.diff([-1, *places])) <= 1
    for student in (0, 12, 13):
        with pytest.raises(InputError, match="1 to 11"):
            layer_places(12, student)


@pytest.mark.parametrize("head", list(AUTO))
def test_a_student_of_any_head_answers_in_the_same_shapes(
    make_checkpoint: Factory, head: str
) -> None:
    kind = "classify" if head == "choice" else head
    folder = make_checkpoint("xlm-roberta", kind, num_hidden_layers=4)
    teacher = model_of(folder, head).eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = prepare_student(teacher, 2).eval()
    batch = batch_of(head)
    ours, theirs = student(**batch), teacher(**batch)
    for name in theirs:
        assert ours[name].shape == theirs[name].shape, name
    layers = student.base_model.encoder.layer
    assert len(layers) == student.config.num_hidden_layers == 2
    for number, place in enumerate((1, 3)):
        expected = teacher.base_model.encoder.layer[place].state_dict()
        for name, value in layers[number].state_dict().items():
            assert torch.equal(value, expected[name]), name
    distillation = Distillation(teacher, student)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    losses = []
    for _ in range(25):
        outputs = student(**batch)
        loss = outputs["loss"] + distillation(student, outputs, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert fall(losses)
    # The teacher has taught and learned nothing.
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_loss_is_the_divergence_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, 5, 4)) * 3
    temperature = 2.0

    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x / temperature)
        return np.asarray(e / e.sum(-1, keepdims=True))

    p, q = softmax(theirs), softmax(ours)
    expected = (p * np.log(p / q)).sum(-1).mean() * temperature**2
    sides = [{"logits": torch.from_numpy(x)} for x in (ours, theirs)]
    found = soft_loss(*sides, {}, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert soft_loss(sides[1], sides[1], {}, temperature).item() == pytest.approx(0, abs=1e-6)


def test_padding_and_unread_tokens_do_not_count() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 0]])
    spans = [{"start_logits": torch.randn(1, 4), "end_logits": torch.randn(1, 4)} for _ in range(2)]
    given = {"attention_mask": mask}
    first = soft_loss(spans[0], spans[1], given, 2.0)
    spans[0]["start_logits"][0, 3] += 9
    assert soft_loss(spans[0], spans[1], given, 2.0).item() == pytest.approx(first.item())
    tags = [{"logits": torch.randn(1, 4, 3)} for _ in range(2)]
    read = {"attention_mask": mask, "labels": torch.tensor([[-100, 2, 0, -100]])}
    first = soft_loss(tags[0], tags[1], read, 2.0)
    tags[0]["logits"][0, 0] += torch.tensor([9.0, 0.0, 0.0])
    assert soft_loss(tags[0], tags[1], read, 2.0).item() == pytest.approx(first.item())
    tags[0]["logits"][0, 1] += torch.tensor([9.0, 0.0, 0.0])
    assert soft_loss(tags[0], tags[1], read, 2.0).item() != pytest.approx(first.item())


def test_a_saved_student_is_an_ordinary_checkpoint(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    from xopt.compile.build import BuildOptions, build_bundle

    folder = make_checkpoint("bert", "tag", num_hidden_layers=4)
    student = prepare_student(model_of(folder, "tag"), 3)
    student.save_pretrained(tmp_path / "student")
    shutil.copy(folder / "tokenizer.json", tmp_path / "student")
    again = model_of(tmp_path / "student", "tag").eval()
    batch = batch_of("tag")
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, student.eval()(**batch).logits)
    options = BuildOptions(str(tmp_path / "student"), precision="fp32", out=str(tmp_path / "out"))
    bundle = build_bundle(options, record=False).bundle
    assert bundle.manifest["shape"]["layers"] == 3
