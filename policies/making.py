"""From the text of an option, such as ``greedy:floor=0.95``, to a policy."""

from __future__ import annotations

from typing import cast

from splitnet.config import load_config
from splitnet.errors import ConfigError
from splitnet.policies.base import Policy
from splitnet.registry import load


def make_policy(text: str) -> Policy:
    """Return the policy that `text` describes: ``name`` or ``name:key=value,key=value``.

    Raises
    ------
    UnknownNameError
        No policy of that name is registered.
    ConfigError
        A parameter is unknown, missing or of the wrong type.
    """
    name, _, rest = text.partition(":")
    cls = cast("type[Policy]", load("policies", name))
    options: dict[str, str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"policy {text!r}: {item!r} should read key=value")
        options[key.strip()] = value.strip()
    try:
        return cls(load_config(cls.Config, "parameters", options=options, spell=str))
    except ConfigError as error:
        raise ConfigError(f"policy {text!r}: {error}") from error
