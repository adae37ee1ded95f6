"""What may be on its way, and what a session may send."""

from __future__ import annotations

from collections import deque

import pytest

from splitnet.machines.pacing import CALM_CHUNK_BYTES, CHUNK_S, FIRST_WINDOW_BYTES, Pacer
from splitnet.machines.uplink import Uplink
from splitnet.values import RequestClass
from splitnet.wire import Cancel, Chunk, Credit, Hollow, Infer, InferFlag, ProgressAck, Welcome


def transfer(pacer: Pacer, nbytes: int, rate_bps: float, rtt_s: float) -> float:
    """Send `nbytes` through a link as fast as the window allows; return the goodput in bit/s."""
    now_s, left, link_free_s = 0.0, nbytes, 0.0
    under_way: deque[tuple[float, int]] = deque()
    acked = 0
    while acked < nbytes:
        while left and pacer.unacked_bytes < pacer.window_bytes(rtt_s):
            chunk = min(left, pacer.chunk_bytes(None, 1 << 18))
            left -= chunk
            pacer.on_sent(chunk, now_s, app_limited=left == 0)
            link_free_s = max(now_s, link_free_s) + 8 * chunk / rate_bps
            under_way.append((link_free_s + rtt_s, chunk))
        now_s, chunk = under_way.popleft()
        acked += chunk
        pacer.on_ack(acked, now_s)
    return 8 * nbytes / now_s


@pytest.mark.parametrize("rate_bps", [0.5e6, 5e6, 50e6])
@pytest.mark.parametrize("rtt_s", [0.005, 0.05])
def test_the_window_fills_the_link_and_hides_little(rate_bps: float, rtt_s: float) -> None:
    pacer = Pacer()
    nbytes = int(4 * rate_bps / 8)
    assert transfer(pacer, nbytes, rate_bps, rtt_s) >= 0.8 * rate_bps
    pipe_bytes = rate_bps / 8 * (rtt_s + CHUNK_S)
    assert pacer.window_bytes(rtt_s) <= max(FIRST_WINDOW_BYTES, 1.5 * pipe_bytes)


def test_a_chunk_is_twenty_milliseconds_of_link_time_and_small_on_all_but_fast_links() -> None:
    pacer = Pacer()
    assert pacer.chunk_bytes(None, 1 << 20) == 8192
    assert pacer.chunk_bytes(1e6, 1 << 20) == 2500
    assert pacer.chunk_bytes(10e3, 1 << 20) == 1024
    assert pacer.chunk_bytes(1e9, 1 << 20) == CALM_CHUNK_BYTES
    pacer.rate_bps = 50e6
    assert pacer.chunk_bytes(1e9, 1 << 20) == CALM_CHUNK_BYTES
    pacer.rate_bps = 1e9
    assert pacer.chunk_bytes(None, 1 << 20) == 62_500
    assert pacer.chunk_bytes(None, 1 << 15) == 1 << 15


def test_idle_time_says_nothing_of_the_rate() -> None:
    pacer = Pacer()
    pacer.on_sent(10_000, 0.0, app_limited=True)
    pacer.on_ack(10_000, 0.1)
    assert pacer.rate_bps == pytest.approx(8e5)
    pacer.on_sent(10_000, 60.0, app_limited=True)
    pacer.on_ack(20_000, 60.1)
    assert pacer.rate_bps == pytest.approx(8e5)
    assert pacer.oldest(61.0) == (0, 0.0)


def paced(pacer: Pacer, start_s: float, count: int, rate_bps: float) -> float:
    """Send messages of 1,000 bytes at a rate, each acknowledged after 50 ms; return the end."""
    before_bytes, step_s = pacer.sent_bytes, 8 * 1000 / rate_bps
    events = [(number * step_s, number) for number in range(count)]
    events += [(number * step_s + 0.05, -number) for number in range(1, count + 1)]
    for after_s, number in sorted(events):
        if number < 0:
            pacer.on_ack(before_bytes - 1000 * number, start_s + after_s)
        else:
            pacer.on_sent(1000, start_s + after_s, app_limited=False)
    return start_s + max(events)[0]


def test_acknowledgements_that_waited_for_each_other_do_not_raise_the_rate() -> None:
    pacer = Pacer()
    for number in range(50):
        pacer.on_sent(1000, 0.01 * number, app_limited=False)
    for number in range(1, 51):
        pacer.on_ack(1000 * number, 0.6 + 1e-5 * number)
    assert pacer.rate_bps is not None
    assert pacer.rate_bps <= 8 * 1000 / 0.01 * 1.05


