"""The connection of a command to a Ray cluster: an existing one, or one that is started on this machine."""

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
ANSWER_S = 5.0  # timeout for the first answer of the head node
LONGEST_FOLDER = 16  # bytes of the path of the temporary folder
STORE_BYTES = 512 << 20  # maximum size of Ray's shared memory on this machine
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # preface of HTTP/2, as in Ray
SETTINGS = 4  # frame type of the answer
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # log no lost workers: `vpr.cluster.shard_actors` does
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Cluster:
    """A connected cluster."""

    machines: int
    cores: int
    code: str  # digest of this process's code; the workers must run the same


@contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """Connect to the cluster whose head node is at HOST:PORT, or start one on this machine with ``local``.

    A local cluster is always stopped at the end. This machine must belong to the cluster. Raises ClusterError if Ray is
    not installed, and if the head node does not answer within `ANSWER_S`.
    """
    settings: dict[str, Any] = {"address": address}
    if address != LOCAL:
        _require_answer(address)
    with ExitStack() as stack:
        if address == LOCAL:
            stack.enter_context(_protect_with_token())
        ray = _ray()
        if address == LOCAL:
            settings = {"num_cpus": usable_cores(), "include_dashboard": False, "object_store_memory": STORE_BYTES}
            folder = tempfile.TemporaryDirectory(
                prefix=f"vpr-ray-{os.getpid()}-", dir=socket_folder(), ignore_cleanup_errors=True
            )
            settings["_temp_dir"] = stack.enter_context(folder)
        stack.callback(ray.shutdown)
        try:
            with _silence_stderr():
                ray.init(**settings, namespace="vpr", log_to_driver=False, logging_level=logging.ERROR)
        except (RuntimeError, ValueError, OSError) as error:
            remedy = "start Ray of the same version on this machine too: ray start --address=HOST:PORT"
            problem = f"--cluster {address} cannot be joined ({_shorten(error)})"
            raise ClusterError(problem, thing="--cluster", remedy=remedy) from error
        alive = [node for node in ray.nodes() if node["Alive"]]
        cluster = Cluster(len(alive), max(1, int(ray.cluster_resources().get("CPU", 1))), code_digest())
        log.info("cluster: %d machines, %d cores", cluster.machines, cluster.cores)
        yield cluster


def _ray() -> Any:
    """Import Ray with its logging turned off; raises ClusterError if it is not installed."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        problem = f"--cluster needs another package: {install_extra('cluster')}"
        raise ClusterError(problem, thing="--cluster") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("ray.")]:
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextmanager
def _protect_with_token() -> Iterator[None]:
    """Protect a local Ray cluster with a random token, because anybody who reaches its ports could run code.

    This process and its child processes know the token. Enter it before Ray is imported. Ray before 2.52 has no tokens.
    """
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    if "RAY_AUTH_MODE" in os.environ:
        variables = {}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Redirect standard error to /dev/null, because Ray's core prints its log level there."""
    sys.stderr.flush()
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def socket_folder() -> str:
    """The folder for Ray's sockets: the usual temporary folder, or ``/tmp`` if its path is too long.

    The path of a socket is limited to 107 characters, and Ray and our own folder need 90.
    """
    usual = tempfile.gettempdir()
    too_long = len(os.fsencode(usual)) > LONGEST_FOLDER
    return "/tmp" if too_long and os.path.isdir("/tmp") and os.access("/tmp", os.W_OK) else usual


def _require_answer(address: str) -> None:
    """Fail fast with ClusterError if nothing at the address speaks HTTP/2; `ray.init` would block for minutes."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 1 << 16) or "/" in host:
        remedy = "give HOST:PORT of the head of a cluster, or local"
        raise ClusterError(f"--cluster {address} is not an address", thing="--cluster", remedy=remedy)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_S) as connection:
            connection.settimeout(ANSWER_S)
            connection.sendall(GREETING)
            if connection.recv(9)[3:4] == bytes((SETTINGS,)):
                return
            reason = "it is not a Ray cluster"
    except OSError as error:
        reason = str(error.strerror or error or "no answer").lower()
    raise ClusterError(
        f"--cluster {address}: no Ray answers there ({reason})",
        thing="--cluster",
        remedy="start it with: ray start --head, or give the address that it prints",
    )


def code_digest() -> str:
    """A digest of this code, 16 hexadecimal digits: all machines of a cluster must run the same code."""
    digest = hashlib.sha256()
    folders = os.walk(ROOT, followlinks=True)  # in a checkout some rooms are links, in an installation folders
    names = sorted(Path(folder, name) for folder, _, files in folders for name in files if name.endswith(".py"))
    for path in names:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\n" + path.read_bytes())
    return digest.hexdigest()[:16]


def require_code(digest: str) -> None:
    """Raise ClusterError if this machine runs other code than the calling process."""
    if code_digest() != digest:
        problem = f"{socket.gethostname()} has another version of vpr"
        raise ClusterError(problem, thing=socket.gethostname(), remedy="install the same on every machine")


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
