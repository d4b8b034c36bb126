"""A report as one HTML page that needs nothing else, or as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from xopt.errors import require
from xopt.host import tool_versions
from xopt.report.accuracy import (
    change_section,
    heat_section,
    language_section,
    pareto_section,
    summary,
)
from xopt.report.documents import Run
from xopt.report.figures import evals, heat_map
from xopt.report.markdown import markdown
from xopt.report.parts import Section
from xopt.report.sites import site_section
from xopt.report.speed import (
    command_section,
    profile_section,
    provenance_section,
    speed_section,
)
from xopt.report.sweeps import sweep_section

__all__ = ["MADE_BY", "build_sections", "render_html", "render_markdown"]

FOLDER = Path(__file__).parent
# At the end of every report, before the name and version of what made it.
MADE_BY = "Made by"
OF_EVALS: tuple[Callable[[Sequence[Run]], Section], ...] = (
    summary, pareto_section, heat_section, change_section, language_section,
)  # fmt: skip
OF_ALL = (
    sweep_section, speed_section, profile_section, site_section, provenance_section,
    command_section,
)  # fmt: skip


def build_sections(runs: Sequence[Run]) -> list[Section]:
    """Every section that these runs fill."""
    makers = (*OF_EVALS, *OF_ALL) if evals(runs) else (pareto_section, *OF_ALL)
    return [section for make in makers if (section := make(runs)).parts]


def render_html(runs: Sequence[Run], title: str) -> str:
    """One self-contained page.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    jinja2 = require("jinja2", extra="report", why="An HTML report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((FOLDER / "page.html.j2").read_text(encoding="utf-8"))
    page: str = template.render(
        title=title,
        lead=_lead(runs),
        sections=build_sections(runs),
        css=jinja2.utils.markupsafe.Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        js=jinja2.utils.markupsafe.Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
        footer=_footer(),
    )
    return page


def render_markdown(runs: Sequence[Run], title: str) -> str:
    """The same tables and facts; a plot is told by its description."""
    return markdown(title, _lead(runs), build_sections(runs), _footer())


def _lead(runs: Sequence[Run]) -> str:
    scored = evals(runs)
    if not scored:
        return "Speed and provenance; no evaluation is among these runs."
    tasks = list(dict.fromkeys(run.document["task"] for run in scored))
    languages = heat_map(runs).rows
    precisions = ", ".join(dict.fromkeys(run.document["precision"] for run in scored))
    return (
        f"What {precisions} cost and bought beside fp32, on {', '.join(tasks)}, in "
        f"{len(languages)} {'language' if len(languages) == 1 else 'languages'}."
    )


def _footer() -> str:
    versions = tool_versions("xopt", "matplotlib")
    return (
        f"{MADE_BY} " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    )
