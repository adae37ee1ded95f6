"""From the settings to a running shaper, and what it reports."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any

from splitnet.errors import ConfigError
from splitnet.sim.link_settings import open_link
from splitnet.sim.shaper import Shaper
from splitnet.sim.shaper_config import ShaperConfig
from splitnet.sim.shaper_lane import Lane
from splitnet.sim.shaper_leg import Leg
from splitnet.sim.shaper_sockets import Address, listen_at, parse_address
from splitnet.sim.shaper_waiter import Waiter
from splitnet.sim.traces import Trace


def shape(
    config: ShaperConfig,
    emit: Callable[[dict[str, Any]], None],
    notice: Callable[[str], None],
) -> None:
    """Shape connections until SIGTERM or SIGINT, then emit the report; SIGUSR1 asks for one.

    Raises
    ------
    SplitnetError
        The settings or a file cannot be used, or the port is taken.
    """
    target = parse_address(config.to, "--to")
    listen = parse_address(config.listen, "--listen", any_port=True)
    if target == listen:
        raise ConfigError(f"--listen and --to are both {target}: the shaper would lead to itself")
    link, traces = open_link(config)
    listener = listen_at(listen, config.queue_bytes)
    for remark in (remark for trace in traces for remark in trace.remarks):
        notice(remark)
    waiter = Waiter()
    shaper = Shaper(link, listener, target, waiter)
    endpoint = Address(listen.host, listener.getsockname()[1])
    handlers = {
        signal.SIGTERM: shaper.stop,
        signal.SIGINT: shaper.stop,
        signal.SIGUSR1: lambda: emit({"report": report(shaper, traces)}),
    }
    with waiter.signals(handlers):
        emit({"endpoint": str(endpoint), "to": str(target)})
        shaper.run()
    emit({"report": report(shaper, traces)})
    waiter.close()


def report(shaper: Shaper, traces: Sequence[Trace] = ()) -> dict[str, Any]:
    """Return how well rate and delay were kept, and what else happened."""
    seconds = shaper.waiter.now()
    return {
        "seconds": round(seconds, 3),
        "traces": [
            {"name": t.name, "ending": t.ending, "times_ended": int(seconds / t.duration_s)}
            for t in traces
        ],
        "connections": {"open": shaper.connections, **dict(sorted(shaper.counters.items()))},
        "timer_lateness_ms": shaper.waiter.lateness.to_json(),
        "up": _lane(shaper.up),
        "down": _lane(shaper.down),
    }


def _lane(lane: Lane[Leg]) -> dict[str, Any]:
    return {
        "received_bytes": lane.received_bytes,
        "delivered_bytes": lane.rate.delivered_bytes,
        "dropped_bytes": lane.dropped_bytes,
        "delay_error_ms": lane.delay_error.to_json(),
        "windows_1s": lane.rate.to_json(),
    }
