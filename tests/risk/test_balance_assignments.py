"""Only one function assigns each attribute of an account's money."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = sorted(
    path for name in ("book", "risk", "gateway") for path in (ROOT / name).rglob("*.py")
)
WRITERS = {
    "balance": {"risk/ledger.py": {"book"}},
    "booked": {},
    "session_profit": {"risk/position.py": {"_realise"}},
    "realised": {"risk/position.py": {"_realise"}},
}
"""The functions that may assign the attributes of an account's money."""

BY_NAME = {"risk/snapshot.py": {"into"}}
"""The functions that may set attributes with a dynamic name."""


def writes(source: str) -> Iterator[tuple[str, str]]:
    """Return (attribute, function) of each assignment to an attribute; "" for dynamic names."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            yield node.attr, function
        if isinstance(node, ast.Name) and node.id in ("setattr", "delattr", "__setattr__"):
            yield "", function
        if isinstance(node, ast.Attribute) and node.attr in ("__setattr__", "__dict__"):
            yield "", function
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function)

    return walk(ast.parse(source), "")


def test_one_function_changes_a_balance() -> None:
    """No other function assigns it in any form; session profit has one writer as well."""
    found = set()
    for path in PROGRAM:
        name = path.relative_to(ROOT).as_posix()
        for attribute, function in writes(path.read_text()):
            if not attribute:
                assert function in BY_NAME.get(name, ()), (name, function)
            elif attribute in WRITERS:
                assert function in WRITERS[attribute].get(name, ()), (name, attribute, function)
                found.add(attribute)
    assert {"balance", "session_profit", "realised"} == found


@pytest.mark.parametrize(
    ("source", "attribute"),
    [
        ("def f(w): w.balance = 1", "balance"),
        ("def f(w): w.balance += 1", "balance"),
        ("def f(w): w.balance: int = 1", "balance"),
        ("def f(w): a, (w.balance, *b) = 1, (2, 3)", "balance"),
        ("def f(w):\n    for w.balance in x: pass", "balance"),
        ("def f(w):\n    with x as w.balance: pass", "balance"),
        ("def f(w): del w.balance", "balance"),
        ("def f(w): [0 for w.balance in x]", "balance"),
        ("def f(w): setattr(w, 'balance', 1)", ""),
        ("def f(w): object.__setattr__(w, 'balance', 1)", ""),
        ("def f(w): w.__dict__['balance'] = 1", ""),
        ("def f(w): g = setattr", ""),
    ],
)
def test_the_search_finds_every_form_of_assignment(source: str, attribute: str) -> None:
    """Each way to set an attribute is found."""
    assert (attribute, "f") in set(writes(source))
    assert [] == list(writes("def f(w): return w.balance + 1"))
