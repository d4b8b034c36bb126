"""Accuracy against throughput: the choices that no other choice beats in both, and their plot."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xopt.errors import require
from xopt.evaluate.pareto import pareto_front
from xopt.publishing import write_whole
from xopt.tune.sweep.table import FIXED, together

__all__ = ["AVERAGE", "pareto_points", "plot_pareto"]

Point = dict[str, Any]
AVERAGE = "average"
PANELS_A_ROW = 3


def pareto_points(results: Iterable[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """By target, and for all targets together where a choice has them all.

    Returns:
        ``{target: [{"choice", "score", "tokens_per_s", "front"}]}``; a choice is everything of a
        cell but its seed and target, the score a mean over seeds in points, the throughput that of
        the engine alone over all texts of the cells. A choice of unknown throughput is left out.
    """
    by_choice: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    keys = (*FIXED, "intermediate")
    for result in results:
        by_choice.setdefault(tuple(result["cell"][k] for k in keys), []).append(result)
    everything = [r for group in by_choice.values() for r in group]
    targets = list(dict.fromkeys(r["cell"]["target"] for r in everything))
    found: dict[str, list[Point]] = {}
    points: list[Point]
    for target in [*targets, AVERAGE] if len(targets) > 1 else targets:
        points = []
        for choice, group in by_choice.items():
            cells = [r for r in group if target in (AVERAGE, r["cell"]["target"])]
            # In one order: a set's own would change the last digit of a mean from run to run.
            has = [t for t in targets if any(r["cell"]["target"] == t for r in cells)]
            speed = together(cells, "tokens", "tokens_per_s")
            if cells and speed is not None and (target != AVERAGE or len(has) == len(targets)):
                scores = [
                    _mean([r["mean"] for r in cells if r["cell"]["target"] == t]) for t in has
                ]
                points.append(
                    {
                        "choice": dict(zip(keys, choice, strict=True)),
                        "score": _mean(scores),
                        "tokens_per_s": speed,
                    }
                )
        if points:
            best = pareto_front([(p["tokens_per_s"], p["score"]) for p in points])
            found[target] = [p | {"front": n in best} for n, p in enumerate(points)]
    return found


def plot_pareto(points: Mapping[str, Sequence[Point]], place: Path, *, metric: str = "") -> None:
    """Draw one panel for each target and one for their mean; the ending decides the format.

    Args:
        points: of :func:`pareto_points`.
        place: a ``.png`` or ``.svg`` file.
        metric: of the vertical axis.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", extra="tune", why="The plot of a sweep")
    from matplotlib.figure import Figure

    count = len(points)
    wide = min(count, PANELS_A_ROW)
    high = -(-count // wide)
    figure = Figure(figsize=(4.6 * wide, 4.0 * high), layout="constrained")
    panels = figure.subplots(high, wide, squeeze=False).flatten()
    named: dict[str, Any] = {}
    for panel in panels[len(points) :]:
        panel.set_visible(False)
    for panel, (target, found) in zip(panels, points.items(), strict=False):
        panel.set_title(target)
        panel.set_xlabel("tokens/s, engine alone")
        panel.set_ylabel(metric or "score")
        panel.grid(alpha=0.3)
        for point in found:
            color = named.setdefault(point["choice"]["intermediate"], f"C{len(named) % 10}")
            panel.plot(
                point["tokens_per_s"], point["score"], _marker(point["choice"]), color=color,
                markersize=8 if point["front"] else 5, alpha=1.0 if point["front"] else 0.5,
            )  # fmt: skip
        front = sorted((p["tokens_per_s"], p["score"]) for p in found if p["front"])
        panel.plot(*zip(*front, strict=True), "--", color="0.5", linewidth=1, zorder=0)
    figure.legend(handles=_legend(points, named), loc="outside lower center", ncols=4, fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=place.suffix.removeprefix("."), dpi=150)
    write_whole(place, drawn.getvalue())


def _marker(choice: Mapping[str, Any]) -> str:
    """A shape for each precision, another for students and QAT."""
    if choice["student_layers"]:
        return "^" if choice["precision"] == "fp32" else "v"
    if choice["qat"]:
        return "P" if choice["precision"] == "fp32" else "X"
    return "o" if choice["precision"] == "fp32" else "s"


def _legend(points: Mapping[str, Sequence[Point]], named: Mapping[str, Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    shapes: dict[str, str] = {}
    for found in points.values():
        for point in found:
            choice = point["choice"]
            words = [choice["precision"], choice["engine"]]
            words += [f"{choice['student_layers']} layers"] if choice["student_layers"] else []
            words += ["QAT"] if choice["qat"] else []
            shapes.setdefault(" ".join(words), _marker(choice))
    handles = [Line2D([], [], color=c, marker="o", ls="", label=n) for n, c in named.items()]
    return handles + [
        Line2D([], [], color="0.4", marker=m, ls="", label=n) for n, m in shapes.items()
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
