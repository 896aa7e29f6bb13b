"""The outbox reserves places for replies and bounds everything else."""

from collections.abc import Callable

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.network.outbox import (
    MAX_PRIVATE_BYTES,
    MAX_PRIVATE_MESSAGES,
    MAX_PUBLIC_BYTES,
    MAX_PUBLIC_MESSAGES,
    MAX_REPLIES,
    MAX_REPLY_BYTES,
    WRITE_BYTES,
    Outbox,
)
from gateway.protocol import jsonrpc, large_results
from gateway.protocol.close_codes import CloseReason
from gateway.protocol.large_results import EncodingJob, LargeReply
from tests.gateway.harness import HandClock


def make(dropped: list[str] | None = None, jobs: list[EncodingJob] | None = None) -> Outbox:
    """Return an outbox of session 7."""
    dropped, jobs = dropped if dropped is not None else [], jobs if jobs is not None else []
    return Outbox(7, dropped.append, jobs.append)


def large(slices: int = 2) -> LargeReply:
    """Return a reply of this many slices, which holds the numbers of its rows."""
    rows = large_results.array(range(slices * large_results.ROWS), lambda row: b"%d" % row)
    reply = large_results.reply(jsonrpc.RequestMeta(1, 0, testnet=True), rows, HandClock())
    assert isinstance(reply, LargeReply)
    return reply


def run_jobs(jobs: list[EncodingJob]) -> None:
    """Run all jobs, one slice of each in turn."""
    while jobs:
        job = jobs.pop(0)
        if not job():
            jobs.append(job)


def drain(outbox: Outbox) -> list[bytes]:
    """Take everything that is queued, in order."""
    messages: list[bytes] = []
    while taken := outbox.take():
        messages += taken
    return messages


def reply(outbox: Outbox, reply: bytes) -> None:
    """Reserve a place and queue a reply."""
    outbox.reserve()
    outbox.reply(reply)


def test_messages_are_taken_in_the_order_queued() -> None:
    """Replies, private and public messages share one queue."""
    outbox = make()
    reply(outbox, b"1")
    outbox.send_private(b"2")
    assert outbox.try_send_public(b"3")
    assert [b"1", b"2", b"3"] == drain(outbox)


async def test_a_reader_waits_while_all_reply_places_are_reserved() -> None:
    """One more request is read once one reply was taken by the writer."""
    outbox = make()
    for _ in range(MAX_REPLIES):
        await outbox.wait_for_reply_capacity()
        outbox.reserve()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.wait_for_reply_capacity)
        await wait_all_tasks_blocked()
        assert 1 == len(nursery.child_tasks)
        outbox.reply(b"x")
        await wait_all_tasks_blocked()
        assert 1 == len(nursery.child_tasks), "queued is not sent"
        assert [b"x"] == outbox.take()
        await wait_all_tasks_blocked()
        assert 0 == len(nursery.child_tasks)


async def test_a_reader_waits_while_queued_replies_exceed_the_byte_limit() -> None:
    """A few large replies fill the queue too."""
    outbox = make()
    reply(outbox, bytes(MAX_REPLY_BYTES))
    with trio.move_on_after(0) as scope:
        await outbox.wait_for_reply_capacity()
    assert scope.cancelled_caught
    drain(outbox)
    await outbox.wait_for_reply_capacity()


def test_a_reply_fits_when_everything_else_is_full() -> None:
    """Its place was reserved before its request was read."""
    outbox = make()
    while outbox.try_send_public(bytes(1_000)):
        pass
    reply(outbox, b"reply")
    assert b"reply" == drain(outbox)[-1]


def test_public_data_beyond_the_message_limit_is_refused() -> None:
    """The publisher gets False, and queued messages stay."""
    dropped: list[str] = []
    outbox = make(dropped)
    assert all(outbox.try_send_public(b"x") for _ in range(MAX_PUBLIC_MESSAGES))
    assert not outbox.try_send_public(b"x")
    assert ["public"] == dropped
    assert MAX_PUBLIC_MESSAGES == len(drain(outbox))
    assert outbox.close_reason is None


def test_public_data_beyond_the_byte_limit_is_refused() -> None:
    """A few snapshots take as many bytes as many changes."""
    outbox = make()
    assert outbox.try_send_public(bytes(MAX_PUBLIC_BYTES))
    assert not outbox.try_send_public(b"x")


def test_private_data_beyond_the_message_limit_disconnects_the_client() -> None:
    """No private event is left out without the client noticing: it is disconnected with 1008."""
    dropped: list[str] = []
    outbox = make(dropped)
    for _ in range(MAX_PRIVATE_MESSAGES):
        outbox.send_private(b"x")
    assert (None, []) == (outbox.close_reason, dropped)
    outbox.send_private(b"x")
    assert CloseReason(1008, "connection_too_slow") == outbox.close_reason
    assert ["private"] == dropped
    assert [] == drain(outbox), "it does not read what is queued either"


def test_private_data_beyond_the_byte_limit_disconnects_the_client() -> None:
    """A few large events take as much memory as many small ones."""
    outbox = make()
    outbox.send_private(bytes(MAX_PRIVATE_BYTES))
    assert (None, MAX_PRIVATE_BYTES) == (outbox.close_reason, outbox.size)
    outbox.send_private(b"x")
    assert CloseReason(1008, "connection_too_slow") == outbox.close_reason
    assert 0 == outbox.size


