"""Two by two by two tiny cells: killed, resumed, and again on a local Ray cluster."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xopt.cli import app, sweep  # noqa: F401

Factory = Callable[..., Path]
SAMPLE = Path(__file__).parents[2] / "evaluate" / "data"
# What a clock decides: rates, and how long a manifest is that states seconds.
CLOCKED = ("tokens_per_s", "sentences_per_s", "size_mib")

EXPERIMENT = """
name = "tiny"
checkpoints = ["checkpoint"]
intermediates = ["none", "mnli"]
targets = ["panx", "tatoeba"]
precisions = ["fp32", "int8"]
data = "data"

[tune.intermediate]
max_steps = 6
evaluate_every = 6
batch = 4
lr = 0.003

[tune.target]
max_steps = 10
evaluate_every = 10
batch = 8
lr = 0.003

[build]
calibration_tokens = 512

[eval]
languages = ["sw", "de"]
limit = 6
resamples = 20
"""


@pytest.fixture(scope="module")
def place(
    make_checkpoint: Factory,
    tmp_path_factory: pytest.TempPathFactory,
    warm_cache: Callable[[Path], None],
) -> Path:
    """A folder with a checkpoint, data and an experiment."""
    folder = tmp_path_factory.mktemp("sweep")
    for name in ("here", "ray"):
        warm_cache(folder / f"cache-{name}")
    shutil.copytree(make_checkpoint("xlm-roberta", "embed"), folder / "checkpoint")
    data = folder / "data"
    for name in ("PAN-X.sw", "PAN-X.de", "tatoeba.deu", "tatoeba.swh"):
        shutil.copytree(SAMPLE / name, data / name)
    pairs = [
        {"premise": f"text {n}", "hypothesis": f"text {n + n % 3}", "label": n % 3}
        for n in range(24)
    ]
    tags = [{"tokens": ["Maria", "eats", str(n)], "ner_tags": [1, 0, 0]} for n in range(24)]
    for name, rows in (("mnli", pairs), ("PAN-X.en", tags)):
        (data / name).mkdir()
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (data / name / "train.jsonl").write_text(lines)
    (folder / "tiny.toml").write_text(EXPERIMENT)
    part = EXPERIMENT.replace('"none", "mnli"', '"mnli"').replace('"panx", "tatoeba"', '"panx"')
    (folder / "part.toml").write_text(part)
    return folder


# A sweep that is killed when its first cell is written, before anything else is.
KILLED = """
import os, signal
from xopt.cli import main
from xopt.tune.sweep import steps

write = steps.write_json

def write_and_end(path, document):
    write(path, document)
    if path.parent.name == "cells":
        os.kill(os.getpid(), signal.SIGKILL)

