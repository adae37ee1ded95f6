"""What can be set of the shaper, on the command line, in the environment or in a file."""

from __future__ import annotations

from dataclasses import dataclass

from splitnet.sim.link_settings import LinkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ShaperConfig(LinkSettings):
    """Settings of ``splitnet sim shape``; the names are those of its options.

    Attributes
    ----------
    listen
        Where clients connect.
    to
        Where their connections lead.
    """

    listen: str
    to: str
