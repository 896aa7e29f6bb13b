"""A program that writes what it is sent to the file that it is given, and syncs it.

    python writer_process.py SOCKET [descriptors that are only held]

SOCKET is the descriptor of a stream socket. Over it come a length, with the descriptor of the file
where that is another one than before, and as many bytes; back goes an error number, 0 where there
is none, and how many microseconds it took. After an error it ends: nothing may be written then.

It imports none of ours, so that it starts in the time that Python takes.
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

# The size of a file is synced with its data where that has changed; its times need not be.
sync = os.fdatasync if hasattr(os, "fdatasync") else os.fsync


def main() -> None:
    """Serve until the other side is gone; it alone ends this, so that nothing is left half done."""
    # It does little and everybody waits for it: where that is allowed, before whoever does much.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # A venue that is killed closes the socket in the middle of whatever.
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
    """So many bytes; fewer where there will be no more."""
    data = bytearray(length)
    left = memoryview(data)
    while left:
        count = venue.recv_into(left)
        if not count:
            break
        left = left[count:]
    return bytes(data[: length - len(left)])


def _append(file: int, data: bytes) -> int:
    """Write all of it, and make it durable; returns the number of what went wrong, or 0."""
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
