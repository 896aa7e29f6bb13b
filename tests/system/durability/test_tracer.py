"""Disks that fail under the whole process: strace answers its calls with an error of its own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.system.durability.campaign import Campaign
from tests.system.process import TIDEGATE

STRACE = shutil.which("strace")
SOON = 30
"""Writes or syncs of the log until one fails: some requests are acknowledged by then."""


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize(("call", "error"), [("fdatasync", "EIO"), ("write", "ENOSPC")])
def test_a_disk_that_fails_ends_the_venue_within_a_second(
    tmp_path: Path, call: str, error: str
) -> None:
    """Status 74; file and cause are named, nothing is acknowledged after, a start goes on."""
    assert STRACE is not None
    segment = tmp_path / "data" / "log" / f"{1:020}.seg"
    trace = tmp_path / "trace"
    inject = f"inject={call}:error={error}:when={SOON}+"
    campaign = Campaign(tmp_path, seed=3, follower=False, log="")
    # All but what is done to that file goes on untraced.
    campaign.program = (
        *(STRACE, "-f", "-ttt", "-o", str(trace), "-P", str(segment)),
        *("-e", f"trace={call}", "-e", inject, TIDEGATE),
    )
    campaign.life(lambda life: _assert_failed(life.ended(), life.said(), segment), name="failing")
    assert _seconds_to_the_end(trace) < 1.0
    campaign.program = (TIDEGATE,)
    campaign.last()
    verdict = campaign.verdict()
    assert [] == verdict.anomalies
    assert verdict.acknowledged > 0
    assert verdict.unanswered > 0


def _assert_failed(status: int, said: str, segment: Path) -> None:
    assert 74 == status, said
    assert str(segment) in said
    cause = "Input/output error" if "Errno 5]" in said else "No space left on device"
    assert cause in said
    assert "Traceback" not in said


def _seconds_to_the_end(trace: Path) -> float:
    """From the first failure to the end of the process."""
    text = trace.read_text()
    failed = re.search(r"^\d+ +([\d.]+) .*\(INJECTED\)", text, re.MULTILINE)
    ended = re.findall(r"^\d+ +([\d.]+) \+\+\+ exited with 74", text, re.MULTILINE)
    assert failed is not None, text
    return float(ended[-1]) - float(failed[1])
