"""From the settings to a running agent: everything is checked before the first frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from splitnet.edge.agent import EdgeAgent
from splitnet.edge.config import EdgeConfig
from splitnet.edge.pace import Pace, frames_of
from splitnet.edge.reporting import Summary
from splitnet.edge.sources import open_source, readable_sample
from splitnet.errors import ConfigError
from splitnet.machines.agent import AgentConfig, AgentMachine
from splitnet.machines.link import LinkConfig
from splitnet.policies.making import make_policy
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.emulation import Emulation, parse_emulation
from splitnet.runtime.warmup import warm_up
from splitnet.transport.dealer import Dealer
from splitnet.transport.endpoints import check_endpoint
from splitnet.transport.reactor import Reactor
from splitnet.wire import MAX_HEAD_BYTES


def run_edge(
    config: EdgeConfig,
    emit: Callable[[dict[str, Any]], None],
    notice: Callable[[str], None],
) -> Summary:
    """Answer the frames of the source, then emit the summary; SIGTERM and SIGINT drain.

    Raises
    ------
    SplitnetError
        The settings, the bundle or the samples cannot be used.
    """
    endpoint = check_endpoint(config.connect, "--connect")
    emulation = (
        Emulation() if config.emulate_device is None else parse_emulation(config.emulate_device)
    )
    policy = make_policy(config.policy)
    source = open_source(config.source)
    bundle = open_bundle(config.bundle)
    runtime = DeviceRuntime(config.bundle, bundle, config.threads, emulation)
    profile = warm_up(runtime, bundle, readable_sample(source))
    machine = AgentMachine(bundle, profile, policy, _agent_config(config))
    _check_deadline(machine, config.deadline_ms)
    reactor = Reactor()

    def open_dealer() -> Dealer:
        return Dealer(
            reactor,
            endpoint,
            max_message_bytes=config.max_reply_bytes + MAX_HEAD_BYTES,
            queue_bytes=config.send_queue_bytes,
            connect_s=LinkConfig().handshake_s,
        )

    try:
        frames = frames_of(source, config.repeat, config.limit)
        pace = Pace(frames, config.rate)
        agent = EdgeAgent(machine, runtime, pace, reactor, open_dealer, emit, notice)
        with reactor.stop_signals(agent.stop):
            summary = agent.run()
    finally:
        reactor.close()
    emit({"summary": summary.to_json(machine.counters)})
    return summary


def _agent_config(config: EdgeConfig) -> AgentConfig:
    return AgentConfig(
        deadline_s=None if config.deadline_ms is None else config.deadline_ms / 1000,
        expiry_s=config.expiry_s,
        queue_frames=config.queue,
        max_inflight=config.max_inflight,
        link=LinkConfig(device=config.device, max_reply_bytes=config.max_reply_bytes),
    )


def _check_deadline(machine: AgentMachine, deadline_ms: float | None) -> None:
    first_ms = 1000 * machine.first_answer_s
    if deadline_ms is not None and deadline_ms < first_ms:
        raise ConfigError(
            f"--deadline-ms {deadline_ms:g} is shorter than the first answer of this device takes "
            f"({first_ms:.1f} ms, 95th percentile of the warm-up): give it more time or a bundle "
            "with an earlier exit"
        )
