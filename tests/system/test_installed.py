"""The wheel, installed beside a user's project that has modules of the same names."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 60

BOT = '''
"""A user's test suite: its own `book`, `risk` and `gateway`, and a venue to trade on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import book
import gateway
import risk
import tidegate
from tidegate.client import connect

CONFIG = """
[server]
http = "127.0.0.1:0"
websocket = "127.0.0.1:0"
[[index]]
name = "btc_usd"
source = "fixed"
price = 65000
[[account]]
name = "alice"
client_id = "alice-key"
client_secret = "alice-secret"
deposits = { BTC = 10 }
"""


def test_the_names_are_the_projects_own():
    assert ("my book", "my risk", "my gateway") == (book.OWN, risk.OWN, gateway.OWN)


def test_a_venue_runs_beside_the_project(tmp_path):
    (tmp_path / "venue.toml").write_text(CONFIG)
    command = [Path(sys.executable).with_name("tidegate"), "serve", "--config", "venue.toml"]
    for name in ("book", "risk", "gateway"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            url = re.search(r"ws=(\\S+)", process.stdout.readline())[1]

            async def buy():
                async with connect(url, "alice-key", "alice-secret") as client:
                    order = {"instrument_name": "BTC-PERPETUAL", "amount": 10, "price": 64000}
                    return await client.call("private/buy", order)

            assert "open" == trio.run(buy)["order"]["order_state"]
            process.terminate()
            assert 0 == process.wait(10)
        finally:
            process.kill()


def test_embedding_names_what_is_in_the_way():
    with pytest.raises(ImportError, match="`book` is .*book.py in this process"):
        tidegate.embed()
'''


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in isolation from the checkout."""
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False, env={}
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy so that nothing is left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "tidegate", "book", "risk", "gateway"):
        if (ROOT / name).is_dir():
            copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
        else:
            copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run((*pip, "--wheel-dir", folder, source), check=True, timeout=SECONDS)
    (built,) = folder.glob("tidegate-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    interpreter = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet")
    subprocess.run((*pip, "--no-deps", "--no-index", wheel), check=True, timeout=SECONDS)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return interpreter


def test_the_wheel_has_one_import_name(wheel: Path) -> None:
    """Nothing of it can meet a user's module of another name."""
    with ZipFile(wheel) as files:
        tops = {name.split("/")[0] for name in files.namelist()}
        assert "tidegate/_venue/gateway/cli/__init__.py" in files.namelist()
    assert {"tidegate"} == {top for top in tops if not top.endswith(".dist-info")}


def test_every_module_is_in_the_wheel(wheel: Path) -> None:
    """A package that pyproject does not list would be missing for users only."""
    with ZipFile(wheel) as files:
        packed = set(files.namelist())
    listed = subprocess.run(
        ("git", "ls-files", "tidegate/*.py", "book/*.py", "risk/*.py", "gateway/*.py"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    expected = {
        name if name.startswith("tidegate/") else f"tidegate/_venue/{name}" for name in listed
    }
    assert expected
    assert not expected - packed


@pytest.mark.parametrize("started", ["pytest", "python -m pytest"])
def test_a_project_with_modules_of_the_same_names(
    python: Path, tmp_path: Path, started: str
) -> None:
    """Its own modules and the venue work side by side, whichever way its tests are started."""
    (tmp_path / "book.py").write_text("OWN = 'my book'\n")
    for name in ("risk", "gateway"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"OWN = 'my {name}'\n")
    (tmp_path / "test_bot.py").write_text(BOT)
    command: tuple[str | Path, ...] = (python, "-m", "pytest")
    if started == "pytest":
        script = tmp_path / "pytest"
        script.write_text("import sys\nfrom pytest import console_main\nsys.exit(console_main())\n")
        command = (python, "-P", script)
    outcome = run(*command, "-q", "-p", "no:cacheprovider", "test_bot.py", cwd=tmp_path)
    assert 0 == outcome.returncode, outcome.stdout + outcome.stderr
    assert "3 passed" in outcome.stdout


def test_an_installed_venue_can_be_embedded(python: Path, tmp_path: Path) -> None:
    """The program that the README shows prints the venue's time."""
    section = (ROOT / "README.md").read_text().split("## Use it in a program")[1]
    (tmp_path / "main.py").write_text(section.split("```python\n")[1].split("```")[0])
    outcome = run(python, "main.py", cwd=tmp_path)
    assert 0 == outcome.returncode, outcome.stderr
    assert outcome.stdout.strip().isdecimal()
