"""Scenarios from TOML: what is read, and every mistake named by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.errors import ConfigError
from splitnet.sim.phased_link import Phase
from splitnet.sim.scenario import Restart, Source, agent_names, load_scenario
from tests.sim.scenarios import TEXT

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "scenarios").glob("*.toml"))


def written(folder: Path, text: str) -> Path:
    file = folder / "try.toml"
    file.write_text(text)
    return file


def test_what_a_file_says_is_what_comes_out(tmp_path: Path) -> None:
    text = TEXT.replace("seed = 3", 'seed = 3\nbundle = "b"\nname = "mine"')
    text += """
[worker]
factor = 0.5
bounds = { max_batch = 4 }

[[worker.restarts]]
at_s = 0.5
down_s = 0.2

[[phases]]
name = "one"
start_s = 0

[[phases]]
name = "two"
start_s = 0.5
dead = true
"""
    scenario = load_scenario(written(tmp_path, text))
    assert (scenario.name, scenario.seed, scenario.bundle) == ("mine", 3, str(tmp_path / "b"))
    (agent,) = scenario.agents
    assert agent.source == Source(rate_hz=20.0, frames=20)
    assert agent.bounds.deadline_s == 0.15
    assert scenario.worker.bounds.max_batch == 4
    assert scenario.worker.restarts == (Restart(0.5, 0.2),)
    assert scenario.phases == (Phase("one", 0.0), Phase("two", 0.5, dead=True))


def test_defaults(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, TEXT))
    assert scenario.name == "try"
    assert scenario.bundle is None
    assert [phase.name for phase in scenario.phases] == ["all"]
    assert list(agent_names(scenario.agents[0])) == ["device"]


def test_a_trace_lies_beside_its_scenario(tmp_path: Path) -> None:
    (tmp_path / "up.csv").write_text("t_s,mbps\n0,8\n1,4\n")
    text = TEXT.replace('rate = "20mbit"', 'rate_down = "20mbit"\ntrace_up = "up.csv"')
    scenario = load_scenario(written(tmp_path, text))
    assert scenario.link["trace_up"] == str(tmp_path / "up.csv")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_can_be_read(file: Path) -> None:
    assert load_scenario(file).agents


def test_the_example_of_the_page_about_scenarios_holds(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
    lines = page.partition("## Scenarios")[2].splitlines()
    text = "\n".join(line[4:] for line in lines if line.startswith("    "))
    (tmp_path / "lte.csv").write_text("t_s,mbps\n0,8\n1,4\n")
    scenario = load_scenario(written(tmp_path, text))
    assert [phase.name for phase in scenario.phases] == ["good", "poor", "dead"]


MISTAKES = {
    "unknown key": ("seed = 3", "sede = 3", r"sede: unknown key \(did you mean 'seed'\?\)"),
    "unknown key deep down": (
        "deadline_s = 0.15",
        "deadline = 0.15",
        r"agents\[0\]\.bounds\.deadline: unknown key \(did you mean 'deadline_s'\?\)",
    ),
    "unknown link key": ("rate = ", "rat = ", r"link: unknown key 'rat' \(did you mean 'rate'\?\)"),
    "missing key": ("rate_hz = 20.0, ", "", r"agents\[0\]\.source\.rate_hz: is missing"),
    "text for a number": (
        "rate_hz = 20.0",
        'rate_hz = "20"',
        r"agents\[0\]\.source\.rate_hz: must be a number, is text",
    ),
    "date for a number": ("seed = 3", "seed = 2024-01-01", "seed: must be a whole number, is text"),
    "not a number": ("rate_hz = 20.0", "rate_hz = nan", "rate_hz: is not a finite number"),
    "infinite": ("deadline_s = 0.15", "deadline_s = inf", "deadline_s: is not a finite number"),
    "half a frame": ("frames = 20", "frames = 2.5", "frames: must be a whole number, is a number"),
    "negative rate": (
        "rate_hz = 20.0",
        "rate_hz = -1",
        r"agents\[0\]\.source\.rate_hz is -1\.0, it must be above 0",
    ),
    "no frames": ("frames = 20", "frames = 0", "frames is 0, it must be above 0"),
    "negative start": (
        "frames = 20",
        "frames = 20, start_s = -1",
        r"start_s is -1\.0, it must be at least 0",
    ),
    "negative deadline": ("0.15", "-0.15", r"bounds\.deadline_s is -0\.15, it must be above 0"),
    "negative link rate": ('"20mbit"', '"-20mbit"', "link: --rate: '-20mbit' is not a number"),
    "link without unit": ('"20mbit"', '"20"', "link: --rate: '20' is not a number"),
    "link rate as a number": ('"20mbit"', "20", r"link\.rate is 20, it must be text"),
    "queue as text": (
        'delay = "5ms"',
        'queue_bytes = "64k"',
        r"link\.queue_bytes is '64k', it must be a whole number",
    ),
    "no rate": ('rate = "20mbit"', "", "link: there is no rate for the direction up"),
    "a trace that is not there": (
        'rate = "20mbit"',
        'trace = "nowhere.csv"',
        "link: cannot read the trace .*nowhere.csv",
    ),
    "two devices of one name": (
        "[[agents]]",
        "[[agents]]\nsource = { rate_hz = 1.0, frames = 1 }\n\n[[agents]]",
        "2 of them are called 'device'; give them names",
    ),
    "unknown device class": (
        "[[agents]]",
        '[[agents]]\ndevice = "rasberry-pi-4"',
        r"agents\[0\]\.device: unknown device class .*did you mean 'raspberry-pi-4'",
    ),
    "unknown device class of the worker": (
        "[[agents]]",
        '[worker]\ndevice = "nano"\n[[agents]]',
        r"worker\.device: unknown device class 'nano'",
    ),
    "threads": ("[[agents]]", "[worker]\nthreads = 4\n\n[[agents]]", "threads is 4: the profile"),
    "restarts in one another": (
        "[[agents]]",
        "[worker]\nrestarts = [{at_s = 1.0, down_s = 2.0}, {at_s = 2.0, down_s = 1.0}]\n[[agents]]",
        "dies at 2 s, but is not back before 3 s",
    ),
    "another version": ("seed = 3", "version = 2", "has version 2, this program reads version 1"),
}


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_by_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message) as raised:
        load_scenario(written(tmp_path, TEXT.replace(old, new)))
    assert "try.toml: " in str(raised.value) or "try.toml has" in str(raised.value)


PHASES = {
    "overlap": ([("a", 0.0), ("b", 2.0), ("c", 1.0)], "phases overlap: 'c' starts at 1 s, 'b'"),
    "same start": ([("a", 0.0), ("b", 1.0), ("c", 1.0)], "phases overlap: 'c' starts at 1 s, 'b'"),
    "late start": ([("a", 1.0)], "the first one must start at 0 s"),
    "same name": ([("a", 0.0), ("a", 1.0)], "2 of them are called 'a'"),
}


@pytest.mark.parametrize(("phases", "message"), PHASES.values(), ids=PHASES.keys())
def test_phases_follow_one_another(
    tmp_path: Path, phases: list[tuple[str, float]], message: str
) -> None:
    tables = [f'[[phases]]\nname = "{name}"\nstart_s = {start_s}\n' for name, start_s in phases]
    with pytest.raises(ConfigError, match=message):
        load_scenario(written(tmp_path, TEXT + "".join(tables)))


def test_what_is_not_toml_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"try\.toml is not a TOML file: Expected"):
        load_scenario(written(tmp_path, "[link"))
    (tmp_path / "try.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"try\.toml is not a TOML file"):
        load_scenario(tmp_path / "try.toml")
    with pytest.raises(ConfigError, match=r"cannot read the scenario .*none\.toml: No such file"):
        load_scenario(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read the scenario"):
        load_scenario(tmp_path)


def test_no_agents_is_a_mistake(tmp_path: Path) -> None:
    text = 'agents = []\n[link]\nrate = "1mbit"\n'
    with pytest.raises(ConfigError, match=r"agents: there is none; add a table \[\[agents\]\]"):
        load_scenario(written(tmp_path, text))
