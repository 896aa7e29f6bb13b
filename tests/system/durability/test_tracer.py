"""Faults of the whole process at one call: strace answers it with an error, or kills there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.system.durability.campaign import Campaign
from tests.system.durability.venue_process import STRACE, Life, traced
from tests.system.process import TIDEGATE

SOON = 30
"""Writes or syncs of the log until it happens: some requests are acknowledged by then."""

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def _traced(folder: Path, call: str, fault: str) -> Campaign:
    """A campaign whose venue meets a fault at a call on its first segment."""
    program = traced(_segment(folder), call, f"{fault}:when={SOON}+", folder / "trace")
    return Campaign(folder, seed=3, follower=False, log="", program=program)


def _segment(folder: Path) -> Path:
    return folder / "data" / "log" / f"{1:020}.seg"


def _assert_prefix(campaign: Campaign) -> None:
    """A start on the plain disk finds all that was acknowledged, and nothing else."""
    campaign.program = (TIDEGATE,)
    campaign.last()
    verdict = campaign.verdict()
    assert [] == verdict.anomalies
    assert verdict.acknowledged > 0
    assert verdict.unanswered > 0


@pytest.mark.parametrize(
    ("call", "error", "cause"),
    [
        ("fdatasync", "EIO", "Input/output error"),
        ("write", "ENOSPC", "No space left on device"),
    ],
)
def test_a_disk_that_fails_ends_the_venue_within_a_second(
    tmp_path: Path, call: str, error: str, cause: str
) -> None:
    """Status 74; file and cause are named, nothing is acknowledged after, a start goes on."""
    campaign = _traced(tmp_path, call, f"error={error}")
    campaign.life(lambda life: _ends(life, 74), name="failing")
    said = (tmp_path / "failing.err").read_text()
    assert str(_segment(tmp_path)) in said
    assert cause in said
    assert "Traceback" not in said
    assert _seconds_to_the_end(tmp_path / "trace") < 1.0
    _assert_prefix(campaign)


def _seconds_to_the_end(trace: Path) -> float:
    """From the first failure to the end of the process."""
    text = trace.read_text()
    failed = re.search(r"^\d+ +([\d.]+) .*\(INJECTED\)", text, re.MULTILINE)
    ended = re.findall(r"^\d+ +([\d.]+) \+\+\+ exited with 74", text, re.MULTILINE)
    assert failed is not None, text
    return float(ended[-1]) - float(failed[1])


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_kill_between_write_and_acknowledgement_loses_nothing(tmp_path: Path, call: str) -> None:
    """Written and not synced, or synced and not told: the requests are there, or are not.

    It is what writes the log that is killed there, and the venue ends with it.
    """
    campaign = _traced(tmp_path, call, "signal=KILL")
    campaign.life(lambda life: _ends(life, 74), name="struck")
    said = (tmp_path / "struck.err").read_text()
    assert f"the process that writes the log has ended: '{_segment(tmp_path)}'" in said
    assert "Traceback" not in said
    _assert_prefix(campaign)


def _ends(life: Life, status: int) -> None:
    assert status == life.ended(), life.said()
