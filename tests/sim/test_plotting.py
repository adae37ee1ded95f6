"""The plot of a run is written, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the plot needs the extra sim")

from splitnet.bundle import Bundle
from splitnet.errors import ConfigError
from splitnet.sim.picture import draw
from splitnet.sim.plotting import plot
from splitnet.sim.simulation import Simulation
from tests.sim.scenarios import FOUR_PHASES, agent, scenario

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_run_is_drawn(sample_bundle: Bundle, tmp_path: Path) -> None:
    played = scenario(agent("greedy", frames=200), phases=FOUR_PHASES)
    draw(Simulation(sample_bundle, played).run(), tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(PNG)


def test_a_run_without_answers_is_drawn_too(tmp_path: Path) -> None:
    plot(tmp_path / "empty.svg", "nothing", [], [], [])
    assert b"<svg" in (tmp_path / "empty.svg").read_bytes()


@pytest.mark.parametrize("name", ["run.unknown", "nowhere/run.png"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot write the plot"):
        plot(tmp_path / name, "nothing", [], [], [])
