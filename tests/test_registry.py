"""The one table of plug-ins."""

from __future__ import annotations

from collections import OrderedDict
from importlib.metadata import EntryPoint

import pytest

from splitnet import registry
from splitnet.errors import ConfigError, UnknownNameError


def _points(*points: tuple[str, str]) -> object:
    def third_party(kind: registry.Kind) -> tuple[EntryPoint, ...]:
        return tuple(EntryPoint(name, value, kind) for name, value in points)

    return third_party


def test_every_built_in_codec_and_policy_loads() -> None:
    kinds: tuple[registry.Kind, ...] = ("codecs", "policies")
    for kind in kinds:
        for name in registry.names(kind):
            assert vars(registry.load(kind, name))["id"] == name


def test_an_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'lz5'.*did you mean 'lz4'.*known: affine"):
        registry.load("codecs", "lz5")


def test_third_parties_register_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "third_party", _points(("mine", "collections:OrderedDict")))
    assert "mine" in registry.names("policies")
    assert registry.load("policies", "mine") is OrderedDict


def test_an_id_registered_twice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "third_party", _points(("greedy", "other:Greedy")))
    with pytest.raises(ConfigError, match=r"registered twice.*other:Greedy"):
        registry.names("policies")


def test_a_missing_module_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "third_party", _points(("far", "no_such_module:X")))
    with pytest.raises(ConfigError, match=r"'no_such_module'.*pip install no_such_module"):
        registry.load("policies", "far")
    error = ModuleNotFoundError(name="torch.nn")
    assert "pip install 'splitnet[build]'" in registry.missing_module("the build", error)
