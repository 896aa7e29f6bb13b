"""Clients that misbehave, of a venue that is frozen and killed: one order explains all they saw."""

from __future__ import annotations

from pathlib import Path

from tests.system.durability.campaign import Campaign


def test_one_order_explains_what_faulty_clients_saw(tmp_path: Path) -> None:
    """Cut within a frame, deaf, sent twice, frozen: each request is applied at most once."""
    campaign = Campaign(tmp_path, seed=2, faulty=True)
    campaign.killed(0)
    campaign.frozen(1, seconds=1.5)
    verdict = campaign.verdict()
    assert [] == verdict.anomalies
    # Else this would have proved nothing.
    assert verdict.acknowledged > 100
    assert min(verdict.repeats, verdict.reads, verdict.trades, verdict.books) > 0
    assert campaign.memory.never
