"""Does it matter which languages calibrate? English against many, at an equal budget of tokens.

    python benchmarks/calibration.py --data DIR --out docs/results/calibration.json

Three corpora calibrate the same encoder, each with three seeds: XNLI's English validation
sentences, the same sentences in all 15 languages of XNLI, and xopt's own 40 languages, which is the
default. Then every bundle answers Tatoeba, no sentence of which calibrates. Told, for each language
and each script: what INT8 costs accuracy, and the mean 1 - cosine of its sentences to fp32's. What
the first two differ in is the language alone.

Accuracies are means over the seeds; 95 % intervals are a paired bootstrap's over sentences.
`--plot JSON` draws a finished run as SVG beside it.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.overview import scripts_of
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.sources import PIP_E5
from xopt.evaluate.data import Source, open_source
from xopt.evaluate.statistics import mean_difference, mean_of, paired_bootstrap
from xopt.evaluate.tasks.conventions import make_task
from xopt.evaluate.tasks.tatoeba import nearest
from xopt.evaluate.tasks.xnli import Xnli
from xopt.host import host_facts, tool_versions
from xopt.languages import language_name
from xopt.model.session import Session

CORPORA = {"english": "English", "xnli": "XNLI's 15 languages", "own": "xopt's 40 languages"}
# Language -> embeddings of its sentences, and of the English ones.
Embedded = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


def write_corpora(source: Source, folder: Path) -> dict[str, str | None]:
    """Each corpus as ``xopt build --calibration`` takes it."""
    task = make_task("xnli", {"split": "validation"})
    assert isinstance(task, Xnli)
    for name, languages in (("english", ["en"]), ("xnli", task.available(source))):
        (folder / name).mkdir()
        for code in languages:
            rows = task.load(source, code)
            pairs = ((row["first"], row["second"]) for row in rows)
            texts = dict.fromkeys(" ".join(t.split()) for t in itertools.chain(*pairs))
            (folder / name / f"{code}.txt").write_text("".join(f"{t}\n" for t in texts if t))
    return {"english": str(folder / "english"), "xnli": str(folder / "xnli"), "own": None}


def embed(bundle: Any, texts: Mapping[str, tuple[list[str], list[str]]]) -> Embedded:
    """Of every language's sentences and of their translations, at length 1."""
    found = {}
    with Session.open(bundle) as session:
        for code, (foreign, english) in texts.items():
            both = [*foreign, *english]
            rows = session.rows(len(both), lambda t, a, b, both=both: t.encode(both[a:b]))
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            found[code] = rows[: len(foreign)], rows[len(foreign) :]
    return found


def hits(embedded: Embedded) -> dict[str, NDArray[np.float64]]:
    """For each English query whether it finds its translation."""
    return {
        code: (nearest(english, foreign) == np.arange(len(english))).astype(np.float64)
        for code, (foreign, english) in embedded.items()
    }


def distances(embedded: Embedded, exact: Embedded) -> dict[str, float]:
    """Language -> mean 1 - cosine of its sentences to fp32's."""
    return {
        code: float(np.mean(1 - (rows.astype(np.float64) * exact[code][0]).sum(axis=1)))
        for code, (rows, _) in embedded.items()
    }


