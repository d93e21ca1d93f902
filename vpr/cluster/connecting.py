"""The Ray cluster that a command works on: one that is joined, or one that is started on this machine alone."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr.base.machine import usable_cores
from vpr.base.packages import install_extra
from vpr.cluster.errors import ClusterError

log = logging.getLogger("vpr")

LOCAL = "local"
ANSWER_S = 5.0  # in which the head of a cluster answers
LONGEST_FOLDER = 16  # bytes of the path of the temporary folder
STORE_BYTES = 512 << 20  # of Ray's shared memory on this machine, which is taken as it is needed
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # of HTTP/2, which Ray speaks
SETTINGS = 4  # the kind of frame that answers it
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # what Ray says of workers that die; we say it
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Cluster:
    """What there is to work with."""

    machines: int
    cores: int
    code: str  # the digest of the code that this process runs, which its workers have to run too


@contextmanager
def joined(address: str) -> Iterator[Cluster]:
    """Inside, this process works on the cluster whose head is at HOST:PORT, or with ``local`` on one of its own.

    The own one is ended on the way out, whatever happens. This machine has to be one of the cluster's. Raises
    ClusterError where Ray is not installed, and where nothing answers within seconds.
    """
    settings: dict[str, Any] = {"address": address}
    if address != LOCAL:
        _require_answer(address)
    with ExitStack() as stack:
        if address == LOCAL:
            stack.enter_context(_own_token())
        ray = _ray()
        if address == LOCAL:
            settings = {"num_cpus": usable_cores(), "include_dashboard": False, "object_store_memory": STORE_BYTES}
            folder = tempfile.TemporaryDirectory(
                prefix=f"vpr-ray-{os.getpid()}-", dir=short_folder(), ignore_cleanup_errors=True
            )
            settings["_temp_dir"] = stack.enter_context(folder)
        stack.callback(ray.shutdown)
        try:
            with _silent():
                ray.init(**settings, namespace="vpr", log_to_driver=False, logging_level=logging.ERROR)
        except (RuntimeError, ValueError, OSError) as error:
            remedy = "start Ray of the same version on this machine too: ray start --address=HOST:PORT"
            raise ClusterError(f"--cluster {address} cannot be joined ({_short(error)}); {remedy}") from error
        alive = [node for node in ray.nodes() if node["Alive"]]
        cluster = Cluster(len(alive), max(1, int(ray.cluster_resources().get("CPU", 1))), code_digest())
        log.info("cluster: %d machines, %d cores", cluster.machines, cluster.cores)
        yield cluster


def _ray() -> Any:
    """The package, told to be silent."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise ClusterError(f"--cluster needs another package: {install_extra('cluster')}") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("ray.")]:
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextmanager
def _own_token() -> Iterator[None]:
    """Inside, Ray answers those alone who know a secret, which this process and those that it starts do: whoever else
    reaches its ports could run code. To be entered before Ray is imported; older versions than 2.52 have no tokens."""
    given = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    if "RAY_AUTH_MODE" in os.environ:
        given = {}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            os.environ.pop(name, None)


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, nothing is written to standard error: Ray's core says there what log level it was told."""
    sys.stderr.flush()
    usual, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(usual, 2)
        os.close(usual)
        os.close(nowhere)


def short_folder() -> str:
    """Where Ray keeps its sockets: the usual temporary folder, or ``/tmp`` if that one's path is too long.

    The path of a socket may have 107 characters, of which Ray and our own folder take 90.
    """
    usual = tempfile.gettempdir()
    too_long = len(os.fsencode(usual)) > LONGEST_FOLDER
    return "/tmp" if too_long and os.path.isdir("/tmp") and os.access("/tmp", os.W_OK) else usual


def _require_answer(address: str) -> None:
    """Raise ClusterError where nothing at the address speaks HTTP/2: Ray would ask for minutes."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 1 << 16) or "/" in host:
        raise ClusterError(f"--cluster {address} is no address; give HOST:PORT of the head of a cluster, or local")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_S) as connection:
            connection.settimeout(ANSWER_S)
            connection.sendall(GREETING)
            if connection.recv(9)[3:4] == bytes((SETTINGS,)):
                return
            reason = "it is no cluster"
    except OSError as error:
        reason = str(error.strerror or error or "no answer").lower()
    raise ClusterError(f"--cluster {address}: no Ray answers there ({reason}); start it with: ray start --head, or give"
                       " the address that it prints")  # fmt: skip


def code_digest() -> str:
    """What tells this code from another version: the machines of a cluster have to run the same."""
    digest = hashlib.sha256()
    for path in sorted(ROOT.rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\n" + path.read_bytes())
    return digest.hexdigest()[:16]


def require_code(digest: str) -> None:
    """Raise ClusterError on a machine that runs other code than the one that asks."""
    if code_digest() != digest:
        raise ClusterError(f"{socket.gethostname()} has another version of vpr; install the same on every machine")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
