"""Rows that a search may look at, rows that it is checked on, and what a language lost on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xopt.artifacts import Bundle, fingerprint
from xopt.errors import DataError, InputError
from xopt.evaluate.data import open_source
from xopt.evaluate.lengths import evenly
from xopt.evaluate.resume import Partial
from xopt.evaluate.retention import choose_languages
from xopt.evaluate.splits import settle_split
from xopt.evaluate.statistics import loses_more, paired_bootstrap
from xopt.evaluate.tasks.base import TASKS, Examples, Task
from xopt.host import host_facts
from xopt.languages import to_iso1
from xopt.model.session import Session
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = ["Loss", "Losses", "SearchRows", "Side", "divide"]

# Tokens of the search's rows, so that a mix is scored in half a minute on two cores (e5-small).
SEARCH_TOKENS = 400_000
# Of a language at most, and however long they are, at least.
MOST, LEAST = 1_000, 50
# Tokens whose lengths are looked at.
SOME_TOKENS = 8_192
CHECKS = 2


@dataclass(frozen=True)
class Loss:
    """What a candidate lost in one language.

    Attributes:
        rows: answered by both sides.
        reference, candidate: scores in points.
        ci95: of the difference; a paired bootstrap over distinct rows.
    """

    rows: int
    reference: float
    candidate: float
    ci95: tuple[float, float]

    @property
    def difference(self) -> float:
        """In points; below 0 where something was lost."""
        return self.candidate - self.reference

    def beyond(self, floor: float) -> bool:
        """Whether more than ``floor`` points are lost, and not by chance: the interval is below 0.

        Of few rows a single answer that turns over is worth more than half a point.
        """
        return loses_more(self.difference, floor) and self.ci95[1] < 0

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"difference": self.difference, "ci95": list(self.ci95)}


def divide(task: Task, examples: Examples, most: int, seed: int = 0) -> list[list[Any]]:
    """The rows of the search and those of each check; rows that ask the same stay together.

    Which rows these are depends on their number alone, so languages whose rows translate each
    other are divided alike.

    Args:
        task: whose rows they are.
        examples: of a language.
        most: distinct rows of each part; the search takes no more than half of all.
        seed: of the order.

    Raises:
        DataError: there are too few distinct rows.
    """
    clusters = np.asarray(task.clusters(examples))
    _, first, index = np.unique(clusters, return_index=True, return_inverse=True)
    if len(first) < 4 * CHECKS:
        raise DataError(
            f"{task.name}: a search needs {4 * CHECKS} distinct rows of each language; one has "
            f"{len(first)}.",
            hint="Give more rows with --data DIR, or leave --max-drop out.",
        )
    keys = np.random.default_rng(seed).random(len(examples))
    place = np.argsort(np.argsort(keys[first], kind="stable"), kind="stable")[index]
    searched = min(most, len(first) // 2)
    each = min(most, (len(first) - searched) // CHECKS)
    bounds = searched + each * np.arange(CHECKS + 1)
    part = np.searchsorted(bounds, place, side="right")
    return [
        [row for row, own in zip(examples, part, strict=True) if own == number]
        for number in range(CHECKS + 1)
    ]


def _is_of(code: str, languages: Sequence[str]) -> bool:
    """Whether texts of a language are of one of these: ``zh-Hant`` of ``zh``, not the other way."""
    return any(f"{to_iso1(code)}-".startswith(f"{one}-") for one in languages)


@dataclass(frozen=True)
class SearchRows:
    """What a search asks.

    Attributes:
        task: on the split that is read.
        label: of the data.
        said: why that split, if it is not the one that XTREME scores.
        search: language -> rows that the search may look at.
        checks: for each check, language -> rows that it may not.
    """

    task: Task
    label: str
    said: str
    search: dict[str, list[Any]]
    checks: list[dict[str, list[Any]]]

    @classmethod
    def read(
        cls,
        name: str,
        folder: str | None,
        head: Mapping[str, Any],
        what: str,
        tokenizer: Tokenizer,
        languages: Sequence[str] = (),
    ) -> SearchRows:
        """Read and divide the rows of every language of the data, or of those of ``languages``.

        Args:
            name: of the task.
            folder: as ``xopt eval --data`` takes it.
            head: that will answer, as a manifest has it.
            what: answers, as a message calls it.
            tokenizer: of it.
            languages: that a trimmed vocabulary is for, as codes; texts of others lose their
                pieces, which no precision brings back. All by default.

        Raises:
            XoptError: the data or the head does not fit the task, or the data holds none of the
                languages.
        """
        task: Task = TASKS.resolve(name)()
        task.check(head, what)
        source = open_source(folder, probe=task.probe())
        task, said = settle_split(task, source)
        task = task.on(source).asked_of(tokenizer.spec)
        if task.name == "bucc2018":
            raise InputError(
                "bucc2018 mines whole corpora, which cannot be divided for a search.",
                hint="Search with --task tatoeba.",
            )
        held = choose_languages(task, source, None)
        chosen = [code for code in held if not languages or _is_of(code, languages)]
        if not chosen:
            raise InputError(
                f"{task.name} in {source.label} holds none of the languages that the vocabulary is "
                f"trimmed to ({', '.join(languages)}), so there is nothing to search on.",
                hint=f"It holds {', '.join(held)}: name one of them with --languages too, give "
                "another folder with --data, or leave --max-drop out.",
            )
        rows = {code: task.load(source, code) for code in chosen}
        some = [evenly(examples, 32) for examples in rows.values()]
        items = [item for examples in some for item in task.encodings(tokenizer, examples)]
        each = sum(len(encoding) for item in items for encoding in item) / len(items)
        most = int(np.clip(SEARCH_TOKENS / len(rows) / each, LEAST, MOST))
        parts = {code: divide(task, examples, most) for code, examples in rows.items()}
        search, *checks = (
            {code: divided[number] for code, divided in parts.items()}
            for number in range(CHECKS + 1)
        )
        return cls(task, source.label, said, search, checks)

    def encodings(self, tokenizer: Tokenizer, tokens: int) -> dict[str, list[Encoding]]:
        """Language -> what an engine is given for rows of the search, so many tokens in all."""
        found: dict[str, list[Encoding]] = {}
        for code, rows in self.search.items():
            left, taken = tokens / len(self.search), list[Encoding]()
            items = self.task.encodings(tokenizer, evenly(rows, 200))
            for encoding in (one for item in items for one in item):
                if taken and len(encoding) > left:
                    break
                taken.append(encoding)
                left -= len(encoding)
            found[code] = taken
        return found

    def lengths(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Tokens of some rows of every language."""
        found = self.encodings(tokenizer, SOME_TOKENS)
        return tuple(len(encoding) for items in found.values() for encoding in items)


