"""Tests that random log-ins, refreshes and log-outs leave private channels to valid tokens."""

from __future__ import annotations

import random

import pytest
from attrs import define, field

from gateway.access.tokens import AuthError
from tests.gateway.feed.private_channels import PRIVATE, flush_all, trade_and_rest_order
from tests.gateway.harness import Client, Harness, Json


@define(eq=False)
class RandomClient:
    """A client that stores every token that it was given, to check which are valid."""

    client: Client
    tokens: list[tuple[str, str]] = field(factory=list)

    def may_receive(self, account: int, scope: str) -> bool:
        venue, session = self.client.harness.venue, self.client.session
        for access, _ in self.tokens:
            try:
                principal = venue.authenticator.verify(
                    access, connection=session.connection, address="127.0.0.1", now=venue.wall.now()
                )
            except AuthError:
                continue
            if principal.account == account and principal.scope.allows(scope):
                return True
        return False


@define(eq=False)
class RandomClients:
    """Clients that log in, refresh, narrow, subscribe and leave at random."""

    random: random.Random
    harness: Harness = field(factory=Harness)
    clients: list[RandomClient] = field(factory=list)

    def step(self) -> None:
        choose = self.random.choice
        if len(self.clients) < 4:
            self.clients.append(RandomClient(self.harness.connect()))
        chosen = choose(self.clients)
        match self.random.randrange(8):
            case 0 | 1:
                self.log_in(chosen)
            case 2:
                self.refresh(chosen)
            case 3 | 4 | 5:
                self.subscribe(chosen)
            case 6:
                self.harness.clock.time += choose((100, 900, 1_500, 3_000))
            case _:
                chosen.client.carry_out(
                    chosen.client.send(
                        chosen.client.frame(
                            "private/logout", {"invalidate_token": choose((True, False))}
                        )
                    )
                )
                if chosen.client.closed:
                    chosen.client.hang_up()
                    self.clients.remove(chosen)

    def log_in(self, chosen: RandomClient) -> None:
        choose = self.random.choice
        scope = " ".join(
            (
                choose(("connection", "session:a", "session:b")),
                choose(("trade:read", "account:read", "trade:read account:read", "wallet:read")),
                choose(("", "", "expires:1", "expires:4")),
            )
        )
        granted = chosen.client.login(choose(("alice", "bob")), scope=scope)
        chosen.tokens.append((granted["access_token"], granted["refresh_token"]))

    def refresh(self, chosen: RandomClient) -> None:
        owner = self.random.choice(self.clients)
        if not owner.tokens:
            return
        _, token = self.random.choice(owner.tokens)
        scope = self.random.choice(("", "trade:read", "account:read"))
        reply = chosen.client.request(
            "public/auth", grant_type="refresh_token", refresh_token=token, scope=scope
        )
        if "result" in reply:
            granted = reply["result"]
            chosen.tokens.append((granted["access_token"], granted["refresh_token"]))

    def subscribe(self, chosen: RandomClient) -> None:
        channels = self.random.sample(PRIVATE, 5)
        params: Json = {"channels": channels}
        owner = self.random.choice(self.clients)
        if owner.tokens and self.random.random() < 0.3:
            access, _ = self.random.choice(owner.tokens)
            params["access_token"] = access
            chosen.tokens.append((access, ""))
        chosen.client.request("private/subscribe", **params)

    def check(self) -> int:
        """Cause events and check that each was allowed; return how many were received."""
        received = 0
        for cause in (trade_and_rest_order, flush_all, Harness.tick, flush_all):
            cause(self.harness)
            received += sum(map(self._check_received, self.clients))
        return received

    def _check_received(self, chosen: RandomClient) -> int:
        pushes = [push["params"] for push in chosen.client.sink.pushes]
        chosen.client.sink.pushes.clear()
        for push in pushes:
            scope = "account:read" if "portfolio" in push["channel"] else "trade:read"
            # Portfolios and bare positions do not name their account.
            owners = _accounts(push["data"]) or {101, 102}
            assert any(chosen.may_receive(account, scope) for account in owners), push
        return len(pushes)


def _accounts(data: object) -> set[int]:
    """Return the accounts that private data belongs to."""
    if isinstance(data, dict):
        mine = {data["user_id"]} if "user_id" in data else set()
        return mine.union(*(_accounts(value) for value in data.values()))
    if isinstance(data, list):
        return set().union(*(_accounts(value) for value in data))
    return set()


@pytest.mark.parametrize("seed", range(12))
def test_only_valid_log_ins_receive_private_events(seed: int) -> None:
    """Each private event is one that a valid token of the connection allows."""
    random_clients = RandomClients(random.Random(seed))
    received = 0
    for _ in range(60):
        random_clients.step()
        received += random_clients.check()
    assert received
    for chosen in random_clients.clients:
        chosen.client.hang_up()
    grants = random_clients.harness.venue.feed.login_subscriptions
    assert (
        0
        == len(grants)
        == len(grants._of_sink)
        == len(grants._of_family)
        == len(grants._families_to_check)
    )
    assert 0 == len(grants._by_name)
