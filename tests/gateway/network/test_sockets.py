"""Listening sockets, and the options that accepted sockets inherit."""

import errno
import socket
from contextlib import ExitStack

import pytest

from gateway.config.toml_reader import ConfigError, Endpoint
from gateway.network import sockets
from gateway.network.sockets import RECEIVE_BYTES, SEND_BYTES, address_of, bind

MOST = 4 * SEND_BYTES


def test_the_send_buffer_of_a_client_that_does_not_read_is_small() -> None:
    """The buffers of a thousand clients fit into memory, and fill up soon."""
    with ExitStack() as stack:
        listening = stack.enter_context(bind(Endpoint("127.0.0.1", 0), send_bytes=SEND_BYTES)[0])
        listening.listen()
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(listening.getsockname())
        accepted = stack.enter_context(listening.accept()[0])
        accepted.settimeout(0)
        taken = 0
        try:
            while taken < 2 * MOST:
                taken += accepted.send(bytes(300))
        except BlockingIOError:
            pass
        assert taken < MOST


def test_the_receive_buffer_of_a_client_that_is_not_read_is_small() -> None:
    """A client that sends more than is read is blocked by its socket soon."""
    with ExitStack() as stack:
        (bound,) = bind(Endpoint("127.0.0.1", 0), receive_bytes=RECEIVE_BYTES)
        listening = stack.enter_context(bound)
        listening.listen()
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        client.connect(listening.getsockname())
        stack.enter_context(listening.accept()[0])
        client.settimeout(0.2)
        taken = 0
        try:
            while taken < 8 * RECEIVE_BYTES:
                taken += client.send(bytes(150))
        except TimeoutError:
            pass
        assert taken < 4 * RECEIVE_BYTES


def loopbacks() -> set[str]:
    """Return the loopback addresses of this machine."""
    found = set[str]()
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.bind((address, 0))
        except OSError:
            continue
        found.add(address)
    return found


def test_localhost_is_both_loopback_addresses_on_one_port() -> None:
    """Browsers try ::1 first, other clients 127.0.0.1; a port chosen by the system is the same."""
    for _ in range(20):
        with ExitStack() as stack:
            bound = bind(Endpoint("localhost", 0))
            for each in bound:
                stack.enter_context(each).listen()
            assert loopbacks() == {each.getsockname()[0] for each in bound}
            (port,) = {each.getsockname()[1] for each in bound}
            name = "localhost" if len(bound) > 1 else "127.0.0.1"
            assert Endpoint(name, port) == address_of(Endpoint("localhost", 0), bound)
            with pytest.raises(ConfigError, match=f"cannot listen on localhost:{port}"):
                bind(Endpoint("localhost", port))


def test_another_port_is_chosen_when_it_is_taken_on_one_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system chooses a port for the first address, which may be in use on the second."""
    if len(loopbacks()) < 2:
        pytest.skip("one loopback address")
    made: list[int] = []

    def taken_twice(family: int, address: tuple[str, int], options: object) -> socket.socket:
        made.append(family)
        if family == socket.AF_INET6 and made.count(family) < 3:
            raise OSError(errno.EADDRINUSE, "taken")
        return real(family, address, {})

    real = sockets._bind
    monkeypatch.setattr(sockets, "_bind", taken_twice)
    bound = bind(Endpoint("localhost", 0))
    assert 2 == len(bound)
    assert 6 == len(made)
    for each in bound:
        each.close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "a\0b", "é..x", "192.0.2.1"])
def test_the_error_names_a_host_that_cannot_be_bound(host: str) -> None:
    """It is a ConfigError, whatever the system raises."""
    with pytest.raises(ConfigError, match="cannot listen on"):
        bind(Endpoint(host, 0))
