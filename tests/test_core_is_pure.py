"""`book` and `risk` calculate with integers, in a defined order.

import-linter forbids modules with a clock, randomness or I/O there. These tests find what needs no
import: floats and true division, `hash()` and `id()`, the present date, and iteration over a set,
whose order differs between processes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = sorted([*ROOT.glob("book/*.py"), *ROOT.glob("risk/*.py")])

CLOCKS = {"now", "utcnow", "today"}
UNSTABLE = {"hash", "id"}
SETS = {"set", "frozenset"}
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
ITERATING = {"list", "tuple", "iter", "enumerate", "reversed", "zip", "map", "filter", "dict"}
"""Builtins whose result depends on the order of their argument; that of `sorted` does not."""


def impurities(source: str) -> list[str]:
    """Return `line: problem` for every forbidden construct in a module."""
    tree = ast.parse(source)
    names = _names_of_sets(tree)
    found = [
        (node.lineno, what)
        for node in ast.walk(tree)
        if isinstance(node, ast.expr | ast.stmt)
        for what in _impure(node, names)
    ]
    # A comprehension has no line of its own.
    found += [
        (node.iter.lineno, "iterates over a set")
        for node in ast.walk(tree)
        if isinstance(node, ast.comprehension) and _is_set(node.iter, names)
    ]
    return [f"{line}: {what}" for line, what in sorted(found)]


def _impure(node: ast.AST, names: frozenset[str]) -> Iterator[str]:
    match node:
        case ast.Constant(value=float() | complex()):
            yield "float"
        case ast.Name(id="float" | "complex", ctx=ast.Load()):
            yield "float"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            yield "true division"
        case ast.BinOp(op=ast.Pow(), right=ast.UnaryOp(op=ast.USub())):
            yield "negative power"
        case ast.For(iter=walked) | ast.Starred(value=walked) | ast.YieldFrom(value=walked):
            if _is_set(walked, names):
                yield "iterates over a set"
        case ast.Assign(targets=[ast.Tuple() | ast.List()], value=walked):
            if _is_set(walked, names):
                yield "iterates over a set"
        case ast.Call(func=func, args=args):
            yield from _impure_call(func, args, names)


def _impure_call(func: ast.expr, args: list[ast.expr], names: frozenset[str]) -> Iterator[str]:
    sets = any(_is_set(argument, names) for argument in args)
    match func:
        case ast.Name(id=name):
            if name in UNSTABLE:
                yield f"{name}()"
            if name in ITERATING and sets:
                yield "iterates over a set"
        case ast.Attribute(value=owner, attr=name):
            if name in CLOCKS:
                yield f"{name}()"
            if name in {"join", "fromkeys", "extend"} and sets:
                yield "iterates over a set"
            if name == "pop" and not args and _is_set(owner, names):
                yield "pops from a set"


def _is_set(node: ast.expr, names: frozenset[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in SETS
        case ast.Call(func=ast.Attribute(value=owner, attr=name)):
            return name in SET_METHODS or (name == "copy" and _is_set(owner, names))
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() | ast.Sub() | ast.BitXor()):
            return _is_set(left, names) or _is_keys(left)
        case ast.IfExp(body=body, orelse=orelse):
            return _is_set(body, names) or _is_set(orelse, names)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
    return False


def _is_keys(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="keys" | "items")):
            return True
    return False


def _names_of_sets(tree: ast.Module) -> frozenset[str]:
    """Every name or attribute that is somewhere a set, by annotation or by what it is given."""
    names: frozenset[str] = frozenset()
    while True:
        found = {name for node in ast.walk(tree) for name in _set_names(node, names)}
        if found <= names:
            return names
        names |= found


def _set_names(node: ast.AST, names: frozenset[str]) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.arg) and node.annotation is not None and _is_set_type(node.annotation):
        yield node.arg
    elif isinstance(node, ast.Assign) and _is_set(node.value, names):
        targets = node.targets
    elif (isinstance(node, ast.NamedExpr) and _is_set(node.value, names)) or (
        isinstance(node, ast.AnnAssign) and _is_set_type(node.annotation)
    ):
        targets = [node.target]
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id
        elif isinstance(target, ast.Attribute):
            yield target.attr


def _is_set_type(annotation: ast.expr) -> bool:
    match annotation:
        case ast.Subscript(value=value):
            return _is_set_type(value)
        case ast.BinOp(left=left, right=right):
            return _is_set_type(left) or _is_set_type(right)
        case ast.Name(id=name):
            return name in SETS | {"Set", "AbstractSet", "MutableSet"}
    return False


@pytest.mark.parametrize("path", CORE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_core_is_pure(path: Path) -> None:
    """No module of `book` and `risk` contains a forbidden construct."""
    assert [] == impurities(path.read_text())


def test_all_files_of_the_core_are_checked() -> None:
    """A check that found no files would find no fault."""
    assert {"matching.py", "exchange.py", "margin.py"} <= {path.name for path in CORE}


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("x = 1.5", "float"),
        ("x = 1e8", "float"),
        ("x = float(y)", "float"),
        ("def f(x: float) -> int: ...", "float"),
        ("x = a / b", "true division"),
        ("a /= b", "true division"),
        ("x = 10 ** -3", "negative power"),
        ("x = hash(y)", "hash()"),
        ("x = id(y)", "id()"),
        ("x = datetime.now()", "now()"),
        ("x = date.today()", "today()"),
        ("for x in {1, 2}: ...", "iterates over a set"),
        ("x = [y for y in {z for z in w}]", "iterates over a set"),
        ("x = {y: 1 for y in set(z)}", "iterates over a set"),
        ("x = list(frozenset(y))", "iterates over a set"),
        ("x = [*a, *{1, 2}]", "iterates over a set"),
        ("f(*set(x))", "iterates over a set"),
        ("a, b = {1, 2}", "iterates over a set"),
        ("x = ','.join({str(y) for y in z})", "iterates over a set"),
        ("x = dict.fromkeys({1, 2})", "iterates over a set"),
        ("x = next(iter({1, 2}))", "iterates over a set"),
        ("s = set(y)\nfor x in s: ...", "iterates over a set"),
        ("s: set[int] = f()\nfor x in s: ...", "iterates over a set"),
        ("def f(s: set[int] | None):\n    return [x for x in s]", "iterates over a set"),
        ("s = set()\nt = s.copy()\nu = t\nfor x in u | v: ...", "iterates over a set"),
        (
            "class A:\n    s: frozenset[int]\ndef f(a):\n    for x in a.s: ...",
            "iterates over a set",
        ),
        ("for x in a.keys() - b: ...", "iterates over a set"),
        ("for x in a.union(b): ...", "iterates over a set"),
        ("s = {1}\nx = s.pop()", "pops from a set"),
    ],
)
def test_a_forbidden_construct_is_found(source: str, what: str) -> None:
    """The problem is reported with its line."""
    faults = impurities(f"import something\n{source}\n")
    assert [what] == [fault.partition(": ")[2] for fault in faults]
    assert 2 <= int(faults[0].partition(":")[0]) <= 2 + source.count("\n")


@pytest.mark.parametrize(
    "source",
    [
        "x = a // b % c",
        "x = 10 ** 8",
        "x = 3 in {1, 2}",
        "x = len({1, 2}) + sum({1, 2})",
        "x = sorted({y for y in z})",
        "x = a - b\nfor y in x: ...",
        "for x in {1: 2}: ...",
        "for x in dict(y).items(): ...",
        "d = {}\nx = d.pop(1)\nl = []\ny = l.pop()",
        "s = {1}\nif s & t: ...",
    ],
)
def test_the_checker_lets_pass_what_is_pure(source: str) -> None:
    """Integers, membership, and walks in a defined order."""
    assert [] == impurities(source)