def test_after_a_disconnect_nothing_is_queued_and_publishers_get_no_error() -> None:
    """Publishers need not check whether a client is connected; the first close reason stays."""
    dropped: list[str] = []
    outbox = make(dropped)
    outbox.send_private(b"before")
    outbox.disconnect(1001, "going away")
    outbox.disconnect(1008, "too late")
    reply(outbox, b"x")
    outbox.send_private(b"x")
    assert outbox.try_send_public(b"x")
    assert [b"before"] == drain(outbox)
    assert CloseReason(1001, "going away") == outbox.close_reason
    assert [] == dropped


def test_a_write_is_bounded_in_bytes() -> None:
    """The send deadline applies to one write."""
    outbox = make()
    for _ in range(5):
        outbox.send_private(bytes(WRITE_BYTES // 2))
    assert [2, 2, 1, 0] == [len(outbox.take()) for _ in range(4)]
    assert 0 == outbox.size


async def test_replies_count_as_sent_once_the_writer_has_taken_them() -> None:
    """A connection that is closing sends all replies first."""
    outbox = make()
    outbox.reserve()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.wait_replies_sent)
        await wait_all_tasks_blocked()
        outbox.reply(b"x")
        await wait_all_tasks_blocked()
        assert 1 == len(nursery.child_tasks)
        outbox.take()


async def test_a_message_or_a_disconnect_wakes_the_writer() -> None:
    """The writer needs no timer."""
    outbox = make()
    news: list[Callable[[], None]] = [
        lambda: outbox.send_private(b"x"),
        lambda: outbox.disconnect(1000, ""),
    ]
    for each in news:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.wait)
            await wait_all_tasks_blocked()
            each()
        outbox.take()


def test_a_reply_taken_among_other_messages_frees_its_place() -> None:
    """Replies and their bytes are counted apart from other messages."""
    outbox, half = make(), bytes(WRITE_BYTES // 2)
    for turn in range(3):
        for size in (1, WRITE_BYTES // 2, WRITE_BYTES // 2, 3, WRITE_BYTES):
            outbox.send_private(half)
            reply(outbox, b"r" * size)
        queued = len(outbox)
        while taken := outbox.take():
            queued -= len(taken)
            assert (queued + 1) // 2 == outbox.replies_reserved
        assert (0, 0, 0) == (outbox.replies_reserved, outbox.size, outbox._reply_bytes), turn


def test_messages_after_a_large_reply_wait_until_it_is_encoded() -> None:
    """Its content is of the moment at which it was queued."""
    jobs: list[EncodingJob] = []
    outbox = make(jobs=jobs)
    outbox.send_private(b"before")
    outbox.reserve()
    outbox.reply(large())
    outbox.send_private(b"after")
    assert [b"before"] == outbox.take()
    assert [] == outbox.take()
    (job,) = jobs
    assert [False, False, False] == [job(), job(), job()]
    assert [] == outbox.take(), "the envelope is still missing"
    assert job()
    reply, after = outbox.take()
    assert list(range(2 * large_results.ROWS)) == msgspec.json.decode(reply)["result"]
    assert b"after" == after
    assert 0 == outbox.size == outbox.replies_reserved == len(outbox)


def test_several_large_replies_keep_their_order_whichever_is_encoded_first() -> None:
    """A short reply does not overtake a long one."""
    jobs: list[EncodingJob] = []
    outbox = make(jobs=jobs)
    for slices in (5, 2):
        outbox.reserve()
        outbox.reply(large(slices))
    while not jobs[1]():
        assert [] == outbox.take()
    assert [] == outbox.take()
    run_jobs(jobs[:1])
    lengths = [len(msgspec.json.decode(reply)["result"]) for reply in drain(outbox)]
    assert [5 * large_results.ROWS, 2 * large_results.ROWS] == lengths
    assert 0 == outbox.replies_reserved


async def test_a_reader_waits_while_a_large_reply_is_encoded() -> None:
    """A client has one large reply at a time, also if it pipelines requests for many."""
    jobs: list[EncodingJob] = []
    outbox = make(jobs=jobs)
    outbox.reserve()
    outbox.reply(large())
    assert outbox.replies_full
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.wait_for_reply_capacity)
        await wait_all_tasks_blocked()
        assert 1 == len(nursery.child_tasks)
        run_jobs(jobs)
    assert not outbox.replies_full


def test_a_large_reply_does_not_count_against_public_data() -> None:
    """A client that asked for a large reply is not slow because of it."""
    outbox = make()
    reply(outbox, bytes(MAX_PUBLIC_BYTES))
    assert outbox.try_send_public(b"trade")


@pytest.mark.parametrize("advanced", [0, 1, 3])
def test_a_disconnect_drops_an_unfinished_reply_and_all_messages_after_it(advanced: int) -> None:
    """Earlier messages are still written; nothing more is encoded."""
    jobs: list[EncodingJob] = []
    outbox = make(jobs=jobs)
    outbox.send_private(b"before")
    reply(outbox, b"reply")
    outbox.reserve()
    outbox.reply(large())
    outbox.send_private(b"behind")
    for _ in range(advanced):
        assert not jobs[0]()
    outbox.disconnect(1008, "enough")
    assert jobs[0](), "the job is over"
    assert [b"before", b"reply"] == drain(outbox)
    assert 0 == outbox.size == len(outbox)


async def test_a_writer_waits_while_the_first_reply_is_being_encoded() -> None:
    """It neither polls nor ends."""
    jobs: list[EncodingJob] = []
    outbox = make(jobs=jobs)
    outbox.reserve()
    outbox.reply(large())
    outbox.send_private(b"behind")
    with trio.move_on_after(0) as scope:
        await outbox.wait()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.wait)
        await wait_all_tasks_blocked()
        run_jobs(jobs)
