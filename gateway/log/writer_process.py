"""A program that appends the data it receives to a file, and syncs the file.

    python writer_process.py SOCKET [descriptors that are only kept open]

SOCKET is the descriptor of a stream socket. A request is a length and as many bytes of data, with
the descriptor of the file if that differs from the last one. The reply is an error number, 0 for
success, and the microseconds that the write took. The program ends after an error, because nothing
may be written then.

It imports no module of Tidegate, so that it starts quickly.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from time import perf_counter
from typing import Final

LENGTH: Final = struct.Struct("=Q")
DONE: Final = struct.Struct("=iI")

PRIORITY: Final = -10

# fdatasync also syncs a changed file size. The other metadata is not needed.
sync = os.fdatasync if hasattr(os, "fdatasync") else os.fsync


def main() -> None:
    """Serve until the venue closes the socket; signals that would cut a write short are ignored."""
    # Every order waits for this process, which uses little time: raise its priority if permitted.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # A venue that is killed closes the socket at any point.
    with socket.socket(fileno=int(sys.argv[1])) as venue, suppress(ConnectionError):
        _serve(venue)


def _serve(venue: socket.socket) -> None:
    file = -1
    while True:
        head, files, _, _ = socket.recv_fds(venue, LENGTH.size, 1)
        if files:
            if file >= 0:
                os.close(file)
            (file,) = files
        head += _receive(venue, LENGTH.size - len(head))
        if len(head) < LENGTH.size:
            return
        (length,) = LENGTH.unpack(head)
        data = _receive(venue, length)
        if len(data) < length:
            return
        began = perf_counter()
        error = _append(file, data)
        micros = int(1e6 * (perf_counter() - began))
        venue.sendall(DONE.pack(error, min(micros, 2**32 - 1)))
        if error:
            return


def _receive(venue: socket.socket, length: int) -> bytes:
    """Return `length` bytes, or fewer at the end of the stream."""
    data = bytearray(length)
    left = memoryview(data)
    while left:
        count = venue.recv_into(left)
        if not count:
            break
        left = left[count:]
    return bytes(data[: length - len(left)])


def _append(file: int, data: bytes) -> int:
    """Write all of `data` and make it durable; return the error number, or 0."""
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(file, left) :]
        sync(file)
    except OSError as error:
        return error.errno or -1
    return 0


if __name__ == "__main__":
    main()
