"""`tidegate demo` and `tidegate shock` as they are typed."""

from pathlib import Path

import pytest

from gateway.cli import main


def test_a_shock_without_a_demo_fails_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and what to do about it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert 1 == main(["shock", "-20%"])
    assert "start one with `tidegate demo`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["shock", "-20"], ["shock", "-100%"], ["demo", "--shock", "a lot"], ["shock"]]
)
def test_what_is_no_percentage_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, before anything is started."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert 2 == caught.value.code
    assert "usage: tidegate" in capsys.readouterr().err


def test_a_configuration_that_names_a_bot_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit status 2, and whose account it is."""
    path = tmp_path / "venue.toml"
    path.write_text('[[account]]\nname = "demo.taker1"\nclient_id = "x"\nclient_secret = "y"\n')
    assert 2 == main(["demo", "--config", str(path)])
    assert "demo.taker1" in capsys.readouterr().err
