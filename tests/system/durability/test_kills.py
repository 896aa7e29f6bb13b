"""A venue that is killed ten times, and what its clients remember of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from attrs import evolve

from gateway.log.frames import GENESIS
from gateway.log.segments import list_segments, reader_after
from tests.system.durability.campaign import Campaign
from tests.system.durability.client_history import Memory, Request
from tests.system.durability.history_checker import Verdict, judge
from tests.system.durability.venue_process import command, replayed_elsewhere

KILLS = 10


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Ten lives, and one more that ended in order."""
    campaign = Campaign(tmp_path_factory.mktemp("kills"), seed=1)
    campaign.kills(KILLS)
    campaign.last()
    return campaign


@pytest.fixture(scope="module")
def verdict(campaign: Campaign) -> Verdict:
    """What the log says of them."""
    return campaign.verdict()


def test_no_acknowledged_request_is_lost_and_none_invented(
    campaign: Campaign, verdict: Verdict
) -> None:
    """Every answer, read, trade and book change that a client was told is what the log says."""
    assert [] == verdict.anomalies
    # Without these there would have been nothing to lose.
    assert KILLS == campaign.killed_lives
    assert verdict.acknowledged > 100
    assert min(verdict.unanswered, verdict.reads, verdict.trades, verdict.books) > 0


def test_a_replay_with_other_hash_seeds_comes_to_the_same_state(
    campaign: Campaign, verdict: Verdict
) -> None:
    """Digest and trail are those of the live venue, which had a seed of its own in each life."""
    told = {replayed_elsewhere(campaign.data_dir, seed) for seed in (0, 1, 4_242)}
    assert [verdict.digest] == [each.split()[0] for each in told]


def test_the_log_can_be_verified(campaign: Campaign, verdict: Verdict) -> None:
    """Checksums, chain, checkpoints and snapshots of all its lives."""
    status, said = command("log", "verify", str(campaign.data_dir))
    assert 0 == status, said
    assert f"one state, digest {verdict.digest}" in said


# What the judgement would say of a venue that did lose or invent something.


def _cut_off(data_dir: Path, first: int) -> None:
    """Take a log's end away, from entry `first` on."""
    reader = reader_after(data_dir / "log", 0, GENESIS)
    assert reader is not None
    frame = next(frame for frame in reader.frames() if frame.last >= first)
    os.truncate(reader.segment.path, reader.offset - frame.size)
    for segment in list_segments(data_dir / "log"):
        if segment.first > first:
            segment.path.unlink()


def _answered(memory: Memory, fits: Callable[[Request], bool]) -> Request:
    return next(each for each in memory.requests if each.result is not None and fits(each))


def _order(request: Request) -> bool:
    return request.method in ("private/buy", "private/sell") and request.error is None


def _forgotten(memory: Memory) -> str:
    request = _answered(memory, _order)
    memory.requests = [each for each in memory.requests if each.tag != request.tag]
    return "nobody sent"


def _misheard(memory: Memory) -> str:
    request = _answered(memory, _order)
    request.result["order"]["amount"] += 10
    return "was answered otherwise"


def _reordered(memory: Memory) -> str:
    first = _answered(memory, _order)
    last = _answered(Memory(memory.requests[::-1]), _order)
    last.sent, last.answered = first.sent - 2, first.sent - 1
    return "and follows it in the log"


def _stale(memory: Memory) -> str:
    reads = [r for r in memory.requests if r.method == "private/get_open_orders" and r.result]
    reads[-1].result = reads[0].result
    return "told what was at no time between"


def _dreamt(memory: Memory) -> str:
    name, trade = memory.trades[0]
    memory.trades.append((name, trade | {"trade_id": "987654321"}))
    return "was told of a trade"


def _gap(memory: Memory) -> str:
    told = max(memory.books, key=len)
    del told[len(told) // 2]
    return "no entry made this change alone"


def _lasting(memory: Memory) -> str:
    memory.fleeting = {request.tag for request in memory.requests if _order(request)}
    return "rests although its connection is gone"


@pytest.mark.parametrize(
    "change", [_forgotten, _misheard, _reordered, _stale, _dreamt, _gap, _lasting]
)
def test_the_judgement_tells_what_is_wrong(
    campaign: Campaign, change: Callable[[Memory], str]
) -> None:
    """A memory that the log does not explain is found out, and for what it is."""
    memory = _copy(campaign.memory)
    expected = change(memory)
    anomalies = judge(campaign.data_dir, memory).anomalies
    assert any(expected in anomaly for anomaly in anomalies), anomalies


def test_the_judgement_tells_what_is_lost(
    campaign: Campaign, verdict: Verdict, tmp_path: Path
) -> None:
    """A log without its end has lost what was acknowledged there."""
    data_dir = shutil.copytree(campaign.data_dir, tmp_path / "data")
    _cut_off(data_dir, verdict.entries // 2)
    anomalies = judge(data_dir, campaign.memory).anomalies
    assert any("was acknowledged, and is lost" in anomaly for anomaly in anomalies), anomalies


def _copy(memory: Memory) -> Memory:
    requests = [
        evolve(each, result=msgspec.json.decode(msgspec.json.encode(each.result)))
        for each in memory.requests
    ]
    return evolve(
        memory, requests=requests, trades=[*memory.trades], books=[[*t] for t in memory.books]
    )
