"""README, CONTRIBUTING and docs name files and functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
WITHOUT_PATHS = {"API.md", "CONFIGURATION.md"}
PACKAGES = ("book", "risk", "gateway", "tidegate")

_PATH = re.compile(r"(?:book|risk|gateway|tidegate|tests|benchmarks|examples|scripts)/[\w./-]*\w")
_HOP = re.compile(r"^\| \d+ \| `([\w/.]+)` \| `([\w.]+)` \|", re.MULTILINE)
_KEYWORDS = re.compile(r"pytest (tests/\S+) -k (?:\"([^\"]+)\"|(\w+))")
_MODULE = re.compile(r"^\| `([\w/.]+\.py)` \|", re.MULTILINE)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_path_that_a_document_names_exists(page: Path) -> None:
    """Files and folders of the repository, in text, tables and commands."""
    paths = set(_PATH.findall(page.read_text()))
    assert paths or page.name in WITHOUT_PATHS
    assert [] == sorted(path for path in paths if not (ROOT / path).exists())


def test_the_module_map_has_one_line_for_each_module() -> None:
    """Packages without code of their own need none."""
    listed = _MODULE.findall(ARCHITECTURE.read_text())
    modules = {str(p.relative_to(ROOT)) for name in PACKAGES for p in (ROOT / name).rglob("*.py")}
    assert sorted(set(listed)) == sorted(listed)
    assert set() == set(listed) - modules
    assert set() == {path for path in modules if not path.endswith("__init__.py")} - set(listed)


def test_every_hop_of_an_order_is_a_function_of_the_file_beside_it() -> None:
    """The table of the path of one resting order."""
    hops = _HOP.findall(ARCHITECTURE.read_text())
    assert len(hops) > 20
    missing = [(path, name) for path, name in hops if name not in _functions(ROOT / path)]
    assert [] == missing


def _functions(path: Path) -> set[str]:
    """The functions of a module, and its methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{child.name}" for child in node.body if hasattr(child, "name")}
    return names


def test_every_keyword_of_a_pytest_command_is_in_a_test_name() -> None:
    """`pytest FILE -k WORDS` in the documents selects something."""
    commands = [line for page in DOCUMENTS for line in _KEYWORDS.findall(page.read_text())]
    assert commands
    for path, quoted, word in commands:
        names = " ".join(_functions(ROOT / path))
        words = set((quoted or word).split()) - {"or", "and", "not"}
        assert [] == [each for each in words if each not in names], path
