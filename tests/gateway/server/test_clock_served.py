"""A served venue on a machine whose clock is set while it runs, or was wrong before it started."""

from __future__ import annotations

import time
from hashlib import sha256
from hmac import HMAC
from pathlib import Path

import httpx2
import pytest
import trio
from attrs import define

from gateway.clock import RealClock
from gateway.server.server import Running
from tests.gateway.server_fixtures import Caller, connect, credentials, running

HOUR = 3_600


@define
class Setting:
    """What the machine's clock is set to: so many seconds from the right time."""

    seconds: int = 0

    def clock(self) -> RealClock:
        return RealClock(lambda: time.time_ns() + self.seconds * 1_000_000_000)


async def health(venue: Running) -> tuple[int, str, int]:
    """Status, condition, and by how many seconds venue time leads."""
    async with httpx2.AsyncClient(base_url=venue.http_url) as client:
        answer = await client.get("/health")
        report = answer.json()
        exposed = (await client.get("/metrics")).text
    lead = report["clock_lead"]
    (shown,) = (
        float(line.split()[1])
        for line in exposed.splitlines()
        if line.startswith("tidegate_clock_lead_seconds ")
    )
    assert lead / 1_000 == pytest.approx(shown, abs=2)
    return answer.status_code, report["status"], round(lead / 1_000)


async def sign_in(caller: Caller, now: float) -> None:
    """Log in by a signature of now."""
    stamp = round(now * 1_000)
    signature = HMAC(b"alice-secret", f"{stamp}\n\n".encode(), sha256).hexdigest()
    await caller.call(
        "public/auth",
        grant_type="client_signature",
        client_id="alice-key",
        timestamp=stamp,
        signature=signature,
    )


async def progress(caller: Caller) -> int:
    """How far venue time gets while some time passes, in milliseconds."""
    began = await caller.call("public/get_time")
    await trio.sleep(0.2)
    return int(await caller.call("public/get_time")) - int(began)


async def test_a_clock_set_ahead_and_back_stops_nothing() -> None:
    """Venue time goes on, log-ins are signed by the machine's clock, /health says what is wrong."""
    setting = Setting()
    async with running(clock=setting.clock()) as venue, connect(venue) as caller:
        assert (200, "ok", 0) == await health(venue)
        before = await caller.call("public/get_time")
        setting.seconds = HOUR
        await sign_in(caller, time.time() + HOUR)
        status, condition, lead = await health(venue)
        assert (200, "clock_behind") == (status, condition)
        assert -HOUR < lead < -HOUR + 60
        assert await caller.call("public/get_time") - before < 60_000
        setting.seconds = 0
        await sign_in(caller, time.time())
        assert await progress(caller) > 0
        for _ in range(100):
            if (await health(venue))[1] == "ok":
                break
            await trio.sleep(0.1)
        assert "ok" == (await health(venue))[1]


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_token_lifetimes_ignore_jumps_of_the_clock(seconds: int) -> None:
    """Whatever the machine's clock is set to meanwhile."""
    setting = Setting()
    async with running(clock=setting.clock()) as venue, connect(venue) as caller:
        await caller.call("public/auth", scope="expires:2", **credentials("alice"))
        setting.seconds = seconds
        await caller.call("private/get_open_orders")
        await trio.sleep(2.1)
        number = await caller.ask("private/get_open_orders")
        reply = await caller.read()
        assert (number, 13009) == (reply["id"], reply["error"]["code"])


async def test_a_log_stamped_in_the_future_is_continued_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next start goes on from its last stamp, at half speed, and takes orders and log-ins."""
    kept = f'data_dir = "{tmp_path / "data"}"\n[log]\nfollower = false\n'
    order = {"instrument_name": "BTC-PERPETUAL", "amount": 10, "price": 60_000}
    async with (
        running(kept, clock=Setting(HOUR).clock()) as venue,
        connect(venue, "alice") as caller,
    ):
        await caller.call("private/buy", **order)
        stamped = venue.venue.exchange.state.time
    async with running(kept, clock=Setting().clock()) as venue, connect(venue) as caller:
        status, condition, lead = await health(venue)
        assert (200, "clock_ahead") == (status, condition)
        assert HOUR - 60 < lead <= HOUR
        assert await caller.call("public/get_time") >= stamped
        await sign_in(caller, time.time())
        bought = await caller.call("private/buy", **order)
        assert bought["order"]["creation_timestamp"] >= stamped
        assert await progress(caller) > 0
    said = [record.getMessage() for record in caplog.records]
    assert 1 == sum("s ahead of the machine's clock" in line for line in said)
