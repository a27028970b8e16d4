"""The expressions of playbook files: arithmetic and conditions on named features, for a batch of environments at once.

The grammar is a small part of Python's. Python's own parser reads the text into a tree, and each node of the tree is
looked up in the tables of this module: what is in none of them is refused. Nothing is ever evaluated as Python, so a
file from a stranger can do nothing but calculate, and how long and how deep an expression may be is bounded.

Every expression is a number or a condition, and has one value in each environment, one for each zone, or one for each
case. Arrays are `(N, 1)`, `(N, zones)` and `(N, cases)`, so they combine as NumPy does; constants are Python's own
numbers, so 32-bit features stay 32-bit. An expression knows a bound of its size, from those of the features and of the
constants: none can overflow, so none is ever infinite or no number.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from soc_env.errors import unknown_name

MAX_LENGTH, MAX_DEPTH = 1_000, 50  # of an expression: characters, and nodes within nodes
MAX_NUMBER = 1e6  # of a constant
MAX_SIZE = 1e30  # of what is calculated: 32-bit numbers end at 3e38
ANYWHERE, ENVIRONMENT, ZONE, CASES = "a constant", "one number", "a number for each zone", "a number for each case"
NUMBER, CONDITION = "number", "condition"


class ExpressionError(ValueError):
    """What is wrong with an expression.

    Attributes:
        line: Of the expression's text, from 0.
    """

    def __init__(self, message: str, line: int = 0):
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Expression:
    """An expression that may be calculated.

    Attributes:
        compute: What is calculated on -> its value: an array, or Python's number where it is a constant.
        scope: ANYWHERE, ENVIRONMENT, ZONE or CASES.
        kind: NUMBER or CONDITION.
        size: No value is larger, with or without its sign.
    """

    compute: Callable[[Any], Any]
    scope: str
    kind: str = NUMBER
    size: float = 1.0

    @property
    def is_constant(self) -> bool:
        """Whether it has the same value everywhere."""
        return self.scope == ANYWHERE


def constant(value: float | bool) -> Expression:
    """An expression that is always `value`."""
    kind = CONDITION if isinstance(value, bool) else NUMBER
    return Expression(lambda frame: value, ANYWHERE, kind, abs(float(value)))


def quotient(dividend: Any, divisor: Any) -> Any:
    """`dividend / divisor`; 0 where the divisor is 0, and cut off at MAX_NUMBER."""
    is_none = divisor == 0
    share = np.where(is_none, 0, dividend / np.where(is_none, 1, divisor))
    return np.clip(share, -MAX_NUMBER, MAX_NUMBER)


def rank(values: np.ndarray) -> np.ndarray:
    """Place by size, from 0 for the largest; of equal ones the first comes first."""
    return np.argsort(np.argsort(-values, 1, kind="stable"), 1, kind="stable").astype(np.float32)


def logistic(value: Any) -> Any:
    """1 / (1 + e^-value), without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * np.clip(value, -100, 100))


