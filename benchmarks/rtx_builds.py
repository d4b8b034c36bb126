"""Build e5-small and XLM-R's shapes for TensorRT-RTX, anywhere, and write down what was built.

    python benchmarks/rtx_builds.py e5-small xlm-r-base xlm-r-large
    python benchmarks/rtx_builds.py e5-small xlm-r-base --precision int8 --sm 75

Weights of XLM-R's shapes are random: the time, the size and the kernels of an engine do not depend
on them. Results go to docs/results/rtx_builds.json and .md, shape by shape, so that one can be
measured again alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
from pathlib import Path
from typing import Any

from shapes import SHAPES, random_checkpoint

from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.sources import PIP_E5
from xopt.hashing import cache_folder
from xopt.host import host_facts, tool_versions

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SM = "86,89,120"
# Dequantised multilingual-e5-small; the others are shapes with random weights.
E5 = "e5-small"
NAMES = (E5, *SHAPES)
# Ranges of random weights mean nothing; this many tokens only make them exist.
CALIBRATION_TOKENS = 512


def measure(shape: str, precision: str, sm: str) -> dict[str, Any]:
    """Build one engine and throw it away."""
    checkpoint = PIP_E5
    if shape != E5:
        checkpoint = str(random_checkpoint(shape, cache_folder() / "benchmarks" / "rtx" / shape))
    place = Path(tempfile.mkdtemp(prefix="xopt-rtx-builds-"))
    try:
        options = BuildOptions(
            checkpoint,
            precision=precision,
            target="tensorrt-rtx",
            sm=sm,
            calibration_tokens=CALIBRATION_TOKENS,
            out=str(place / "bundle"),
        )
        bundle = build_bundle(options, record=False).bundle
    finally:
        shutil.rmtree(place, ignore_errors=True)
    engine = bundle.manifest["engine"]
    facts = {
        name: engine[name]
        for name in ("build_s", "engine_mib", "attention", "padded_lengths", "profiles", "layers")
    }
    first = next(iter(engine["layer_kernels"].values()))
    return {"shape": shape, "precision": precision, "sm": sm, **facts, "first_layer": first}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| shape | precision | SM | build s | engine MiB | kernels | INT8 products | "
        "fused attention | alpha 1.0 |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        found = row["layers"]
        int8 = row["attention"] == "int8"
        fused = found["int8_fused_attentions"] if int8 else found["fused_attentions"]
        lines.append(
            f"| {row['shape']} | {row['precision']} | {row['sm']} | {row['build_s']:.1f} | "
            f"{row['engine_mib']:.0f} | {found['kernels']} | {found['int8_products']} of "
            f"{found['products']} | {fused} of {found['attentions']} ({row['attention']}) | "
            f"{found['products_with_alpha_one']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the shapes that are named, keep the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", choices=[*NAMES, []], default=["xlm-r-base"])
    parser.add_argument("--precision", default="int8,fp16")
    parser.add_argument("--sm", default=SM, help="one engine for these; 75 by itself")
    given = parser.parse_args()
    path = RESULTS / "rtx_builds.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    rows, peak = before.get("builds", []), before.get("largest_builder_rss_mib", 0)
    for shape in given.shapes:
        for precision in given.precision.split(","):
            row = measure(shape, precision, given.sm)
            key = ("shape", "precision", "sm")
            rows = [r for r in rows if [r[k] for k in key] != [row[k] for k in key]] + [row]
            print(json.dumps({k: row[k] for k in (*key, "build_s", "engine_mib", "layers")}))
            rows.sort(key=lambda r: (NAMES.index(r["shape"]), r["precision"], r["sm"]))
            peak = max(peak, round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))
            document = {
                "builds": rows,
                "largest_builder_rss_mib": peak,
                "host": host_facts(),
                "tools": tool_versions("xopt", "tensorrt-rtx", "onnx"),
            }
            path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
            text = (
                "# TensorRT-RTX engines of e5-small and of XLM-R's shapes\n\n"
                f"Built by `python benchmarks/rtx_builds.py` with "
                f"tensorrt-rtx {document['tools'].get('tensorrt-rtx')}, without a GPU, on "
                f"{document['host']['cores']} cores of {document['host']['cpu']} that other work "
                "shared. e5-small is dequantised multilingual-e5-small, the others' weights are "
                "random. One engine for all the SMs of its line; kernels are those that one run "
                "launches, head included. Nothing was run on a GPU: speed is not measured.\n\n"
                f"{table(rows)}\n"
            )
            path.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
