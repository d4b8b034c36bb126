"""Which sites are in bf16 or fp32 so that no language loses more than a floor.

Sites go to bf16 where that is faster than fp32, and to fp32, those first that take most error from
the languages that lost too much for what they cost, until no language loses more than the floor on
the rows of the search. The mix is checked on rows that the search never saw. Where it does not hold
there, those rows join the search, and it is checked once more, on others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xopt.errors import BuildError
from xopt.evaluate.held import Loss, Losses, SearchRows, Side
from xopt.languages import language_name
from xopt.progress import Progress

__all__ = ["PRECISIONS", "Mix", "SiteSearch", "named_sites", "share_of", "site_words", "sites_in"]

# Site -> its precision where that is not INT8.
Mix = Mapping[str, str]
# Site -> precision -> language -> error; of fp32 it is 0 and left out.
Errors = Mapping[str, Mapping[str, Mapping[str, float]]]
# Above INT8, each closer to fp32 than the one before.
PRECISIONS = ("bf16", "fp32")
KEPT = "Nothing was built; what was measured is kept, and so is a bundle that stood there."


class SiteSearch:
    """Which sites are not in INT8.

    Args:
        data: the rows of the search and of the checks.
        losses: asks both sides.
        side: a mix -> the side that has it; None is the fp32 reference.
        errors: site -> precision -> language -> error where that site alone is in INT8, or bf16.
        costs: site -> precision -> what it costs there beyond INT8; what is left out is not tried.
        progress: told the mixes.
        command: words -> the build without a floor that ends in them, as it is typed.
        exact: the build in fp32, as it is typed.

    Attributes:
        seen: language -> the rows that the search has looked at.
        tried: every mix with what it lost, as JSON.
        blamed: site -> the languages on whose account it is not in INT8.
    """

    def __init__(
        self,
        data: SearchRows,
        losses: Losses,
        side: Callable[[Mix | None], Side],
        errors: Errors,
        costs: Mapping[str, Mapping[str, float]],
        progress: Progress,
        *,
        command: Callable[..., str],
        exact: str,
    ) -> None:
        self.data, self.losses, self.side = data, losses, side
        self.errors, self.costs, self.progress = errors, costs, progress
        self.command, self.exact = command, exact
        self.seen = {code: list(rows) for code, rows in data.search.items()}
        self.tried: list[dict[str, Any]] = []
        self.blamed: dict[str, list[str]] = {}

    def run(self, floor: float) -> tuple[dict[str, str], dict[str, Loss]]:
        """The mix, and what each language loses on rows that the search never saw.

        Args:
            floor: points that a language may lose.

        Raises:
            BuildError: no mix with INT8 in it holds.
        """
        mix: dict[str, str] = {}
        lost: dict[str, Loss] = {}
        for number, check in enumerate(self.data.checks):
            mix = self._grow(mix, floor)
            losses = self._judge(mix, check, f"check {number + 1}", floor)
            lost = {code: loss for code, loss in losses.items() if loss.beyond(floor)}
            if not lost:
                return mix, losses
            for code, rows in check.items():
                self.seen[code] += rows
        said = ", ".join(
            f"{language_name(code)} {loss.difference:+.2f}" for code, loss in lost.items()
        )
        raise BuildError(
            f"The mix that was found ({self._counted(mix)}) does not "
            f"keep every language within {floor:g} points on rows that the search never saw: "
            f"{said}.",
            hint=f"{KEPT} Give a larger --max-drop or more rows (--data), or build it all the "
            f"same: {self.command(*site_words(mix))}",
        )

    def _grow(self, mix: dict[str, str], floor: float) -> dict[str, str]:
        """The mix with the fewest further steps, in their order, so that all languages hold."""
        beyond = self._beyond(mix, floor)
        if not beyond:
            return mix
        steps = self._steps(mix, beyond)
        most = len(steps)
        low, high = 0, min(1, most)
        while self._beyond(mix | dict(steps[:high]), floor):
            if high == most:
                self._refuse(mix | dict(steps), floor)
            low, high = high, min(2 * high, most)
        while high - low > 1:
            middle = (low + high) // 2
            if self._beyond(mix | dict(steps[:middle]), floor):
                low = middle
            else:
                high = middle
        self.blamed |= {site: beyond for site, _ in steps[:high]}
        return mix | dict(steps[:high])

    def _steps(self, mix: Mix, beyond: Sequence[str]) -> list[tuple[str, str]]:
        """Sites and their next precision: those first that take most error for their cost.

        The INT8 site that would go last has none: with it no INT8 would be left.
        """
        found: list[tuple[float, str, str]] = []
        for site, costs in self.costs.items():
            path = ["int8", *(how for how in PRECISIONS if how in costs)]
            path = path[path.index(mix.get(site, "int8")) :]

            def worth(now: str, then: str, site: str = site) -> float:
                left = self._share(site, now, beyond) - self._share(site, then, beyond)
                return left / (self.costs[site][then] - self.costs[site].get(now, 0.0))

            if len(path) == 3 and worth(*path[:2]) <= worth(*path[1:]):
                # Both steps at once are worth more than the first.
                path.pop(1)
            found += [(worth(now, then), site, then) for now, then in pairwise(path)]
        found.sort(key=lambda step: -step[0])
        whole = [site for site in self.costs if site not in mix]
        firsts = list(dict.fromkeys(site for _, site, _ in found if site in whole))
        return [(site, how) for _, site, how in found if not firsts or site != firsts[-1]]

    def _share(self, site: str, how: str, languages: Sequence[str]) -> float:
        return share_of(site, self.errors, languages, how)

    def _counted(self, mix: Mix) -> str:
        """As ``2 of 49 sites in bf16, 1 in fp32``."""
        counts = {how: list(mix.values()).count(how) for how in PRECISIONS}
        used = [how for how in PRECISIONS if counts[how]] or ["fp32"]
        first, *more = (f"in {how}" for how in used)
        rest = [f"{counts[used[1]]} {said}" for said in more]
        return ", ".join([f"{counts[used[0]]} of {len(self.costs)} sites {first}", *rest])

    def _beyond(self, mix: Mix, floor: float) -> list[str]:
        losses = self._judge(mix, self.seen, "search", floor)
        return [code for code, loss in losses.items() if loss.beyond(floor)]

    def _judge(
        self, mix: Mix, rows: Mapping[str, list[Any]], where: str, floor: float
    ) -> dict[str, Loss]:
        self.progress.stage(f"{where}: {self._counted(mix)}")
        losses = self.losses.of(self.side(None), self.side(dict(sorted(mix.items()))), rows)
        # A language whose loss may be chance does not hide one that is beyond the floor.
        worst = min(losses, key=lambda c: (not losses[c].beyond(floor), losses[c].difference))
        self.tried.append(
            {
                "rows": where,
                **{f"{how}_sites": sites_in(mix, how) for how in PRECISIONS},
                "beyond": [code for code, loss in losses.items() if loss.beyond(floor)],
                "mean": float(np.mean([loss.difference for loss in losses.values()])),
                "worst": {"language": worst, "difference": losses[worst].difference},
            }
        )
        return losses

    def _refuse(self, mix: Mix, floor: float) -> None:
        worst = self.tried[-1]["worst"]
        raise BuildError(
            f"No mix with INT8 in it keeps every language within {floor:g} points: with "
            f"{self._counted(mix)} {language_name(worst['language'])} "
            f"still loses {-worst['difference']:.2f}.",
            hint=f"{KEPT} Give a larger --max-drop, or build it in fp32: {self.exact}",
        )


def sites_in(mix: Mix, how: str) -> list[str]:
    """The sites of a mix that are in a precision, sorted."""
    return sorted(site for site, precision in mix.items() if precision == how)


def named_sites(mix: Mix, how: str) -> str | None:
    """As ``--fp32-sites`` and ``--bf16-sites`` take them."""
    return ",".join(sites_in(mix, how)) or None


def site_words(mix: Mix) -> list[str]:
    """The options that build a mix by hand."""
    named = {f"--{how}-sites": named_sites(mix, how) for how in PRECISIONS}
    return [word for option, sites in named.items() if sites for word in (option, sites)]


def share_of(site: str, errors: Errors, languages: Sequence[str], how: str = "int8") -> float:
    """Of the error of INT8 at all sites, in the mean of these languages; 0 in fp32."""
    if how == "fp32":
        return 0.0
    totals = {c: sum(found["int8"][c] for found in errors.values()) or 1.0 for c in languages}
    return float(np.mean([errors[site][how][code] / totals[code] for code in languages]))