# ---- operators: what they do, and how large their result can be
BINARY: dict[type, tuple[str, Callable[..., Any], Callable[[float, float], float]]] = {
    ast.Add: ("+", operator.add, lambda a, b: a + b),
    ast.Sub: ("-", operator.sub, lambda a, b: a + b),
    ast.Mult: ("*", operator.mul, lambda a, b: a * b),
    ast.Div: ("/", quotient, lambda a, b: MAX_NUMBER),
}
COMPARISONS: dict[type, tuple[str, Callable[..., Any]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
}
LOGICAL: dict[type, Callable[..., Any]] = {ast.And: np.logical_and, ast.Or: np.logical_or}


@dataclass(frozen=True)
class Function:
    """A function of expressions.

    Attributes:
        shape: How it is written.
        meaning: What it gives.
        compute: Arrays -> array.
        num: Least and greatest number of arguments.
        takes, gives: NUMBER or CONDITION.
        is_aggregate: Whether it makes one value of all zones or cases.
        size: Sizes of the arguments -> size.
    """

    shape: str
    meaning: str
    compute: Callable[..., Any]
    num: tuple[int, int] = (1, 1)
    takes: str = NUMBER
    gives: str = NUMBER
    is_aggregate: bool = False
    size: Callable[..., float] = lambda *sizes: max(sizes)


def _over(function: Callable[..., Any]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: function(values, axis=1, keepdims=True)


def _many(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(*values: Any) -> Any:
        found = values[0]
        for value in values[1:]:
            found = function(found, value)
        return found

    return compute


MOST = 64  # zones, cases and arguments: fewer than that
FUNCTIONS: dict[str, tuple[Function, ...]] = {
    "abs": (Function("abs(x)", "x without its sign", abs),),
    "clip": (Function("clip(x, low, high)", "x, but at least low and at most high", np.clip, (3, 3)),),
    "logistic": (Function("logistic(x)", "the probability of log-odds x", logistic, size=lambda a: 1.0),),
    "min": (
        Function("min(x, y, ...)", "the smallest", _many(np.minimum), (2, 8)),
        Function("min(x)", "the smallest of all zones or cases", _over(np.min), is_aggregate=True),
    ),
    "max": (
        Function("max(x, y, ...)", "the largest", _many(np.maximum), (2, 8)),
        Function("max(x)", "the largest of all zones or cases", _over(np.max), is_aggregate=True),
    ),
    "sum": (
        Function("sum(x)", "of all zones or cases", _over(np.sum), is_aggregate=True, size=lambda a: MOST * a),
    ),
    "mean": (Function("mean(x)", "of all zones or cases", _over(np.mean), is_aggregate=True),),
    "count": (
        Function("count(c)", "in how many zones or cases c holds", lambda c: _over(np.sum)(c).astype(np.float32),
                 takes=CONDITION, is_aggregate=True, size=lambda a: float(MOST)),
    ),
    "any": (
        Function("any(c)", "whether c holds in some zone or case", _over(np.any), takes=CONDITION, gives=CONDITION,
                 is_aggregate=True),
    ),
    "all": (
        Function("all(c)", "whether c holds in every zone or case", _over(np.all), takes=CONDITION, gives=CONDITION,
                 is_aggregate=True),
    ),
    "rank": (
        Function("rank(x)", "place of each zone or case by x: 0 for the largest, 1 for the next, ...", rank,
                 size=lambda a: float(MOST)),
    ),
}  # fmt: skip


AGGREGATES = ", ".join(name for name, shapes in FUNCTIONS.items() if shapes[-1].is_aggregate)


def compile_expression(
    text: str,
    names: Mapping[str, Expression],
    groups: Mapping[str, Mapping[str, Expression]],
    used: set[str] | None = None,
) -> Expression:
    """What a text means.

    Args:
        text: of one expression.
        names: what a bare name stands for.
        groups: what `group.name` stands for.
        used: gets the names that the text uses, and its features as `group.name`.

    Raises:
        ExpressionError: it is too long, too deep, or means nothing; says what is wrong and what is allowed.
    """
    return _Translator(names, groups, set() if used is None else used).translate(text)


_STRANGE = re.compile(r"[^ -~\t\r\n]|[#\\'\"]")  # so that a column of the tree is a column of the text


def _tree(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"has {len(text)} characters, allowed: {MAX_LENGTH}")
    if not text.strip():
        raise ExpressionError("is empty; allowed: an expression")
    if strange := _STRANGE.search(text):
        line = text.count("\n", 0, strange.start())
        raise ExpressionError(f"has the character {strange.group()!r}, which no expression has", line)
    flat = "".join(" " if character in "\t\r\n" else character for character in text)
    try:
        with warnings.catch_warnings():  # of a number right before a word
            warnings.simplefilter("ignore")
            return ast.parse(flat.lstrip(), mode="eval").body
    except SyntaxError as error:
        start = len(flat) - len(flat.lstrip())
        at = min(start + error.offset - 1, len(text)) if error.offset else len(text)
        rest = " ".join(flat[at : at + 40].split())
        place = f"at {rest!r}" if rest else "at its end"
        message = f"cannot be read {place} ({error.msg}); allowed: {ALLOWED}"
        raise ExpressionError(message, text.count("\n", 0, at)) from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("cannot be read: it has too long numbers, or is nested too deeply") from None


ALLOWED = "numbers, names, group.feature, + - * /, < <= > >= == !=, and, or, not, x if c else y, functions"


SIGNS: dict[type, str] = {  # of operators that are not allowed, for messages
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.Invert: "~", ast.LShift: "<<", ast.RShift: ">>",
    ast.Pow: "**", ast.Mod: "%", ast.FloorDiv: "//", ast.MatMult: "@",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip


def _word(node: ast.AST) -> str:
    """What a node is called in a message."""
    text = SIGNS[type(node)] if type(node) in SIGNS else " ".join(ast.unparse(node).split())
    return repr(text[:40])


class _Translator:
    """From a tree to an `Expression`."""

    def __init__(self, names: Mapping[str, Expression], groups: Mapping[str, Mapping[str, Expression]], used: set[str]):
        self.names, self.groups, self.used = names, groups, used
        self._handlers: dict[type, Callable[[Any], Expression]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.BoolOp: self._logical,
            ast.Compare: self._comparison,
            ast.IfExp: self._choice,
            ast.Call: self._call,
        }

    def translate(self, text: str) -> Expression:
        tree = _tree(text)
        self._starts = [k for k, character in enumerate(text) if character == "\n"]
        self._offset = len(text) - len(text.lstrip())
        self._check_depth(tree)
        return self._visit(tree)

    def _check_depth(self, tree: ast.AST) -> None:
        """So that no recursion over the tree, ours or Python's, goes deeper."""
        level = [tree]
        for _ in range(MAX_DEPTH):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
        if level:
            raise self._error(level[0], f"is nested more than {MAX_DEPTH} levels deep")

    def _visit(self, node: ast.AST) -> Expression:
        handler = self._handlers.get(type(node))
        if handler is None:
            raise self._error(node, f"{_word(node)} is not allowed; allowed: {ALLOWED}")
        found = handler(node)
        if found.size > MAX_SIZE:
            raise self._error(node, f"can be as large as {found.size:.0e}, allowed: {MAX_SIZE:.0e}")
        return found

    def _error(self, node: ast.AST, message: str) -> ExpressionError:
        at = getattr(node, "col_offset", 0) + self._offset
        return ExpressionError(message, sum(start < at for start in self._starts))

    # ---- leaves
    def _constant(self, node: ast.Constant) -> Expression:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._error(node, f"{_word(node)} is not allowed; allowed: {ALLOWED}")
        if not abs(value) <= MAX_NUMBER:  # also nan
            raise self._error(node, f"has a number out of range, allowed: up to {MAX_NUMBER:.0f}")
        return constant(float(value))

    def _name(self, node: ast.Name) -> Expression:
        if node.id in self.names:
            self.used.add(node.id)
            return self.names[node.id]
        if node.id in self.groups:
            example = f"{node.id}.{next(iter(self.groups[node.id]))}"
            raise self._error(node, f"{node.id!r} is a group of features; write one of them, such as {example}")
        places = [f"{group}.{node.id}" for group, members in self.groups.items() if node.id in members]
        if places:
            raise self._error(node, f"{node.id!r} is a feature; write {' or '.join(places)}")
        if node.id in FUNCTIONS:
            raise self._error(node, f"{node.id!r} is a function; write {FUNCTIONS[node.id][0].shape}")
        raise self._error(node, unknown_name("name", node.id, {*self.names, *self.groups, *FUNCTIONS}))

    def _attribute(self, node: ast.Attribute) -> Expression:
        if not isinstance(node.value, ast.Name):
            raise self._error(node, f"{_word(node)} is not allowed; allowed: {ALLOWED}")
        group = node.value.id
        if group not in self.groups:
            raise self._error(node, unknown_name("group of features", group, self.groups))
        if node.attr not in self.groups[group]:
            raise self._error(node, unknown_name(f"feature of {group}", node.attr, self.groups[group]))
        self.used.add(f"{group}.{node.attr}")
        return self.groups[group][node.attr]

    # ---- operators
    def _binary(self, node: ast.BinOp) -> Expression:
        if type(node.op) not in BINARY:
            raise self._error(node, f"{_word(node.op)} is not allowed; allowed: {ALLOWED}")
        sign, function, size = BINARY[type(node.op)]
        left, right = (self._of_kind(part, NUMBER, sign) for part in (node.left, node.right))
        if function is quotient and right.is_constant:
            divisor = right.compute(None)
            if divisor == 0:
                raise self._error(node, "divides by 0")
            function, size = operator.truediv, lambda a, b: a / abs(divisor)
        return self._apply(node, function, (left, right), NUMBER, size(left.size, right.size))

    def _unary(self, node: ast.UnaryOp) -> Expression:
        if isinstance(node.op, ast.Not):
            part = self._of_kind(node.operand, CONDITION, "'not'")
            return self._apply(node, np.logical_not, (part,), CONDITION, 1.0)
        if not isinstance(node.op, (ast.USub, ast.UAdd)):
            raise self._error(node, f"{_word(node.op)} is not allowed; allowed: {ALLOWED}")
        function = operator.neg if isinstance(node.op, ast.USub) else operator.pos
        part = self._of_kind(node.operand, NUMBER, "a sign")
        return self._apply(node, function, (part,), NUMBER, part.size)

    def _logical(self, node: ast.BoolOp) -> Expression:
        word = type(node.op).__name__.lower()
        parts = tuple(self._of_kind(part, CONDITION, repr(word)) for part in node.values)
        return self._apply(node, _many(LOGICAL[type(node.op)]), parts, CONDITION, 1.0)

    def _comparison(self, node: ast.Compare) -> Expression:
        for compared in node.ops:
            if type(compared) not in COMPARISONS:
                raise self._error(node, f"{_word(compared)} is not allowed; allowed: {ALLOWED}")
        signs, functions = zip(*(COMPARISONS[type(compared)] for compared in node.ops), strict=True)
        parts = tuple(self._of_kind(part, NUMBER, signs[0]) for part in (node.left, *node.comparators))

        def compute(*values: Any) -> Any:
            held = [f(a, b) for f, a, b in zip(functions, values, values[1:], strict=False)]
            return held[0] if len(held) == 1 else _many(np.logical_and)(*held)

        return self._apply(node, compute, parts, CONDITION, 1.0)

    def _choice(self, node: ast.IfExp) -> Expression:
        test = self._of_kind(node.test, CONDITION, "'if'")
        first, second = (self._visit(part) for part in (node.body, node.orelse))
        if first.kind != second.kind:
            raise self._error(node, f"'if' gives a {first.kind}, 'else' a {second.kind}; allowed: the same of both")
        size = max(first.size, second.size)
        return self._apply(node, np.where, (test, first, second), first.kind, size)

    def _call(self, node: ast.Call) -> Expression:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise self._error(node, unknown_name("function", name or ast.unparse(node.func), FUNCTIONS))
        num, shapes = len(node.args), FUNCTIONS[name]
        fitting = [function for function in shapes if function.num[0] <= num <= function.num[1]]
        if not fitting or node.keywords or any(isinstance(part, ast.Starred) for part in node.args):
            allowed = " or ".join(function.shape for function in shapes)
            raise self._error(node, f"{name} is called with other arguments than it has; allowed: {allowed}")
        function = fitting[0]
        parts = tuple(self._of_kind(part, function.takes, function.shape) for part in node.args)
        if (function.is_aggregate or name == "rank") and parts[0].scope not in (ZONE, CASES):
            raise self._error(node, f"{function.shape} is of {parts[0].scope}; allowed: zone.x or cases.x in it")
        found = self._apply(node, function.compute, parts, function.gives, function.size(*(p.size for p in parts)))
        return Expression(found.compute, ENVIRONMENT, found.kind, found.size) if function.is_aggregate else found

    # ---- what they share
    def _of_kind(self, node: ast.AST, kind: str, where: str) -> Expression:
        found = self._visit(node)
        if found.kind != kind:
            text = " ".join(ast.unparse(node).split())[:40]
            hint = "; a condition compares numbers, as in x > 0" if kind == CONDITION else ""
            raise self._error(node, f"{where} needs a {kind}, {text!r} is a {found.kind}{hint}")
        return found

    def _apply(
        self, node: ast.AST, function: Callable[..., Any], parts: tuple[Expression, ...], kind: str, size: float
    ) -> Expression:
        scopes = {part.scope for part in parts} - {ANYWHERE}
        if {ZONE, CASES} <= scopes:
            raise self._error(node, f"mixes zone.x and cases.x; allowed: one of them, the other in {AGGREGATES}")
        if not scopes:
            value = function(*(part.compute(None) for part in parts))
            value = bool(value) if kind == CONDITION else float(value)
            if not math.isfinite(value) or abs(value) > MAX_SIZE:
                raise self._error(node, f"is {value}, allowed: finite numbers")
            return constant(value)
        scope = next((scope for scope in (ZONE, CASES) if scope in scopes), ENVIRONMENT)
        computes = tuple(part.compute for part in parts)
        if len(computes) == 1:
            (only,) = computes
            return Expression(lambda frame: function(only(frame)), scope, kind, size)
        if len(computes) == 2:
            left, right = computes
            return Expression(lambda frame: function(left(frame), right(frame)), scope, kind, size)
        return Expression(lambda frame: function(*[compute(frame) for compute in computes]), scope, kind, size)
