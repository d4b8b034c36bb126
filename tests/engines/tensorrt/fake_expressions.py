"""Sizes that become known with a batch, as ``tensorrt.plugin`` has them; for ``fake_plugin``."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import Any

Sizes = dict[str, int]


class SymIntExpr:
    """An integer that becomes known with the sizes of a batch; numbers stand to its right only."""

    def __init__(self, value: Any = None) -> None:
        if not isinstance(value, int | SymIntExpr | types.FunctionType | None):
            raise TypeError(f"not an integer expression: {value!r}")
        if isinstance(value, SymIntExpr):
            value = value.evaluate
        constant = value
        self.evaluate: Callable[[Sizes], int] = (
            value if callable(value) else (lambda sizes: int(constant))
        )

    def _op(self, other: Any, operation: Callable[[int, int], int]) -> Any:
        if not isinstance(other, int | SymIntExpr):
            raise TypeError(f"no operation with {other!r}")
        right = SymIntExpr(other)
        return type(self)(lambda sizes: operation(self.evaluate(sizes), right.evaluate(sizes)))

    def __add__(self, other: Any) -> Any:
        return self._op(other, lambda a, b: a + b)

    def __sub__(self, other: Any) -> Any:
        return self._op(other, lambda a, b: a - b)

    def __mul__(self, other: Any) -> Any:
        return self._op(other, lambda a, b: a * b)

    def __floordiv__(self, other: Any) -> Any:
        return self._op(other, lambda a, b: a // b)

    def __bool__(self) -> bool:
        raise RuntimeError("the value of an expression is not known while the engine is built")

    def __index__(self) -> int:
        raise TypeError("an expression is no number")

    __int__ = __index__

    # Both give an expression again, also for use as a condition.
    def __eq__(self, other: object) -> Any:
        return self._op(other, lambda a, b: int(a == b))

    def __lt__(self, other: Any) -> Any:
        return self._op(other, lambda a, b: int(a < b))

    __hash__ = object.__hash__


class SymInt32(SymIntExpr):
    def __call__(self) -> tuple[str, Callable[[Sizes], int]]:
        return ("INT32", self.evaluate)


class SymInt16(SymIntExpr):
    pass


class ShapeExpr(SymInt32):
    pass


class _Exprs:
    of: type = SymIntExpr

    def __init__(self, length: int) -> None:
        self.items: list[Any] = [None] * length

    @classmethod
    def from_tuple(cls, values: Iterable[Any]) -> Any:
        values = list(values)
        made = cls(len(values))
        made.items = [v if isinstance(v, cls.of) else cls.of(v) for v in values]
        return made

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    def __setitem__(self, index: int, value: Any) -> None:
        if index >= len(self.items):
            raise IndexError(index)
        self.items[index] = value if isinstance(value, self.of) else self.of(value)

    def __len__(self) -> int:
        return len(self.items)


class SymIntExprs(_Exprs):
    of = SymIntExpr


class ShapeExprs(_Exprs):
    of = ShapeExpr


class TensorDesc:
    def __init__(self, shape_expr: ShapeExprs, dtype: str) -> None:
        self.shape_expr, self.dtype = shape_expr, dtype


def from_shape_expr(shape_expr: Any, dtype: str) -> TensorDesc:
    shape = ShapeExprs.from_tuple(shape_expr) if isinstance(shape_expr, tuple) else shape_expr
    return TensorDesc(shape, dtype)


def cdiv(first: Any, second: Any) -> Any:
    if isinstance(first, int) and isinstance(second, int):
        raise ValueError("both arguments are numbers")
    left = ShapeExpr(first) if isinstance(first, int) else first
    return left._op(second, lambda a, b: -(-a // b))