steps.write_json = write_and_end
main()
"""


def command(place: Path, *arguments: str, experiment: str = "tiny.toml") -> dict[str, Any]:
    """How a sweep is started: with a cache of its own, and one thread, as Ray gives a worker."""
    extra = {"XOPT_CACHE": str(place / f"cache-{arguments[1]}"), "OMP_NUM_THREADS": "1"}
    # Ray's workers wait for everything else on the machine, such as the other tests.
    extra["RAY_worker_niceness"] = "0"
    return {
        "args": [sys.executable, "-P", "-m", "xopt", "sweep", experiment, *arguments],
        "cwd": place,
        "env": os.environ | extra | {"COLUMNS": "200"},
        "text": True,
    }


def run(place: Path, *arguments: str, **options: str) -> Any:
    done = subprocess.run(**command(place, *arguments, **options), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def look(place: Path, *arguments: str) -> Any:
    """The same in this process, for what trains nothing: PyTorch is imported already."""
    given = command(place, *arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name in ("XOPT_CACHE", "COLUMNS"):
            patch.setenv(name, given["env"][name])
        done = CliRunner().invoke(app, given["args"][given["args"].index("sweep") :])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def here(place: Path) -> tuple[Path, dict[str, Any]]:
    """A sweep that was killed after its first cell, and then ran to its end."""
    folder = place / "here"
    given = command(place, "-o", "here", "--json")
    given["args"][1:4] = ["-P", "-c", KILLED]
    killed = subprocess.run(**given, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("cells/*.json")}
    assert len(kept) == 1
    before = journal(folder)
    finished = {json.loads(path.read_text())["fingerprint"] for path in kept}
    listed = look(place, "-o", "here", "--dry-run", "--json")["cells"]
    assert len(listed) == 8
    assert {cell["fingerprint"] for cell in listed if cell["finished"]} == finished
    document = run(place, "-o", "here", "--json")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    over = {line["step"] for line in before if line["event"] == "finished"}
    again = {line["step"] for line in journal(folder)[len(before) :]}
    # A tuned checkpoint may be looked at again for another cell; it is not trained again.
    assert not {name for name in over & again if "-on-" in name}
    return folder, document


def test_a_killed_sweep_goes_on_and_fills_every_cell(here: tuple[Path, dict[str, Any]]) -> None:
    folder, document = here
    assert len(list(folder.glob("cells/*.json"))) == 8
    assert document["open"] == document["failures"] == []
    assert document == json.loads((folder / "report.json").read_text())
    assert document["command"] == "xopt sweep tiny.toml --data data -o here"
    assert str(folder.parent) not in json.dumps(document)
    exact, reduced = document["tables"]
    assert (exact["precision"], reduced["precision"]) == ("fp32", "int8")
    for table in (exact, reduced):
        assert [row["intermediate"] for row in table["rows"]] == ["none", "mnli"]
        assert [row["difference"] for row in table["rows"]] == [False, True]
        for row in table["rows"]:
            assert list(row["targets"]) == ["panx", "tatoeba"]
            for cell in row["targets"].values():
                assert len(cell["languages"]) == 2
                assert cell["tokens_per_s"] > 0
                assert ("retention" in cell) == (table is reduced)
    # Tuning moved the encoder, or equal tables would say nothing.
    made = bundles_of(folder)
    assert len(made) == len(set(made.values())) == 8
    assert [len(points) for points in document["pareto"].values()] == [4, 4, 4]
    # Bundles and their stages are gone, the tuned checkpoints are there.
    assert not list(folder.glob("bundles/*")) + list(folder.glob("scratch/*"))
    assert len(list(folder.glob("tuned/*/model.safetensors"))) == 3
    for name in ("report.md", "pareto.png", "pareto.svg"):
        assert (folder / name).stat().st_size > 0


def test_a_finished_sweep_does_nothing_again(
    place: Path, here: tuple[Path, dict[str, Any]]
) -> None:
    before = journal(here[0])
    shown = look(place, "-o", "here")
    assert journal(here[0]) == before
    assert "report.json" in shown
    listed = look(place, "-o", "here", "--dry-run")
    assert "finished: 8; to do: 0 tunings" in listed


def test_the_tables_hold_what_the_cells_say(here: tuple[Path, dict[str, Any]]) -> None:
    folder, document = here
    cells = {}
    for path in folder.glob("cells/*.json"):
        found = json.loads(path.read_text())
        key = tuple(found["cell"][k] for k in ("precision", "intermediate", "target"))
        cells[key] = found
    for table in document["tables"]:
        for row in table["rows"]:
            for target, shown in row["targets"].items():
                cell = cells[table["precision"], row["intermediate"], target]
                base = cells[table["precision"], "none", target]
                expected = cell["mean"] - (base["mean"] if row["difference"] else 0)
                assert shown["mean"] == pytest.approx(expected)
                assert shown["absolute"] == pytest.approx(cell["mean"])
                scores = [entry["score"] for entry in cell["languages"].values()]
                assert cell["mean"] == pytest.approx(sum(scores) / len(scores))


def test_ray_gives_the_same_table(place: Path, here: tuple[Path, dict[str, Any]]) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install '.[ray]'")
    # Two trainings behind one another, and two cells beside one another.
    document = run(place, "-o", "ray", "--ray", "local", "--json", experiment="part.toml")
    for ours, theirs in zip(document["tables"], here[1]["tables"], strict=True):
        [row] = ours["rows"]
        [same] = [each for each in theirs["rows"] if each["intermediate"] == "mnli"]
        cells = row["targets"]["panx"], same["targets"]["panx"]
        assert cells[0]["absolute"] == cells[1]["absolute"]
        assert unclocked(cells[0]["languages"]) == unclocked(cells[1]["languages"])
    # Not the scores alone: every bundle was built from the very same weights.
    made = bundles_of(place / "ray")
    assert len(made) == 2
    assert made.items() <= bundles_of(here[0]).items()
    steps = [line["step"] for line in journal(place / "ray") if line["event"] == "finished"]
    assert len(steps) == len(set(steps)) == 3


def bundles_of(folder: Path) -> dict[str, str]:
    """Fingerprint of the bundle behind each cell: of its weights, recipe and engine."""
    cells = [json.loads(path.read_text()) for path in folder.glob("cells/*.json")]
    return {cell["fingerprint"]: cell["bundle"]["fingerprint"] for cell in cells}


def unclocked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: unclocked(entry) for key, entry in value.items() if key not in CLOCKED}
    return [unclocked(entry) for entry in value] if isinstance(value, list) else value