def compare(
    reference: Mapping[str, NDArray[np.float64]], candidate: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """Candidate less reference in points, for each language and in the mean."""
    drawn = {
        code: paired_bootstrap(mean_of(right), mean_of(candidate[code]))
        for code, right in reference.items()
    }
    languages = {
        code: {"difference": found.seen, "ci95": found.interval()} for code, found in drawn.items()
    }
    mean = mean_difference(list(drawn.values()))
    worst = min(languages, key=lambda code: languages[code]["difference"])
    return {
        "mean": mean.seen, "ci95": mean.interval(), "worst": worst,
        "languages": languages,
    }  # fmt: skip


def by_script(scripts: Mapping[str, str], values: Mapping[str, float]) -> dict[str, float]:
    """The mean over the languages of each script."""
    groups: dict[str, list[float]] = defaultdict(list)
    for code, value in values.items():
        groups[scripts[code]].append(value)
    return {script: float(np.mean(found)) for script, found in sorted(groups.items())}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source = open_source(options.data, probe=("", ""))
    task = make_task("tatoeba", {})
    texts = {}
    for code in task.available(source):
        rows = task.load(source, code)[: options.rows]
        texts[code] = [r["source_sentence"] for r in rows], [r["target_sentence"] for r in rows]
    scripts = {code: next(iter(scripts_of(foreign))) for code, (foreign, _) in texts.items()}

    def answer(name: str, precision: str, calibration: str | None, seed: int) -> Embedded:
        built = build_bundle(
            BuildOptions(
                options.checkpoint, precision=precision, calibration=calibration, seed=seed,
                calibration_tokens=options.calibration_tokens, out=str(folder / "bundles" / name),
            ),
            record=False,
        )  # fmt: skip
        return embed(built.bundle, texts)

    corpora = write_corpora(source, folder)
    exact = answer("fp32", "fp32", None, 0)
    reference = hits(exact)
    document: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "checkpoint": options.checkpoint,
        "host": host_facts(), "tools": tool_versions("xopt", "openvino", "torch"),
        "calibration_tokens": options.calibration_tokens, "seeds": options.seeds,
        "sentences": {code: len(rows) for code, rows in reference.items()},
        "fp32": {code: 100 * float(right.mean()) for code, right in reference.items()},
        "scripts": scripts, "corpora": {},
    }  # fmt: skip
    means = {}
    for name, calibration in corpora.items():
        right, apart = [], []
        for seed in range(options.seeds):
            found = answer(f"{name}-{seed}", "int8", calibration, seed)
            right.append(hits(found))
            apart.append(distances(found, exact))
            print(name, seed, f"{np.mean(list(apart[-1].values())):.6f}", flush=True)
        means[name] = {c: np.mean([r[c] for r in right], axis=0) for c in reference}
        distance = {code: [a[code] for a in apart] for code in reference}
        middle = {code: float(np.mean(values)) for code, values in distance.items()}
        document["corpora"][name] = {
            "against_fp32": compare(reference, means[name]),
            "distance": distance, "distance_mean": float(np.mean(list(middle.values()))),
            "distance_by_script": by_script(scripts, middle),
            "seeds": [
                100 * float(np.mean([r[c].mean() - reference[c].mean() for c in reference]))
                for r in right
            ],
        }  # fmt: skip
        if name != "english":
            found = compare(means["english"], means[name])
            lost = {code: value["difference"] for code, value in found["languages"].items()}
            document["corpora"][name] |= {
                "against_english": found, "against_english_by_script": by_script(scripts, lost),
            }  # fmt: skip
        options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return document


def panels(left: Any, right: Any, corpora: Mapping[str, Any]) -> None:
    """Distances to fp32 by language, and what many languages gain over English."""
    means = {
        name: {code: np.mean(values) for code, values in found["distance"].items()}
        for name, found in corpora.items()
    }
    order = sorted(means["english"], key=lambda code: means["english"][code])
    colors = dict(zip(CORPORA, ("#888888", "#1f77b4", "#d95f02"), strict=True))
    for name, values in means.items():
        color = colors[name]
        left.plot(
            [values[c] for c in order], range(len(order)), "o", color=color, label=CORPORA[name]
        )
        if name == "english":
            continue
        shift = 0.15 if name == "own" else -0.15
        for height, code in enumerate(order):
            found = corpora[name]["against_english"]["languages"][code]
            right.plot(found["ci95"], [height + shift] * 2, color=color, linewidth=1.4)
            right.plot(found["difference"], height + shift, "o", color=color, markersize=3)
    left.set_yticks(range(len(order)), [language_name(code) for code in order])
    left.legend(fontsize=8)
    right.axvline(0, color="#888888", linewidth=1)


def save(figure: Any, path: Path) -> None:
    """As SVG with the same bytes every time."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "calibration"}):
        figure.savefig(path, metadata={"Date": None})


def draw(document: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.9 + 0.24 * len(document["sentences"])), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    panels(left, right, document["corpora"])
    left.set_xlabel("mean 1 − cosine to fp32")
    right.set_xlabel("Tatoeba, points more than with English")
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="a folder in the layout of google/xtreme")
    parser.add_argument("--checkpoint", default=PIP_E5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--calibration-tokens", type=int, default=16_384)
    parser.add_argument("--rows", type=int, help="of each language; all by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path, help="draw this JSON and measure nothing")
    options = parser.parse_args()
    if options.plot:
        draw(json.loads(options.plot.read_text()), options.plot.with_suffix(".svg"))
        return
    if not (options.data and options.out):
        parser.error("--data and --out are needed")
    with tempfile.TemporaryDirectory() as scratch:
        draw(measure(options, Path(scratch)), options.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
