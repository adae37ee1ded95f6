"""Workers on Ray Serve: Serve places, heals and updates replicas, each hosts a `CloudWorker`.

Serve never sees a request: devices connect to the ROUTER socket that each replica opens itself.
This is the only module of the room that imports ray.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import serve

from splitnet.cloud.announcing import directory_address
from splitnet.cloud.binding import check_bind, is_one_port
from splitnet.cloud.config import CloudConfig
from splitnet.cloud.memory import available_bytes
from splitnet.cloud.serving import OpenedWorker, opened_worker
from splitnet.errors import ConfigError, SplitnetError
from splitnet.runtime.directory import open_bundle
from splitnet.transport.gate import open_gate
from splitnet.transport.keys import read_public
from splitnet.transport.reactor import Reactor

log = logging.getLogger(__name__)

APPLICATION, DEPLOYMENT = "splitnet", "worker"

START_S = 120.0
"""Time until a replica, or all of them, must be ready."""

DRAIN_S = 20.0
"""Time that a replica has to answer what is queued before Serve kills it."""

HEALTH_PERIOD_S, HEALTH_TIMEOUT_S = 2.0, 10.0

ASK_S = 0.1
"""Pause between two questions while not all replicas have said where they are."""

WATCH_S = 1.0
"""How often ``serve --ray`` looks whether Serve still runs the application."""

OBJECT_STORE_BYTES = 100 << 20
"""For a Ray that is started here: tensors never pass through its store. Its minimum is 75 MiB."""

MIN_AVAILABLE_BYTES = 2 << 30
"""Measured with Ray 2.60: 0.8 GiB for Ray, Serve and two empty replicas, more while starting."""


class WorkerReplica:
    """One replica: opens the ROUTER itself and runs the worker in a thread of its own.

    Parameters
    ----------
    settings
        Fields of `CloudConfig`.

    Raises
    ------
    SplitnetError
        The settings, the bundle or every port of the range cannot be used.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._config = CloudConfig(**settings)
        self._opened: OpenedWorker | None = None
        self._failure: Exception | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="splitnet-worker", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_S):
            raise SplitnetError(f"the worker is not ready after {START_S:g} s")
        if self._failure is not None:
            raise self._failure

    def line(self) -> dict[str, Any]:
        """Return the ready line of this worker."""
        assert self._opened is not None
        return self._opened.line

    def check_health(self) -> None:
        """Tell Serve whether the worker still serves; it starts another replica if not.

        Raises
        ------
        SplitnetError
            The worker's thread has ended.
        """
        if not self._thread.is_alive():
            raise SplitnetError(f"the worker has ended: {self._failure or 'it was stopped'}")

    def __del__(self) -> None:
        """Drain: Serve calls this when it wants the replica gone, and waits for it."""
        if self._opened is not None and self._thread.is_alive():
            self._opened.worker.stop()
            self._thread.join(DRAIN_S)

    def _run(self) -> None:
        try:
            with opened_worker(self._config) as opened:
                self._opened = opened
                self._ready.set()
                opened.worker.run()
        except Exception as error:
            log.error("worker failed", exc_info=error)
            self._failure = error
        finally:
            self._ready.set()


def application(config: CloudConfig) -> serve.Application:
    """Return the Serve application whose replicas serve the bundle of `config`.

    Raises
    ------
    ConfigError
        Several replicas cannot share the one port of ``--bind``, or a key cannot be used.
    """
    if config.replicas > 1 and is_one_port(config.bind):
        raise ConfigError(
            f"--bind {config.bind} is one port and --replicas {config.replicas} need one each: "
            "give a range such as tcp://127.0.0.1:5600-5699"
        )
    settings = {
        name: value.resolve() if isinstance(value, Path) else value
        for name, value in asdict(config).items()
    }
    if config.directory_key is not None:  # its file may lie beside this process only
        key = read_public(config.directory_key, "directory", "--directory-key")
        settings["directory_key"] = key.text
    deployment = serve.deployment(
        WorkerReplica,
        name=DEPLOYMENT,
        num_replicas=config.replicas,
        ray_actor_options={"num_cpus": config.threads},
        graceful_shutdown_timeout_s=DRAIN_S,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
    )
    return deployment.bind(settings)


