"""Retry delays as arithmetic: ``"1000 * (1 + retried)"``, in milliseconds, as the seeds' system writes them.

The text is read once, when it is given, into a tree of known nodes. There is no name but ``retried``, nothing is called
but the functions below, and all numbers are floats: nothing grows beyond them, and nothing else can be reached.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from django_workflow.core.exceptions import InvalidOptionError

#: What an expression gives at most, however large the number.
LONGEST_DELAY: Final = timedelta(days=365)
LONGEST_TEXT: Final = 200
LARGEST_NUMBER: Final = 1e15
#: For so many retries an expression is tried out when it is given.
TRIED_OUT: Final = 25

OPERATORS: Final[dict[type, Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
SIGNS: Final[dict[type, Callable[[float], float]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
#: By name: the function, and how many arguments it takes, at least and at most.
FUNCTIONS: Final[dict[str, tuple[Callable[..., float], int, int]]] = {
    "pow": (math.pow, 2, 2),
    "sqrt": (math.sqrt, 1, 1),
    "exp": (math.exp, 1, 1),
    "abs": (abs, 1, 1),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "round": (round, 1, 1),
    "min": (min, 2, 20),
    "max": (max, 2, 20),
}
FORMS: Final = (
    f'It is arithmetic in milliseconds over "retried" (0 at the first retry), with + - * / and '
    f'{", ".join(FUNCTIONS)}, as in "1000 * (1 + retried)".'
)

Term = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class DelayExpression:
    """A retry delay that is computed from how often was retried.

    Raises:
        InvalidOptionError: the text is no such expression, or gives no delay.
    """

    text: str
    _term: Term = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the text, and try it out."""
        # The way a frozen dataclass sets its own fields while it is being made.
        object.__setattr__(self, "_term", _read(self.text))
        for retried in range(TRIED_OUT):
            self._try_out(retried)

    def _try_out(self, retried: int) -> None:
        try:
            milliseconds = float(self._term(float(retried)))
        except OverflowError:
            milliseconds = math.inf
        except (ValueError, ArithmeticError) as error:
            raise _refusal(self.text, f"{error} where retried is {retried}") from error
        if math.isnan(milliseconds) or milliseconds < 0:
            raise _refusal(self.text, f"it gives {milliseconds:g} where retried is {retried}")
        if not retried and milliseconds > LONGEST_DELAY.total_seconds() * 1000:
            raise _refusal(self.text, "the first retry would wait for more than a year")

    def delay(self, retried: int) -> timedelta:
        """Return the delay after the attempt before which was retried so often; a year at most."""
        try:
            milliseconds = float(self._term(float(retried)))
        except (ValueError, ArithmeticError):
            # Beyond what was tried out: that many retries are far apart anyway.
            return LONGEST_DELAY
        if not 0 <= milliseconds < LONGEST_DELAY.total_seconds() * 1000:
            return timedelta(0) if milliseconds < 0 else LONGEST_DELAY
        return timedelta(milliseconds=milliseconds)


def is_expression(text: str) -> bool:
    """Tell whether a text is meant as an expression rather than as a duration."""
    return re.search(r"[a-z_]\s*\(|retried|[-+*/%]", text) is not None


def _refusal(text: str, why: str) -> InvalidOptionError:
    shown = text if len(text) <= 80 else f"{text[:79]}…"
    return InvalidOptionError(f'retry_delay="{shown}" cannot be computed: {why}. {FORMS}')


def _read(text: str) -> Term:
    if len(text) > LONGEST_TEXT:
        raise _refusal(text, f"it has more than {LONGEST_TEXT} characters")
    try:
        return _Reader(text).term(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        if isinstance(error, InvalidOptionError):
            raise
        raise _refusal(text, "it is no arithmetic") from error


class _Reader:
    """Turns the tree of a text into functions, node by node."""

    def __init__(self, text: str) -> None:
        self._text = text

    def term(self, node: ast.expr) -> Term:
        if isinstance(node, ast.Constant):
            return self._number(node.value)
        if isinstance(node, ast.Name) and node.id == "retried":
            return lambda retried: retried
        if isinstance(node, ast.UnaryOp) and type(node.op) in SIGNS:
            sign, inner = SIGNS[type(node.op)], self.term(node.operand)
            return lambda retried: sign(inner(retried))
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            apply = OPERATORS[type(node.op)]
            left, right = self.term(node.left), self.term(node.right)
            return lambda retried: apply(left(retried), right(retried))
        if isinstance(node, ast.Call):
            return self._call(node)
        raise _refusal(self._text, f'"{ast.unparse(node)}" is not allowed')

    def _number(self, value: object) -> Term:
        if isinstance(value, bool) or not isinstance(value, int | float) or value > LARGEST_NUMBER:
            raise _refusal(self._text, "it holds something that is no number up to 1e15")
        number = float(value)
        return lambda _: number

    def _call(self, node: ast.Call) -> Term:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name is None or name not in FUNCTIONS or node.keywords:
            raise _refusal(self._text, f'"{ast.unparse(node)}" is not allowed')
        function, least, most = FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            raise _refusal(self._text, f"{name}() takes another number of arguments")
        inner = [self.term(argument) for argument in node.args]
        return lambda retried: function(*(each(retried) for each in inner))
