"""How much may be on its way, so that a cancel or a newer frame never stands behind old bytes.

libzmq and the kernel would hide megabytes on a stalled link. The pacing window bounds the bytes
that the worker has not acknowledged to what the link delivers in a round trip and 20 ms; a chunk is
at most 20 ms of link time. The delivery rate is measured as in BBR: what was acknowledged between
the sending of a byte and its acknowledgement.

Source: Cardwell et al., BBR: Congestion-Based Congestion Control, ACM Queue 14(5), 2016;
draft-ietf-ccwg-bbr, section 4.1 (rate samples, limited by the application or not).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

CHUNK_S = 0.02
"""Link time of one chunk at most, and what the window holds beyond a round trip."""

CALM_CHUNK_BYTES, CALM_CHUNK_S = 16384, 0.0005
"""A chunk of more than 16 KB is at most 0.5 ms of link time, at the rate measured here.

ZeroMQ holds two chunks and the kernel takes one beyond its limit, so that a link that stalls hides
three of them. Measured at 50 Mbit/s and 50 ms (benchmarks/tun_link.py): up to 220 KB with chunks of
20 ms, 41 KB with chunks of 16 KB, at the same rate. On loopback 16 KB is four times slower.
"""

MIN_CHUNK_BYTES, FIRST_CHUNK_BYTES = 1024, 8192
"""Smallest chunk, and the size of one before anything is known of the link."""

FIRST_WINDOW_BYTES = 32768
"""Bytes that may be unacknowledged before anything is known; the worker acknowledges every 8 KB."""

STARTUP_GAIN = 2.0
"""While the rate still grows, the window doubles with every round, as TCP's slow start does."""

STILL_GROWING, PATIENT_ROUNDS = 1.25, 3
"""The start is over after 3 rounds in which the rate grew by less than a quarter (BBR)."""

RATE_S = 0.4
"""The rate is the highest sample of so long. TCP pauses and bursts within it (BBR drains its own
queue for 0.2 s now and then); on a link that got slower the window must not stay wide longer."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A message under way: cumulative bytes behind it, and what was delivered when it left.

    Attributes
    ----------
    after_s
        When the message was sent that was acknowledged last before this one was sent.
    """

    sent_bytes: int
    sent_s: float
    after_s: float
    delivered_bytes: int
    delivered_s: float
    app_limited: bool


class Pacer:
    """The bytes under way on one connection and the rate at which they arrive."""

    def __init__(self, first_chunk_bytes: int = FIRST_CHUNK_BYTES) -> None:
        self._first_chunk_bytes = first_chunk_bytes
        self.rate_bps: float | None = None
        self._sent_bytes = 0
        self._acked_bytes = 0
        self._acked_s = 0.0
        self._after_s = 0.0
        self._samples: deque[tuple[float, float]] = deque()
        self._marks: deque[_Mark] = deque()
        self._starting = True
        self._best_bps = 0.0
        self._flat_rounds = 0
        self._round_ends_bytes = 0

    @property
    def unacked_bytes(self) -> int:
        """Bytes that the worker has not acknowledged yet."""
        return self._sent_bytes - self._acked_bytes

    def oldest(self, now_s: float) -> tuple[int, float]:
        """Return size and age of the oldest message that is not acknowledged, zeros if none is."""
        if not self._marks:
            return 0, 0.0
        mark = self._marks[0]
        return mark.sent_bytes - self._acked_bytes, now_s - mark.sent_s

    def window_bytes(self, rtt_s: float) -> int:
        """Return how many bytes may be unacknowledged on a link with this round trip time."""
        if self.rate_bps is None:
            return FIRST_WINDOW_BYTES
        gain = STARTUP_GAIN if self._starting else 1.0
        return max(FIRST_WINDOW_BYTES // 2, int(gain * self.rate_bps / 8 * (rtt_s + CHUNK_S)))

    def modest_window_bytes(self, rtt_s: float) -> int:
        """Return the same for bytes that the next base must not wait behind: refinements.

        It has room for a link that got faster to show it, and on a slow one for a chunk.
        """
        if self.rate_bps is None:
            return FIRST_CHUNK_BYTES
        fitting = int(STARTUP_GAIN * self.rate_bps / 8 * (rtt_s + CHUNK_S))
        return max(fitting, MIN_CHUNK_BYTES)

    def chunk_bytes(self, goodput_bps: float | None, limit: int) -> int:
        """Return the size of the next chunk, at most `limit`, for the rate of the link."""
        known = [rate for rate in (self.rate_bps, goodput_bps) if rate is not None]
        wanted = int(max(known) / 8 * CHUNK_S) if known else self._first_chunk_bytes
        calm = max(CALM_CHUNK_BYTES, int((self.rate_bps or 0.0) / 8 * CALM_CHUNK_S))
        return min(max(min(wanted, calm), MIN_CHUNK_BYTES), limit)

    def on_sent(self, nbytes: int, now_s: float, app_limited: bool) -> None:
        """Note a message of `nbytes`, head included; `app_limited` if no other waits behind it."""
        if not self._marks:
            # An idle link delivers nothing, which says nothing of its rate.
            self._acked_s = self._after_s = now_s
        self._sent_bytes += nbytes
        delivered = (self._acked_bytes, self._acked_s)
        self._marks.append(_Mark(self._sent_bytes, now_s, self._after_s, *delivered, app_limited))

    @property
    def sent_bytes(self) -> int:
        """Bytes sent on this connection, heads included."""
        return self._sent_bytes

    def on_ack(self, received_bytes: int, now_s: float, *, prompt: bool = True) -> None:
        """Take the worker's count of bytes received on this connection.

        A reply acknowledges too, but it is not `prompt`: its time says nothing of the link.
        """
        acked_bytes = min(received_bytes, self._sent_bytes)
        if acked_bytes <= self._acked_bytes:
            return
        self._acked_bytes = acked_bytes
        self._acked_s = now_s
        newest = None
        while self._marks and self._marks[0].sent_bytes <= acked_bytes:
            newest = self._marks.popleft()
        if newest is None:
            return
        self._after_s = newest.sent_s
        # Acknowledgements that waited for each other come faster than what they acknowledge.
        took_s = max(now_s - newest.delivered_s, newest.sent_s - newest.after_s)
        if prompt and took_s > 0:
            rate_bps = 8 * (acked_bytes - newest.delivered_bytes) / took_s
            self._on_sample(rate_bps, newest.app_limited, now_s)

    def _on_sample(self, rate_bps: float, app_limited: bool, now_s: float) -> None:
        """Take a delivery rate; one limited by the application can only raise the estimate."""
        if not app_limited or self.rate_bps is None or rate_bps >= self.rate_bps:
            while self._samples and self._samples[-1][1] <= rate_bps:
                self._samples.pop()
            self._samples.append((now_s, rate_bps))
            while self._samples[0][0] <= now_s - RATE_S:
                self._samples.popleft()
            self.rate_bps = self._samples[0][1]
        if self._starting and self._acked_bytes >= self._round_ends_bytes and not app_limited:
            self._round_ends_bytes = self._sent_bytes
            grew = rate_bps >= STILL_GROWING * self._best_bps
            self._flat_rounds = 0 if grew else self._flat_rounds + 1
            self._best_bps = max(self._best_bps, rate_bps)
            self._starting = self._flat_rounds < PATIENT_ROUNDS
