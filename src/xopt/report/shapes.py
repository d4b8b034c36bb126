"""What the documents of a report must hold: everything that a page reads of them."""

from __future__ import annotations

from typing import Any

from xopt.forms import Exactly, Maybe, Table

__all__ = ["SHAPES"]

INTERVAL = Exactly(2, float)
HOST = {
    "cpu": str, "cores": int, "flags?": [str], "system?": str, "python?": str, "tools?": Table(Any),
}  # fmt: skip
SPEED = {
    "sentences_per_s": float,
    "tokens_per_s": float,
    "latency_ms?": Table(float),
    # From 0 to 100.
    "length_percentiles?": Exactly(101, float),
    "padding_share?": Maybe(float),
}
LANGUAGE = {
    "n": int, "reference": float, "candidate": float, "difference": float,
    "ci95": INTERVAL, "agreement?": float,
}  # fmt: skip
MEAN = {"reference": float, "candidate": float, "difference": float, "ci95?": INTERVAL}
EVAL = {
    "task": str,
    "precision": str,
    "metric": str,
    "intervals?": str,
    "predicted?": Maybe(bool),
    "data": {"label": str, "kind": str, "fingerprints?": Table(str)},
    "languages": Table(LANGUAGE),
    "mean": MEAN,
    "parts?": Table(MEAN),
    "worst": {"language": str, "difference?": float},
    "throughput": SPEED,
    "reference_throughput": SPEED,
    "in_turn?": {"faster": float, "rounds": [float], "tokens": int},
    "host?": HOST,
    "command?": Maybe(str),
}
TIMED = {"median_ms": float, "samples_ms": [float], "tokens_per_s": float}
PROFILE = {"wall_ms": float, "shares": Table(float), "layers": Table(Table(float))}
BENCH = {
    "cases": Table(Table(TIMED)),
    "bundles": Any,
    "host": HOST,
    "profile?": Maybe(Table(Table(PROFILE))),
    "speed_notes?": [str],
    "command?": Maybe(str),
}
SCORE = Maybe(
    {
        "mean?": Maybe(float),
        "ci95?": Maybe(INTERVAL),
        "worst?": Maybe({"language": str, "value": float}),
    }
)
SWEPT = {
    "checkpoint": str,
    "precision": str,
    "engine": str,
    "student_layers?": Maybe(int),
    "qat?": Maybe(bool),
    "rows": [
        {"intermediate": str, "difference": bool, "targets": Table(SCORE), "average?": SCORE},
    ],
}
CHOICE = {
    "checkpoint": str, "precision": str, "engine": str, "student_layers?": Maybe(int),
    "qat?": Maybe(bool), "intermediate": str,
}  # fmt: skip
SWEEP = {
    "sweep": str,
    "targets": [str],
    "tables": [SWEPT],
    "metrics?": Table(str),
    "open?": [str],
    "left_out?": [str],
    "failures?": [{"step": str, "message": str}],
    "pareto": Table([{"choice": CHOICE, "score": float, "tokens_per_s": float, "front?": bool}]),
    "host?": HOST,
    "command?": Maybe(str),
}
SEARCH = {
    "task": str,
    "metric": str,
    "max_drop": float,
    "kept": [{"site": str, "languages": [str], "precision?": str}],
    "sites": Table({"cost": float, "errors": Table(float)}),
}
# Kind of document -> its form.
SHAPES: dict[str, Any] = {"eval": EVAL, "bench": BENCH, "sweep": SWEEP, "search": SEARCH}
