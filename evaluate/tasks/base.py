"""What a task is to everything around it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from xopt.errors import DataError, InputError
from xopt.evaluate.data import Row, Source, rows_fingerprint
from xopt.evaluate.statistics import Scored
from xopt.languages import NAMES
from xopt.model.session import Session
from xopt.packing import Encoding
from xopt.registry import Registry
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

__all__ = [
    "NO_LABELS", "TASKS", "Examples", "Progress", "Task", "fitting_tasks", "is_absent", "rows_in",
]  # fmt: skip

# Keys of an example that are not asked: what is right, and what it is called.
ANSWERS = ("answers", "gold", "id", "label", "tags")

NO_LABELS = (
    "Some copies have no labels in their test split. Score another one (--split validation), take "
    "the hub's google/xtreme, or type: --data sample"
)

Progress = Callable[[float], None]
Examples = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Task(ABC):
    """One task of XTREME. Its fields are the conventions that move the score.

    Attributes:
        config: name of the data set's config, or its part before the language.
        split: of the data set.
        name: as the command line spells it.
        head: the head a checkpoint needs for it.
        metric: what the score is called.
        languages: XTREME's list.
    """

    config: str = ""
    split: str = "test"

    name: ClassVar[str]
    head: ClassVar[str]
    metric: ClassVar[str]
    languages: ClassVar[tuple[str, ...]]
    # The column that some copies of a test split leave empty; none where there is no such copy.
    gold: ClassVar[str] = ""

    @property
    def conventions(self) -> Mapping[str, Any]:
        """What moves the score, with the value in force."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def on(self, source: Source) -> Task:
        """This task as far as ``source`` allows it; BUCC is another one without its corpora."""
        return self

    def asked_of(self, spec: TextSpec) -> Task:
        """This task as a checkpoint that reads texts so is asked: with its own prompt, if any."""
        return self

    def check(self, head: Mapping[str, Any], what: str) -> None:
        """Refuse a head that cannot answer the task.

        Args:
            head: of a bundle's manifest.
            what: the bundle, as a message calls it.

        Raises:
            InputError: with what the task needs.
        """
        if head["kind"] != self.head:
            hint = f"Build one that was tuned for it: xopt build CHECKPOINT --task {self.name}"
            if self.head != "embed":
                hint += (
                    "\n  or, with no download, to see every step: xopt tune --intermediate none "
                    f"--target {self.name} --data sample -o tuned/{self.name}"
                )
            raise InputError(
                f"{what} has the head {head['kind']!r}; the task {self.name} needs {self.head!r}.",
                hint=hint,
            )

    def config_of(self, language: str) -> str:
        """The data set's config that holds a language."""
        return f"{self.config}.{language}"

    def probe(self) -> tuple[str, str]:
        """A (config, split) that every copy of the data holds."""
        return self.config_of("de"), self.split

    def available(self, source: Source) -> list[str]:
        """The languages ``source`` holds; of our sample also those that XTREME's task has not."""
        extra = [c for c in NAMES if c not in self.languages] if source.kind == "sample" else []
        return [
            code
            for code in (*self.languages, *extra)
            if source.has(self.config_of(code), self.split)
        ]

    @abstractmethod
    def load(self, source: Source, language: str) -> Examples:
        """The examples of a language, checked.

        Raises:
            DataError: a row breaks the schema; it is named.
        """

    def fingerprint(self, examples: Examples) -> str:
        """Of everything that the answers depend on."""
        return rows_fingerprint(examples)

    @abstractmethod
    def answer(self, session: Session, examples: Examples, progress: Progress) -> Sequence[Any]:
        """One comparable answer per example."""

    @abstractmethod
    def score(self, examples: Examples, answers: Sequence[Any]) -> Scored:
        """What the answers are worth."""

    def agree(self, one: Any, other: Any) -> bool:
        """Whether two answers to an example are the same."""
        return bool(one == other)

    def clusters(self, examples: Examples) -> list[int]:
        """A number for each example; examples that ask the same share one."""
        numbers: dict[str, int] = {}
        return [
            numbers.setdefault(
                repr([row[k] for k in sorted(row) if k not in ANSWERS]), len(numbers)
            )
            for row in examples
        ]

    def parts(self, examples: Examples, answers: Sequence[Any]) -> dict[str, Scored]:
        """Scores that stand beside the main one."""
        return {}

    def encodings(self, tokenizer: Tokenizer, examples: Examples) -> list[list[Encoding]]:
        """What an engine is given for each example: one encoding, or its windows or parts."""
        return [[one] for one in tokenizer.encode([self.text(row) for row in examples])]

    @abstractmethod
    def text(self, example: Mapping[str, Any]) -> str:
        """One text of an example, to measure latency on."""

    @abstractmethod
    def submission(self, language: str, examples: Examples, answers: Sequence[Any]) -> str:
        """XTREME's submission file of a language."""

    def check_submission(self, examples: Examples, language: str) -> None:  # noqa: B027
        """Refuse what a submission file cannot hold, before anything is answered.

        Raises:
            DataError: two examples would share one line.
        """

    # How submission files end.
    ending: ClassVar[str] = "tsv"


def is_absent(label: Any) -> bool:
    """Whether a label is one of the ways in which copies of a test split leave it out."""
    if isinstance(label, Mapping):
        return is_absent(label.get("text"))
    if isinstance(label, list):
        return all(is_absent(entry) for entry in label)
    return label in (None, "", "-", "-1", -1)


TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "xnli": "xopt.evaluate.tasks.xnli:Xnli",
        "pawsx": "xopt.evaluate.tasks.pawsx:PawsX",
        "udpos": "xopt.evaluate.tasks.udpos:UdPos",
        "panx": "xopt.evaluate.tasks.panx:PanX",
        "xquad": "xopt.evaluate.tasks.xquad:Xquad",
        "mlqa": "xopt.evaluate.tasks.mlqa:Mlqa",
        "tydiqa": "xopt.evaluate.tasks.tydiqa:TyDiQa",
        "bucc2018": "xopt.evaluate.tasks.bucc2018:Bucc2018",
        "tatoeba": "xopt.evaluate.tasks.tatoeba:Tatoeba",
    },
)


def fitting_tasks(head: Mapping[str, Any]) -> list[str]:
    """The tasks that a head answers, by kind and labels; an embedding's Tatoeba comes first.

    Of its two tasks that is the one with data at hand for more languages.

    Args:
        head: of a bundle's manifest.
    """
    found = []
    for name in sorted(TASKS, key=lambda name: name != "tatoeba"):
        try:
            TASKS.resolve(name)().check(head, name)
        except InputError:
            continue
        found.append(name)
    return found


def rows_in(
    language: str, rows: Iterable[Row], code_of: Callable[[Row], str], where: str, hint: str
) -> list[tuple[int, Row]]:
    """The rows of one language, of those of all, each with its number in the file.

    Args:
        language: its code.
        rows: in the order of the file.
        code_of: the code of a row's language; raises ValueError with what is wrong about it.
        where: what a message calls the rows.
        hint: what to do about a row of no language.

    Raises:
        DataError: a row is of no known language; left out, it would be in no score.
        InputError: no row is of this one.
    """
    chosen = []
    for number, row in enumerate(rows, 1):
        try:
            found = code_of(row)
        except ValueError as error:
            raise DataError(f"{where}, row {number}: {error}.", hint=hint) from error
        if found == language:
            chosen.append((number, row))
    if not chosen:
        raise InputError(f"{where} holds no row in {language!r}.")
    return chosen
