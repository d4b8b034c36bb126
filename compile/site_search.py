"""Which sites stay in fp32 so that no language loses more than a floor.

Sites go back to fp32, those first whose error in the languages that lost too much is largest for
what they cost, until no language loses more than the floor on the rows of the search. The mix is
checked on rows that the search never saw. Where it does not hold there, those rows join the
search, and it is checked once more, on others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xopt.errors import BuildError
from xopt.evaluate.held import Loss, Losses, SearchRows, Side
from xopt.languages import language_name
from xopt.progress import Progress

__all__ = ["SiteSearch", "share_of"]

KEPT = "Nothing was built, and what was measured is kept."


class SiteSearch:
    """Which sites stay in fp32.

    Args:
        data: the rows of the search and of the checks.
        losses: asks both sides.
        side: sites in fp32 -> the side that has them; None is the fp32 reference.
        errors: site -> language -> error where that site alone is INT8.
        costs: site -> what fp32 costs there.
        progress: told the mixes.

    Attributes:
        seen: language -> the rows that the search has looked at.
        tried: every mix with what it lost, as JSON.
        blamed: site -> the languages on whose account it stays in fp32.
    """

    def __init__(
        self,
        data: SearchRows,
        losses: Losses,
        side: Callable[[Sequence[str] | None], Side],
        errors: Mapping[str, Mapping[str, float]],
        costs: Mapping[str, float],
        progress: Progress,
    ) -> None:
        self.data, self.losses, self.side = data, losses, side
        self.errors, self.costs, self.progress = errors, costs, progress
        self.seen = {code: list(rows) for code, rows in data.search.items()}
        self.tried: list[dict[str, Any]] = []
        self.blamed: dict[str, list[str]] = {}

    def run(self, floor: float) -> tuple[list[str], dict[str, Loss]]:
        """The sites, and what each language loses on rows that the search never saw.

        Args:
            floor: points that a language may lose.

        Raises:
            BuildError: no mix with INT8 in it holds.
        """
        sites: list[str] = []
        lost: dict[str, Loss] = {}
        for number, check in enumerate(self.data.checks):
            sites = self._grow(sites, floor)
            losses = self._judge(sites, check, f"check {number + 1}", floor)
            lost = {code: loss for code, loss in losses.items() if loss.beyond(floor)}
            if not lost:
                return sites, losses
            for code, rows in check.items():
                self.seen[code] += rows
        said = ", ".join(
            f"{language_name(code)} {loss.difference:+.2f}" for code, loss in lost.items()
        )
        raise BuildError(
            f"The mix that was found ({len(sites)} of {len(self.errors)} sites in fp32) does not "
            f"keep every language within {floor:g} points on rows that the search never saw: "
            f"{said}.",
            hint=f"{KEPT} Give a larger --max-drop or more rows (--data), or build it all the "
            f"same: xopt build CHECKPOINT{' --fp32-sites ' + ','.join(sites) if sites else ''}",
        )

    def _grow(self, sites: list[str], floor: float) -> list[str]:
        """The fewest further sites, in their order, with which no language loses too much."""
        beyond = self._beyond(sites, floor)
        if not beyond:
            return sites
        ranked = self._ranked(sites, beyond)
        # With all of them no INT8 would be left.
        most = len(ranked) - 1
        low, high = 0, min(1, most)
        while self._beyond(sites + ranked[:high], floor):
            if high == most:
                self._refuse(sites + ranked[:high], floor)
            low, high = high, min(2 * high, most)
        while high - low > 1:
            middle = (low + high) // 2
            if self._beyond(sites + ranked[:middle], floor):
                low = middle
            else:
                high = middle
        self.blamed |= dict.fromkeys(ranked[:high], beyond)
        return sites + ranked[:high]

    def _ranked(self, sites: Sequence[str], beyond: Sequence[str]) -> list[str]:
        """The other sites: those first that take most error from these languages for their cost."""
        shares = {site: share_of(site, self.errors, beyond) for site in self.errors}
        rest = [site for site in self.errors if site not in sites]
        return sorted(rest, key=lambda site: -shares[site] / self.costs[site])

    def _beyond(self, sites: Sequence[str], floor: float) -> list[str]:
        losses = self._judge(sites, self.seen, "search", floor)
        return [code for code, loss in losses.items() if loss.beyond(floor)]

    def _judge(
        self, sites: Sequence[str], rows: Mapping[str, list[Any]], where: str, floor: float
    ) -> dict[str, Loss]:
        self.progress.stage(f"{where}: {len(sites)} of {len(self.errors)} sites in fp32")
        losses = self.losses.of(self.side(None), self.side(sorted(sites)), rows)
        worst = min(losses, key=lambda code: losses[code].difference)
        self.tried.append(
            {
                "rows": where,
                "fp32_sites": sorted(sites),
                "beyond": [code for code, loss in losses.items() if loss.beyond(floor)],
                "mean": float(np.mean([loss.difference for loss in losses.values()])),
                "worst": {"language": worst, "difference": losses[worst].difference},
            }
        )
        return losses

    def _refuse(self, sites: Sequence[str], floor: float) -> None:
        worst = self.tried[-1]["worst"]
        raise BuildError(
            f"No mix with INT8 in it keeps every language within {floor:g} points: with "
            f"{len(sites)} of {len(self.errors)} sites in fp32 {language_name(worst['language'])} "
            f"still loses {-worst['difference']:.2f}.",
            hint=f"{KEPT} Build --precision fp32, or give a larger --max-drop.",
        )


def share_of(
    site: str, errors: Mapping[str, Mapping[str, float]], languages: Sequence[str]
) -> float:
    """Of the error of all sites, in the mean of these languages."""
    totals = {code: sum(found[code] for found in errors.values()) or 1.0 for code in languages}
    return float(np.mean([errors[site][code] / totals[code] for code in languages]))
