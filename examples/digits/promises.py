"""What the demo promises of its streams, and what was not kept."""

from __future__ import annotations

from collections import Counter

from examples.digits.road import DEAD
from examples.digits.stream import Answer, Stream

LATE_MS = 5.0
"""Later than its deadline by more than this and the lateness of the timers, an answer is late."""

MIN_CLOUD_SHARE, MIN_EXIT_SHARE = 0.30, 0.05

CLOCKS_S = 0.05
"""How far the clocks of shaper and edge, each known from what was read, may be apart."""


def broken(stream: Stream) -> list[str]:
    """Return what every stream promises and this one did not keep."""
    problems = []
    frames = Counter(answer["frame"] for answer in stream.answers)
    odd = [frame for frame in range(stream.pages) if frames[frame] != 1]
    if odd or len(stream.answers) != stream.pages:
        problems.append(f"pages not answered exactly once: {odd[:10]}")
    if stream.summary.get("answers") != len(stream.answers):
        counted = stream.summary.get("answers")
        problems.append(f"the summary counts {counted} answers of {len(stream.answers)}")
    failed = [answer["frame"] for answer in stream.answers if answer["error"]]
    if failed:
        problems.append(f"pages that ended in an error: {failed[:10]}")
    late = [answer["frame"] for answer in stream.answers if _late_ms(answer) > LATE_MS]
    if late:
        problems.append(f"late pages: {late[:10]}")
    shares = Counter(answer["answered_by"] for answer in stream.answers)
    for by, least in (("cloud", MIN_CLOUD_SHARE), ("exit", MIN_EXIT_SHARE)):
        if shares[by] < least * stream.pages:
            problems.append(
                f"{shares[by]} of {stream.pages} pages by the {by}, fewer than {least:.0%}"
            )
    if stream.exit_code:
        problems.append(f"the edge process ended with code {stream.exit_code}")
    return [f"{stream.name}: {problem}" for problem in problems]


def broken_while_dead(stream: Stream) -> list[str]:
    """Return what the dead phase promises and the stream did not keep.

    Concerned are the pages that no cloud can have answered in time: they arrived after the link had
    died, and their deadlines had passed when it came back.
    """
    pages = _while_dead(stream)
    if not pages:
        return ["no page arrived while the link was dead"]
    cloud = [answer["frame"] for answer in pages if answer["answered_by"] == "cloud"]
    return [f"answered by the cloud over a dead link: pages {cloud[:10]}"] if cloud else []


def while_dead(stream: Stream) -> str:
    """Return who answered the pages that `broken_while_dead` concerns."""
    start_s, end_s = _dead_s(stream)
    pages = _while_dead(stream)
    shares = Counter(answer["answered_by"] for answer in pages)
    by = ", ".join(f"{count} by the {who}" for who, count in shares.most_common())
    return (
        f"the link was dead from {DEAD.start_s:g} to {DEAD.end_s:g} s; of the {len(pages)} pages "
        f"that arrived from {start_s:g} to {end_s:g} s: {by or 'nothing'}"
    )


def _while_dead(stream: Stream) -> list[Answer]:
    return stream.between(*_dead_s(stream))


def _dead_s(stream: Stream) -> tuple[float, float]:
    """Return from when to when pages arrived that the cloud can not have answered in time."""
    return DEAD.start_s + CLOCKS_S, DEAD.end_s - stream.deadline_s - CLOCKS_S


def punctuality(stream: Stream) -> str:
    """Return how late the latest answer was, and how late timers were."""
    if not stream.answers:
        return "no answers"
    latest_ms = max(float(answer["late_ms"]) for answer in stream.answers)
    timers_ms = max(float(answer["timer_late_ms"]) for answer in stream.answers)
    side = "behind" if latest_ms > 0 else "before"
    return (
        f"the latest answer came {abs(latest_ms):.1f} ms {side} its deadline; "
        f"timers were up to {timers_ms:.1f} ms late"
    )


def _late_ms(answer: Answer) -> float:
    """Return how far behind its deadline an answer was, without the lateness of the timers."""
    return float(answer["late_ms"]) - float(answer["timer_late_ms"])
