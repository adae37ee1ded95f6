"""Import of the user's own code: the callable that builds a torch network."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

from splitnet.builder.reasons import named_line
from splitnet.config import nearest
from splitnet.errors import ConfigError, ModelError
from splitnet.training.exit_results import ExitResults, load_network
from splitnet.training.results import Folder


def build_module(spec: str) -> torch.nn.Module:
    """Return the network of `spec` in eval mode.

    Parameters
    ----------
    spec
        ``module:callable`` (installed or in the working directory), ``path/to/file.py:callable``,
        or a folder of exits that were trained jointly: their network.

    Raises
    ------
    ConfigError
        The module, file or callable does not exist.
    ModelError
        It cannot be imported, fails, or returns anything else.
    TrainingError
        The folder holds something else.
    """
    if Path(spec).is_dir():
        return _trained(Folder(Path(spec)))
    place, separator, name = spec.rpartition(":")
    if not separator or not place or not name:
        raise ConfigError(
            f"model {spec!r} is neither module:callable, path/to/file.py:callable nor a .onnx file"
        )
    is_file = place.endswith(".py")
    with _importable(Path(place).resolve().parent if is_file else Path.cwd()):
        module = _import_file(Path(place)) if is_file else _import_module(place)
        build = getattr(module, name, None)
        if not callable(build):
            names = [n for n, v in vars(module).items() if callable(v)]
            raise ConfigError(f"{place} has no callable {name!r}{nearest(name, names)}")
        try:
            network = build()
        except Exception as error:
            raise ModelError(
                f"{spec} failed ({named_line(error)}): it is called without arguments "
                "and must return a torch.nn.Module"
            ) from error
    if not isinstance(network, torch.nn.Module):
        raise ModelError(
            f"{spec} returned a {type(network).__name__}, but must return a torch.nn.Module"
        )
    return network.eval()


def _trained(folder: Folder) -> torch.nn.Module:
    """Return the network as a joint training of exits left it."""
    network = build_module(str(folder.read(ExitResults).settings["model"]))
    load_network(folder, network)
    return network


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the user's file import its neighbours."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"no model file {path}")
    found = importlib.util.spec_from_file_location(f"splitnet_model_{path.stem}", path)
    assert found is not None and found.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses in the file look their module up
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{path} cannot be imported ({named_line(error)})") from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"no module {name!r}: install it, run in its directory, or give the file (a/b.py:f)"
            ) from error
        raise ModelError(
            f"{name} cannot be imported: it needs the module {error.name!r}"
        ) from error
    except Exception as error:
        raise ModelError(f"{name} cannot be imported ({named_line(error)})") from error
