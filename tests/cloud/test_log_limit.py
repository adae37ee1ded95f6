"""How many lines a peer can bring into the log."""

from __future__ import annotations

from splitnet.cloud.log_limit import LogLimit


def test_the_first_line_and_then_one_an_interval_with_the_number_withheld() -> None:
    limit = LogLimit(interval_s=1.0)
    assert limit.admit(b"a", 10.0) == 0
    assert [limit.admit(b"a", 10.0 + step / 10) for step in range(1, 10)] == [None] * 9
    assert limit.admit(b"a", 11.0) == 9
    assert limit.admit(b"a", 11.5) is None
    assert limit.admit(b"a", 12.0) == 1


def test_one_peer_costs_another_nothing() -> None:
    limit = LogLimit(interval_s=1.0)
    assert limit.admit(b"a", 0.0) == limit.admit(b"b", 0.0) == 0
    assert limit.admit(b"a", 0.5) is None


def test_peers_beyond_the_bound_share_a_line() -> None:
    limit = LogLimit(interval_s=1.0, max_peers=3)
    passed = [limit.admit(b"%d" % number, 0.1) for number in range(100)]
    assert passed.count(0) == 4
    assert passed.count(None) == 96
    assert limit.admit(b"x", 1.2) == 0, "the intervals are over, and there is room again"


def test_a_thousand_peers_are_remembered_no_longer_than_needed() -> None:
    limit = LogLimit(interval_s=1.0, max_peers=3)
    for number in range(1000):
        assert limit.admit(b"%d" % number, 2.0 * number) == 0
    assert len(limit._told) <= 3
