"""What the sockets that we listen on give to those that are accepted."""

import socket
from contextlib import ExitStack

from gateway.settings import Endpoint
from gateway.sockets import RECEIVE_BYTES, SEND_BYTES, bind

MOST = 4 * SEND_BYTES


def test_the_kernel_keeps_little_for_a_client_that_does_not_read() -> None:
    """The buffers of a thousand stuck readers fit into memory, and are soon seen to be full."""
    with ExitStack() as stack:
        listening = stack.enter_context(bind(Endpoint("127.0.0.1", 0), send_bytes=SEND_BYTES))
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


def test_the_kernel_keeps_little_of_a_client_that_is_not_read() -> None:
    """Whoever sends more than is read is held up by the socket, and does not queue for minutes."""
    with ExitStack() as stack:
        listening = stack.enter_context(bind(Endpoint("127.0.0.1", 0), receive_bytes=RECEIVE_BYTES))
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
