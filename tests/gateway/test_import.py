"""What importing the gateway checks about its surroundings."""

import subprocess
import sys
from pathlib import Path

import gateway

HOME = Path(gateway.__file__).parent.parent


def run_import(directory: Path) -> subprocess.CompletedProcess[str]:
    """Import `gateway` in a fresh interpreter that looks in `directory` before our packages."""
    code = f"import sys; sys.path[:0] = [{str(directory)!r}, {str(HOME)!r}]; import gateway"
    return subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )


def test_a_file_that_shadows_a_package_is_named(tmp_path: Path) -> None:
    """A user's own book.py ends the import with an ImportError that gives its path."""
    shadow = tmp_path / "book.py"
    shadow.write_text("pages = []\n")
    outcome = run_import(tmp_path)
    assert outcome.returncode == 1
    assert f"ImportError: `import book` found {shadow.resolve()}, which shadows" in outcome.stderr


def test_a_package_that_shadows_is_named(tmp_path: Path) -> None:
    """The same holds for another distribution's package."""
    shadow = tmp_path / "risk" / "__init__.py"
    shadow.parent.mkdir()
    shadow.write_text("")
    outcome = run_import(tmp_path)
    assert outcome.returncode == 1
    assert f"ImportError: `import risk` found {shadow.resolve()}, which shadows" in outcome.stderr


def test_unrelated_files_do_not_disturb(tmp_path: Path) -> None:
    """A working directory without such files imports the gateway."""
    (tmp_path / "bot.py").write_text("")
    outcome = run_import(tmp_path)
    assert (0, "") == (outcome.returncode, outcome.stderr)
