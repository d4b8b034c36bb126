"""What ``xopt build`` says of a bundle at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xopt.artifacts import Bundle
from xopt.card import render_card
from xopt.cli import build_show, calibrate
from xopt.compile.build import BuildResult
from xopt.compile.options import BuildOptions
from xopt.engines.cuda import RUNS_ON
from xopt.errors import UnsupportedError
from xopt.evaluate.tasks import fitting_tasks

Bundles = Callable[..., Bundle]
TASKS = {"nli": "xnli", "pair": "pawsx", "pos": "udpos", "ner": "panx", "qa": "xquad"}


def last_line(
    bundle: Bundle,
    asked: str | None,
    capsys: pytest.CaptureFixture[str],
    data: str | None = None,
) -> str:
    build_show.show(BuildResult(bundle, 1.0, cached=False), asked, data)
    return " ".join(capsys.readouterr().out.split("Next: ")[1].split())


@pytest.mark.parametrize(("name", "task"), TASKS.items())
def test_next_comes_a_task_that_the_head_answers(
    bundles: Bundles, name: str, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundles(name)
    assert last_line(bundle, None, capsys) == f"xopt eval {bundle.folder} --task {task}"
    assert last_line(bundle, "mlqa", capsys).endswith("--task mlqa")
    assert f"`xopt eval BUNDLE --task {task}`" in (bundle.folder / "card.md").read_text()


def test_a_trimmed_bundle_is_asked_the_languages_that_it_kept(
    bundles: Bundles, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that the task has, of which XNLI spells none as Tatoeba does."""
    bundle: Any = bundles("nli")
    facts = {
        "languages": ["de", "ja", "sw"], "asked": 0, "kept": 9, "of": 10, "corpus": "some",
        "counted_texts": 1, "held_out": {},
    }  # fmt: skip
    bundle = replace(bundle, manifest=bundle.manifest | {"vocabulary": facts})
    assert last_line(bundle, "xnli", capsys).endswith("--task xnli --languages de,sw")
    assert last_line(bundle, "tatoeba", capsys).endswith("--task tatoeba --languages de,ja,sw")


def test_the_next_command_can_be_typed_whatever_the_folders_are_called(
    bundles: Bundles, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle: Any = replace(bundles("nli"), folder=Path("my bundles/nli"))
    assert last_line(bundle, "xnli", capsys) == "xopt eval 'my bundles/nli' --task xnli"
    # On the rows whose floor it holds, and not those that another source has.
    said = last_line(bundle, "xnli", capsys, "my data")
    assert said == "xopt eval 'my bundles/nli' --task xnli --data 'my data'"
    options = BuildOptions(checkpoint="my model", target="cuda", normalize="none", seed=3)
    said = calibrate._next(options, Path("my ranges"))
    assert said == (
        "xopt build 'my model' --target cuda --calibration 'my ranges' --normalize none"
    )


def test_a_head_of_no_task_is_asked_a_text(
    bundles: Bundles, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle: Any = bundles("nli")
    head = bundle.head | {"labels": ["good", "bad", "so so"]}
    bundle = replace(bundle, manifest=bundle.manifest | {"head": head})
    assert last_line(bundle, None, capsys) == f'xopt run {bundle.folder} "TEXT"'
    assert "No task of XTREME" in render_card(bundle.manifest | {"tasks": fitting_tasks(head)}, [])


def test_what_runs_on_a_gpu_says_so_where_there_is_none(
    bundles: Bundles, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gpu(name: str) -> None:
        raise UnsupportedError("none")

    bundle: Any = bundles("nli")
    engine = {"runs_on_text": RUNS_ON}
    bundle = replace(bundle, manifest=bundle.manifest | {"target": "cuda", "engine": engine})
    monkeypatch.setattr(build_show, "open_device", no_gpu)
    build_show.show(BuildResult(bundle, 1.0, cached=False), None)
    said = " ".join(capsys.readouterr().out.split())
    assert f" runs on {RUNS_ON} " in said
    assert f"Next, on {RUNS_ON}: xopt eval " in said
    monkeypatch.setattr(build_show, "open_device", lambda name: None)
    assert last_line(bundle, None, capsys).startswith("xopt eval ")