def serve_on_ray(config: CloudConfig, ready: Callable[[dict[str, Any]], None]) -> None:
    """Deploy workers on Ray Serve, wait for SIGTERM or SIGINT, then drain and delete them.

    A Ray that runs already is joined, and left running; otherwise one is started here.

    Parameters
    ----------
    ready
        Told the ready line of a worker, with the ``endpoints`` of all, when all are ready.

    Raises
    ------
    SplitnetError
        The settings cannot be used, there is too little memory or there are too few CPUs for Ray,
        or a replica does not start.
    """
    gate = open_gate(config.key, config.allow, "worker")
    check_bind(config.bind, keyed=gate is not None)
    directory_address(config)
    open_bundle(config.bundle)
    deployed = application(config)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    started_here = _start_ray()
    reactor = Reactor()
    stopping = threading.Event()

    def stop() -> None:
        stopping.set()
        reactor.wake()

    try:
        with reactor.stop_signals(stop):
            _check_cpus(config)
            _deploy(deployed)
            ready(_ready_line(config.replicas))
            while not stopping.is_set():
                reactor.wait(WATCH_S)
                _check_running()
    finally:
        _end(started_here)
        reactor.close()


def _start_ray() -> bool:
    """Join the Ray that runs here or start one; return whether it was started."""
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        pass
    else:
        return False
    free_bytes = available_bytes()
    if free_bytes is not None and free_bytes < MIN_AVAILABLE_BYTES:
        raise ConfigError(
            f"{free_bytes >> 20} MiB of memory are available and Ray needs "
            f"{MIN_AVAILABLE_BYTES >> 20}: free some, join a running Ray (RAY_ADDRESS), or serve "
            "in one process without --ray"
        )
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise SplitnetError(f"Ray does not start: {error}") from error
    return True


def _check_cpus(config: CloudConfig) -> None:
    cpus = ray.cluster_resources().get("CPU", 0)
    wanted = config.replicas * config.threads
    if wanted > cpus:
        raise ConfigError(
            f"--replicas {config.replicas} with --threads {config.threads} need {wanted} CPUs, "
            f"this Ray has {cpus:g}"
        )


def _deploy(deployed: serve.Application) -> None:
    serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
    try:
        serve.run(deployed, name=APPLICATION, route_prefix=None)
    except RuntimeError as error:
        raise SplitnetError(_first_reason(str(error))) from error


def _ready_line(replicas: int) -> dict[str, Any]:
    """Ask until every replica has said where it is; Serve gives a question to any of them."""
    handle = serve.get_deployment_handle(DEPLOYMENT, APPLICATION)
    lines: dict[str, dict[str, Any]] = {}
    end_s = time.monotonic() + START_S
    while len(lines) < replicas:
        if time.monotonic() > end_s:
            raise SplitnetError(f"{len(lines)} of {replicas} workers are ready after {START_S:g} s")
        line = handle.line.remote().result(timeout_s=START_S)
        if line["endpoint"] in lines:
            time.sleep(ASK_S)
        lines[line["endpoint"]] = line
    endpoints = sorted(lines)
    return {**lines[endpoints[0]], "endpoints": endpoints}


def _check_running() -> None:
    found = serve.status().applications.get(APPLICATION)
    if found is None or found.status == "DEPLOY_FAILED":
        raise SplitnetError("Serve runs the workers no longer; see its logs")


def _end(started_here: bool) -> None:
    """Drain and delete the workers; end the Ray that was started here."""
    if started_here:
        serve.shutdown()
    else:
        serve.delete(APPLICATION)
    ray.shutdown()


def _first_reason(text: str) -> str:
    """Return the error of a replica out of Serve's report with its stack traces."""
    for line in reversed(text.splitlines()):
        if line.startswith("splitnet.errors."):
            return line.partition(": ")[2]
    return text
