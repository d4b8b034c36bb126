"""Chunks of rows answered by one model in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from xopt.bulk.job import Numbered, Work
from xopt.bulk.writing import Format
from xopt.host import int8_instructions
from xopt.model.asking import Asking
from xopt.model.core import Model
from xopt.model.texts import Row

__all__ = ["rounding_of", "work_here"]


def work_here(
    model: Model, asking: Asking, form: Format, *, batch_tokens: int | None = None
) -> Work:
    """Work of an open model, one chunk read and encoded ahead."""

    def work(
        chunks: Iterator[Numbered], heard: Callable[[float], None]
    ) -> Iterator[tuple[int, int, bytes]]:
        numbers: deque[int] = deque()

        def groups() -> Iterator[list[Row]]:
            for number, rows in chunks:
                numbers.append(number)
                yield rows

        for rows, results in model.chunks(
            groups(),
            asking,
            batch_tokens=batch_tokens,
            progress=lambda rows, share: heard(share * len(rows)),
        ):
            yield numbers.popleft(), len(rows), form.part(rows, results)

    return work


def rounding_of(model: Model) -> dict[str, str]:
    """What of this machine the last digits of a model's answers depend on.

    Parts of two kinds are no whole. INT8 layers of our own have the same bits everywhere; those of
    OpenVINO, and fp32 sums, depend on the instruction set.
    """
    form = model.session.engine.form
    return {"attention": form} | ({"instruction set": int8_instructions()} if form else {})
