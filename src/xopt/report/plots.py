"""Plots as inline SVG, drawn by matplotlib in the page's own colors and letters.

A color of :data:`INKS` becomes a variable of the page's style sheet, so that a plot follows it into
the dark, and text stays text. Each plot has a title and a description for a screen reader.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from xopt.errors import require
from xopt.languages import names_of
from xopt.report.figures import Point

__all__ = ["draw_differences", "draw_lengths", "draw_points", "draw_shares", "draw_sites"]

# What is drawn -> the variable that stands for it in the page.
INKS = {
    "#010203": "var(--ink)",
    "#040506": "var(--faint)",
    "#070809": "var(--accent)",
    "#0a0b0c": "var(--bad)",
    "#0d0e0f": "var(--good)",
}
INK, FAINT, ACCENT, BAD, GOOD = INKS
WIDTH = 6.4
# Points that the axis of scores spans at least: a hundredth must not look like a cliff.
LEAST = 1.0
# Letters of a name beside an axis.
LONGEST = 40


def draw_points(points: Sequence[Point], title: str, metric: str) -> str:
    """Accuracy against throughput, the frontier as a line."""
    figure, axes = _figure(3.6)
    for number, point in enumerate(points, 1):
        color = FAINT if point.reference else ACCENT
        marker = "s" if point.reference else "o"
        axes.plot(
            point.tokens_per_s, point.score, marker, color=color, markersize=9 if point.front else 6
        )
        axes.annotate(
            str(number), (point.tokens_per_s, point.score), xytext=(7, 5), fontsize=9,
            textcoords="offset points", color=INK,
        )  # fmt: skip
    front = sorted((p.tokens_per_s, p.score) for p in points if p.front)
    axes.plot(*zip(*front, strict=True), "--", color=FAINT, linewidth=1, zorder=0)
    axes.set_xlabel("tokens/s, engine alone")
    axes.set_ylabel(metric)
    scores = [p.score for p in points]
    middle, half = (max(scores) + min(scores)) / 2, max(LEAST, max(scores) - min(scores)) * 0.62
    axes.set_ylim(middle - half, middle + half)
    axes.set_xlim(0, 1.12 * max(p.tokens_per_s for p in points))
    axes.ticklabel_format(useOffset=False, style="plain")
    said = "; ".join(
        f"{n}: {p.name}, {p.tokens_per_s:,.0f} tokens/s, {p.score:.2f}"
        + (", on the frontier" if p.front else "")
        for n, p in enumerate(points, 1)
    )
    return _svg(figure, f"Accuracy against throughput: {title}", said)


def draw_differences(languages: Mapping[str, Any], title: str) -> str:
    """The difference to fp32 of every language with its 95 % interval, the worst at the top."""
    rows = sorted(languages.items(), key=lambda item: item[1]["difference"], reverse=True)
    names = names_of(languages)
    figure, axes = _figure(0.9 + 0.22 * len(rows))
    for height, (_, found) in enumerate(rows):
        low, high = found["ci95"]
        color = BAD if high < 0 else GOOD if low > 0 else INK
        axes.plot([low, high], [height, height], color=color, linewidth=1.6)
        axes.plot(found["difference"], height, "o", color=color, markersize=4)
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.set_yticks(range(len(rows)), [_short(names[code]) for code, _ in rows])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("difference to fp32, points, with its 95 % interval")
    said = "; ".join(
        f"{names[c]} {f['difference']:+.2f} [{f['ci95'][0]:+.2f}, {f['ci95'][1]:+.2f}]"
        for c, f in reversed(rows)
    )
    return _svg(figure, f"What each language lost: {title}", said)


def draw_lengths(percentiles: Sequence[float], title: str) -> str:
    """How many texts have at most so many tokens; from the 101 percentiles of their lengths."""
    figure, axes = _figure(2.4)
    axes.step(percentiles, range(101), where="post", color=ACCENT)
    axes.set_xlabel("tokens of a text")
    axes.set_ylabel("% of the texts, at most")
    marks = {p: percentiles[p] for p in (5, 50, 95, 100)}
    said = "; ".join(f"{p} % have at most {n:.0f} tokens" for p, n in marks.items())
    return _svg(figure, f"Lengths of the texts: {title}", said)


def draw_shares(shares: Mapping[str, float], title: str) -> str:
    """One bar cut into named shares of the time, the largest first."""
    rows = sorted(shares.items(), key=lambda item: item[1])
    figure, axes = _figure(0.9 + 0.25 * len(rows))
    axes.barh(range(len(rows)), [100 * value for _, value in rows], color=ACCENT)
    axes.set_yticks(range(len(rows)), [_short(name) for name, _ in rows])
    axes.set_xlabel("% of the engine's time")
    said = "; ".join(f"{name} {value:.1%}" for name, value in reversed(rows))
    return _svg(figure, f"Where the time goes: {title}", said)


def draw_sites(errors: Mapping[str, float], title: str, metric: str) -> str:
    """A bar for the error of each site, the largest at the top."""
    rows = sorted(errors.items(), key=lambda item: item[1])
    figure, axes = _figure(0.9 + 0.22 * len(rows))
    axes.barh(range(len(rows)), [value for _, value in rows], color=ACCENT)
    axes.set_yticks(range(len(rows)), [_short(site) for site, _ in rows])
    axes.set_xlabel(metric)
    said = "; ".join(f"{site} {value:.2e}" for site, value in reversed(rows))
    return _svg(figure, f"Error of INT8 at one site: {title}", said)


def _short(name: str) -> str:
    """A name beside an axis, which leaves room for what is drawn."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _figure(height: float) -> tuple[Any, Any]:
    require("matplotlib", extra="report", why="The plots of a report")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=FAINT, alpha=0.3, linewidth=0.6)
    return figure, axes


def _svg(figure: Any, title: str, description: str) -> str:
    """The figure as an ``<svg>`` element that can stand beside others in one page."""
    import matplotlib
    from matplotlib.text import Text

    # A name from outside may hold dollar signs, which are no formula here.
    for drawn in figure.findobj(Text):
        drawn.set_parse_math(False)
    stream = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Text stays text: the browser has letters that the font here lacks.
        warnings.simplefilter("ignore")
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # Its style sheet would hold for the whole page, which has the same rule for plots.
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    # Plots of one page must not share names; a title is unlike any other on the page.
    prefix = f"p{zlib.crc32(title.encode()):x}-"
    text = re.sub(r"<[^>]*>", lambda tag: _in_page(tag[0], prefix), text)
    head = (
        f'<svg class="plot" role="img" aria-labelledby="{prefix}t {prefix}d" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" '
    )
    box = re.search(r'viewBox="[^"]+"', text)
    assert box is not None
    body = text[text.index(">", text.index("<svg")) + 1 :]
    words = (
        f'<title id="{prefix}t">{escape(title)}</title>'
        f'<desc id="{prefix}d">{escape(description)}</desc>'
    )
    return f"{head}{box[0]}>{words}{body}"


def _in_page(tag: str, prefix: str) -> str:
    """A tag with the page's colors and letters, and names that begin with ``prefix``."""
    for color, name in INKS.items():
        tag = tag.replace(color, name)
    tag = re.sub(r'\bid="', f'id="{prefix}', tag)
    tag = re.sub(r'(href="|url\()#', rf"\1#{prefix}", tag)
    return re.sub(r"font-family: [^;\"]*", "font-family: inherit", tag)