def test_a_pause_of_the_transport_is_forgotten_and_a_slower_link_is_not() -> None:
    pacer = Pacer()
    now_s = paced(pacer, 0.0, 500, rate_bps=8e6)
    assert pacer.rate_bps == pytest.approx(8e6, rel=0.05)
    now_s = paced(pacer, now_s, 20, rate_bps=0.8e6)
    assert pacer.rate_bps == pytest.approx(8e6, rel=0.05)
    paced(pacer, now_s, 120, rate_bps=0.8e6)
    assert pacer.rate_bps == pytest.approx(0.8e6, rel=0.05)


def test_an_acknowledgement_of_more_than_was_sent_is_cut() -> None:
    pacer = Pacer()
    pacer.on_sent(100, 0.0, app_limited=True)
    pacer.on_ack(10**12, 0.1)
    assert pacer.unacked_bytes == 0
    pacer.on_ack(50, 0.2)
    assert pacer.unacked_bytes == 0


def uplink(credit_requests: int = 10, credit_bytes: int = 1 << 20) -> Uplink:
    welcome = Welcome(
        session=7,
        epoch=1,
        handles=((3, 0), None),
        missing_tables=(),
        max_request_bytes=1 << 19,
        max_chunk_bytes=1 << 18,
        credit_requests=credit_requests,
        credit_bytes=credit_bytes,
        heartbeat_ms=1000,
    )
    return Uplink(welcome, 1 << 18)


def put(link: Uplink, request: int, *nbytes: int) -> None:
    link.put(
        0,
        [Hollow(n) for n in nbytes],
        request=request,
        level=1,
        stop=3,
        request_class=RequestClass.LIVE,
        budget_us=5,
        dims=(),
    )


def pump(link: Uplink, now_s: float = 0.0) -> list[Infer | Chunk]:
    return link.pump(0.01, None, now_s)


def test_a_payload_leaves_in_chunks_inside_the_window() -> None:
    link = uplink()
    put(link, 1, 100_000)
    first = pump(link)
    assert isinstance(first[0], Infer) and first[0].flags == InferFlag.MORE_CHUNKS
    assert (first[0].session, first[0].contract, first[0].level) == (7, 3, 1)
    assert [c.index for c in first if isinstance(c, Chunk)] == list(range(1, len(first)))
    assert FIRST_WINDOW_BYTES <= link.pacer.unacked_bytes < FIRST_WINDOW_BYTES + 8300
    assert pump(link) == []
    rest: list[Infer | Chunk] = []
    for step in range(1, 20):
        link.on_ack(ProgressAck(link.pacer.sent_bytes), step * 0.1)
        rest += pump(link, step * 0.1)
    assert sum(len(m.payload) for m in first + rest) == 100_000
    assert isinstance(rest[-1], Chunk) and rest[-1].last
    assert not any(c.last for c in (first + rest)[:-1] if isinstance(c, Chunk))


def test_a_reply_acknowledges_what_was_sent_for_it() -> None:
    link = uplink()
    put(link, 1, 5000)
    pump(link)
    assert link.pacer.unacked_bytes > 5000
    link.on_reply(1, 1, 0.1)
    assert link.pacer.unacked_bytes == 0
    link.on_reply(99, 1, 0.1)


def test_credit_is_spent_when_queued_and_returned_for_what_never_left() -> None:
    link = uplink(credit_requests=2, credit_bytes=200_000)
    put(link, 1, 100_000)
    put(link, 2, 100_000)
    assert not link.has_credit(1)
    assert link.cancel(2) == []
    assert link.has_credit(100_000) and not link.has_credit(100_001)
    sent = sum(len(message.payload) for message in pump(link))
    assert link.cancel(1) == [Cancel(1)]
    assert link.has_credit(200_000 - sent) and not link.has_credit(200_001 - sent)
    assert pump(link) == []
    link.on_credit(Credit(1, 1))  # a grant is never lowered
    assert link.has_credit(100_000)


def test_paths_and_sizes_that_the_worker_does_not_take_are_known() -> None:
    link = uplink()
    assert link.serves(0) and not link.serves(1)
    assert link.takes(1 << 19) and not link.takes((1 << 19) + 1)