@dataclass(frozen=True)
class Side:
    """A bundle that need not be there before it is asked.

    Attributes:
        key: what its answers depend on.
        make: builds or finds it.
    """

    key: str
    make: Callable[[], Bundle]


class Losses:
    """Asks both sides, keeps every answer, and says what was lost.

    Args:
        task: what is asked.
        partial: answers of a run before are taken from here.
        progress: told the share of a side's languages.
    """

    def __init__(
        self, task: Task, partial: Partial, progress: Callable[[float], None] = lambda share: None
    ) -> None:
        self.task, self.partial, self.progress = task, partial, progress

    def of(
        self, reference: Side, candidate: Side, rows: Mapping[str, Sequence[Any]]
    ) -> dict[str, Loss]:
        """Language -> what ``candidate`` lost on its rows."""
        answers = [self._answers(side, rows) for side in (reference, candidate)]
        found = {}
        for code, examples in rows.items():
            a, b = (self.task.score(examples, given[code]) for given in answers)
            difference = paired_bootstrap(a, b, clusters=self.task.clusters(examples))
            found[code] = Loss(len(examples), a.value, b.value, difference.interval())
        return found

    def _answers(self, side: Side, rows: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        host = host_facts()
        keys = {
            code: fingerprint(
                "answers", side.key, self.task.name, dict(self.task.conventions),
                self.task.fingerprint(examples), host,
            )
            for code, examples in rows.items()
        }  # fmt: skip
        known = {code: self.partial.get(key) for code, key in keys.items()}
        missing = [code for code, found in known.items() if found is None]
        if missing:
            with Session.open(side.make(), lengths=False) as session:
                for number, code in enumerate(missing):
                    given = self.task.answer(session, rows[code], lambda share: None)
                    known[code] = {"answers": list(given)}
                    self.partial.put(keys[code], known[code] or {})
                    self.progress((number + 1) / len(missing))
        return {code: (found or {})["answers"] for code, found in known.items()}
