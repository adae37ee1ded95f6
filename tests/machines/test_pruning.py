"""Which options are forgotten."""

from __future__ import annotations

from itertools import product

import numpy as np

from splitnet.machines.pruning import undominated
from splitnet.policies.prediction import predict_latency_s
from splitnet.values import DEVICE, Option, OptionKind, Plan, Telemetry


def option(
    path: str,
    accuracy: float = 0.9,
    device_s: float = 0.01,
    uplink_bytes: int = 1000,
    cloud_s: float = 0.01,
    exit_share: float = 0.0,
    replies: float = 1.0,
) -> Option:
    return Option(
        OptionKind.OFFLOAD,
        Plan(path, 0),
        None,
        accuracy,
        device_s,
        cloud_s,
        uplink_bytes,
        exit_share=exit_share,
        exit_device_s=0.001,
        replies=replies,
    )


def kept(*options: Option) -> list[str]:
    return [option.plan.path for option in undominated(options)]


def test_worse_in_one_and_better_in_none_is_forgotten() -> None:
    good = option("good")
    assert kept(option("slow", device_s=0.02), good) == ["good"]
    assert kept(option("large", uplink_bytes=1001), good) == ["good"]
    assert kept(option("wrong", accuracy=0.89), good) == ["good"]
    assert kept(option("cloudy", cloud_s=0.02), good) == ["good"]


def test_better_in_one_stays() -> None:
    options = [
        option("good"),
        option("quick", device_s=0.005, accuracy=0.8),
        option("small", uplink_bytes=100, device_s=0.02),
        option("right", accuracy=0.95, uplink_bytes=5000),
    ]
    assert kept(*options) == ["good", "quick", "small", "right"]


def test_less_work_on_the_device_does_not_hide_much_more_in_the_cloud() -> None:
    early = option("early", device_s=0.001, cloud_s=0.1)
    assert kept(early, option("late", device_s=0.02, cloud_s=0.01)) == ["early", "late"]


def test_of_equal_options_the_first_stays() -> None:
    assert kept(option("a"), option("b"), option("c")) == ["a"]


def test_requests_that_leave_at_an_exit_cost_less() -> None:
    with_exits = option("exits", exit_share=0.5)
    assert kept(with_exits, option("none")) == ["exits"]


def test_nothing_of_nothing() -> None:
    assert undominated([]) == ()


def test_fewer_bytes_in_more_rounds_hide_nothing_and_are_not_hidden() -> None:
    rounds = option("rounds", uplink_bytes=400, replies=1.5)
    assert kept(rounds, option("plain")) == ["rounds", "plain"]
    assert kept(option("more", uplink_bytes=400, replies=2.0), rounds) == ["rounds"]
    assert kept(option("long", replies=1.2, cloud_s=0.01), option("plain")) == ["plain"]


def test_whatever_is_forgotten_is_never_the_fastest_of_the_most_accurate() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        options = [
            option(str(i), a / 5, d / 1000, int(b) * 100, c / 1000)
            for i, (a, d, b, c) in enumerate(rng.integers(1, 6, (12, 4)).tolist())
        ]
        left = undominated(options)
        for rate_bps, floor in product((1e4, 1e5, 1e6, 1e9), (0.2, 0.6, 1.0)):
            fit = [o for o in options if o.accuracy >= floor]
            if fit:
                best = min(_latency_s(o, rate_bps) for o in fit)
                again = min(_latency_s(o, rate_bps) for o in left if o.accuracy >= floor)
                assert again <= best * (1 + 1e-9)


def test_ways_on_the_device_are_options_too() -> None:
    local = Option(OptionKind.LOCAL, Plan(DEVICE, 0), None, 0.9, 0.01)
    assert kept(option("cloud"), local) == [DEVICE]


def _latency_s(option: Option, rate_bps: float) -> float:
    return option.device_s + 8 * option.uplink_bytes / rate_bps + option.cloud_s


def test_an_exit_that_saves_round_trips_stays() -> None:
    """It sends more and computes more on average, but waits for the cloud half as often."""
    saving = option("saving", device_s=0.03, uplink_bytes=3000, exit_share=0.5)
    assert kept(saving, option("plain")) == ["saving", "plain"]


def test_whatever_is_forgotten_is_never_predicted_to_be_the_fastest() -> None:
    """Over any link, and with a cloud as fast as in its profile or faster."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        options = [
            option(str(i), 0.9, d / 1000, int(b) * 100, c / 1000, share / 4, 1 + more / 2)
            for i, (d, b, c, share, more) in enumerate(rng.integers(0, 4, (12, 5)).tolist())
        ]
        left = undominated(options)
        for rtt_s, rate_bps, wait_s, slowdown in product(
            (0.0, 1.0), (1e4, 1e6, 1e9), (0.0, 0.5), (0.2, 1.0)
        ):
            link = Telemetry(
                connected=True,
                rtt_s=rtt_s,
                goodput_bps=rate_bps,
                cloud_wait_s=wait_s,
                cloud_slowdown=slowdown,
            )
            best, again = (
                min(predict_latency_s(o, link) for o in some) for some in (options, left)
            )
            assert again <= best * (1 + 1e-9) + 1e-9
