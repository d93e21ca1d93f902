"""``python -m benchmarks.serving DATABASE QUERIES``: how fast `vpr.serve` answers clients that ask at once.

DATABASE and QUERIES are folders of photos with EXIF, as `tools.photo_folder` writes them. The command is started
as a process on a map of the database. For each number of clients, so many threads send queries one after another, each
waiting for its answer. It prints the time of an answer (median and 95 %), photos a second, requests without an answer,
and the memory of the service. Before that comes locating in this process, without a service.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from vpr.maps.building import add_photos
from vpr.maps.photo_map import Map
from vpr.maps.results import Located
from vpr.maps.sources.positions import find_photos
from vpr.run import load
from vpr.serving.service import BATCH

MOST_S = 300.0  # that a client waits


def alone(photo_map: Map, photos: list[Path]) -> None:
    """Print how long locating takes without a service, a photo at a time and several."""
    photo_map.locate(photos[0])
    answers = list[list[Located]]()
    for together in (1, BATCH):
        seconds, located = [], list[Located]()
        for start in range(0, len(photos), together):
            began = time.perf_counter()
            located += photo_map.locate_all(photos[start : start + together])
            seconds.append(time.perf_counter() - began)
        print(f"locating {together} at a time: {said(seconds)}, {len(photos) / sum(seconds):.1f} photos/s")
        answers.append(located)
    apart = [abs((one.probability or 0) - (other.probability or 0)) for one, other in zip(*answers)]
    same = sum(one.matches[0].photo == other.matches[0].photo for one, other in zip(*answers))
    print(f"    {same} of {len(photos)} have the same first match, probabilities differ by up to {max(apart):.1g}")


def said(seconds: list[float]) -> str:
    """Median and 95 %."""
    if not seconds:
        return "no answers"
    return f"median {1000 * np.median(seconds):.0f} ms, 95 % {1000 * np.quantile(seconds, 0.95):.0f} ms"


def start(folder: Path, queue: int) -> tuple[subprocess.Popen[str], str]:
    """The command, and where it answers."""
    command = [sys.executable, "-m", "vpr.serve", str(folder), "--port", "0", "--queue", str(queue)]
    command += ["--timeout", str(MOST_S)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    where = re.search(r"http://\S+:\d+", process.stdout.readline())
    assert where, "the service did not start"
    return process, where[0]


def ask(where: str, photos: list[Path], clients: int, memory: int) -> None:
    """Have clients send the photos, and print how long it took; memory: the number of the service's process."""
    uploads = [(photo.name, photo.read_bytes()) for photo in photos]
    seconds, failed, ready = list[float](), list[float](), threading.Barrier(clients + 1)

    def one(number: int) -> None:
        with httpx.Client(base_url=where, timeout=MOST_S) as client:
            with contextlib.suppress(httpx.HTTPError):  # the first photo tells
                client.get("/health")
            ready.wait()
            for upload in uploads[number::clients]:
                began = time.perf_counter()
                try:
                    answered = client.post("/locate", files={"photo": upload}).status_code == 200
                except httpx.HTTPError:
                    answered = False
                (seconds if answered else failed).append(time.perf_counter() - began)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    passed = time.perf_counter() - began
    print(f"{clients} clients: {said(seconds)}, {len(seconds) / passed:.1f} photos/s, {len(failed)} without an answer, "
          f"{resident_mb(memory):.0f} MB")  # fmt: skip


def resident_mb(process: int) -> float:
    """Memory of a process, on Linux."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--clients", default="1,8,50")
    given = parser.parse_args()
    clients = [int(number) for number in given.clients.split(",")]
    database, queries = (find_photos((side,)).photos for side in (given.database, given.queries))
    photos = [Path(query.path) for query in queries]
    with tempfile.TemporaryDirectory() as folder:
        model, place = load(), Path(folder) / "map"
        add_photos(place, model, database)
        print(f"{len(database)} photos in the map, {len(photos)} queries")
        alone(Map.open(place, model), photos)
        process, where = start(place, max(clients))
        try:
            for number in clients:
                ask(where, photos, number, process.pid)
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
