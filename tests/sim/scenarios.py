"""Small scenarios for the sample bundle, and the text of one."""

from __future__ import annotations

from typing import Any

from splitnet.machines.agent_config import AgentConfig
from splitnet.sim.phased_link import LinkTable, Phase
from splitnet.sim.scenario import AgentSettings, Scenario, Source

LINK: LinkTable = {"rate": "20mbit", "delay": "5ms", "jitter": "1ms"}

TEXT = """\
seed = 3

[link]
rate = "20mbit"
delay = "5ms"

[[agents]]
policy = "fixed:plan=c1@1"
source = { rate_hz = 20.0, frames = 20 }
bounds = { deadline_s = 0.15 }
"""


def agent(
    policy: str = "fixed:plan=c1@1",
    rate_hz: float = 20.0,
    frames: int = 40,
    deadline_s: float | None = 0.15,
    **changes: Any,
) -> AgentSettings:
    """Return one device; `changes` go to its settings, or to its bounds if they are theirs."""
    bounds = {key: changes.pop(key) for key in ("queue_frames", "expiry_s") if key in changes}
    return AgentSettings(
        source=Source(rate_hz, frames),
        policy=policy,
        bounds=AgentConfig(deadline_s=deadline_s, **bounds),
        **changes,
    )


def scenario(*agents: AgentSettings, **changes: Any) -> Scenario:
    """Return a scenario of some devices, by default one, on a good link."""
    return Scenario(agents=agents or (agent(),), **{"link": LINK, **changes})


FOUR_PHASES = (
    Phase("good", 0.0),
    Phase("poor", 1.0, link={"rate_up": "300kbit", "delay": "40ms"}),
    Phase("dead", 2.0, dead=True),
    Phase("good again", 8.0),
)
