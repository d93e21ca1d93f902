"""``python -m benchmarks.serving DATABASE QUERIES``: the speed of `vpr.serve` with several clients at once.

DATABASE and QUERIES are folders of photos with EXIF, as `tools.photo_folder` writes them. The command is started as a
process with a map of the database. Each client is a thread that sends queries one after another, and waits for each
answer. Prints the time of an answer (median and 95 %), photos a second, requests without an answer, and the memory of
the service. First it measures locating in this process, without a service.
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

TIMEOUT_S = 300.0  # of a client


def time_locating(photo_map: Map, photos: list[Path]) -> None:
    """Print the time of locating without a service, one photo at a time and in batches."""
    photo_map.locate(photos[0])
    answers = list[list[Located]]()
    for batch in (1, BATCH):
        seconds, located = [], list[Located]()
        for first in range(0, len(photos), batch):
            start = time.perf_counter()
            located += photo_map.locate_all(photos[first : first + batch])
            seconds.append(time.perf_counter() - start)
        print(f"locating {batch} at a time: {summary(seconds)}, {len(photos) / sum(seconds):.1f} photos/s")
        answers.append(located)
    differences = [abs((one.probability or 0) - (other.probability or 0)) for one, other in zip(*answers)]
    same = sum(one.matches[0].photo == other.matches[0].photo for one, other in zip(*answers))
    print(
        f"    {same} of {len(photos)} have the same first match, probabilities differ by up to {max(differences):.1g}"
    )


def summary(seconds: list[float]) -> str:
    """Median and 95 % as text."""
    if not seconds:
        return "no answers"
    return f"median {1000 * np.median(seconds):.0f} ms, 95 % {1000 * np.quantile(seconds, 0.95):.0f} ms"


def start_service(folder: Path, queue: int) -> tuple[subprocess.Popen[str], str]:
    """Start the command; returns its process and its address."""
    command = [sys.executable, "-m", "vpr.serve", str(folder), "--port", "0", "--queue", str(queue)]
    command += ["--timeout", str(TIMEOUT_S)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    address = re.search(r"http://\S+:\d+", process.stdout.readline())
    assert address, "the service did not start"
    return process, address[0]


def send_photos(address: str, photos: list[Path], clients: int, memory: int) -> None:
    """Send the photos by several clients, and print the time. memory: the number of the process of the service."""
    uploads = [(photo.name, photo.read_bytes()) for photo in photos]
    seconds, failed, ready = list[float](), list[float](), threading.Barrier(clients + 1)

    def send(number: int) -> None:
        with httpx.Client(base_url=address, timeout=TIMEOUT_S) as client:
            with contextlib.suppress(httpx.HTTPError):  # an error shows at the first photo
                client.get("/health")
            ready.wait()
            for upload in uploads[number::clients]:
                began = time.perf_counter()
                try:
                    answered = client.post("/locate", files={"photo": upload}).status_code == 200
                except httpx.HTTPError:
                    answered = False
                (seconds if answered else failed).append(time.perf_counter() - began)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    total_s = time.perf_counter() - start
    print(
        f"{clients} clients: {summary(seconds)}, {len(seconds) / total_s:.1f} photos/s, {len(failed)} without an "
        f"answer, {resident_mb(memory):.0f} MB"
    )


def resident_mb(process: int) -> float:
    """The memory of a process, on Linux, MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--clients", default="1,8,50")
    arguments = parser.parse_args()
    clients = [int(number) for number in arguments.clients.split(",")]
    database, queries = (find_photos((side,)).photos for side in (arguments.database, arguments.queries))
    photos = [Path(query.path) for query in queries]
    with tempfile.TemporaryDirectory() as folder:
        model, map_folder = load(), Path(folder) / "map"
        add_photos(map_folder, model, database)
        print(f"{len(database)} photos in the map, {len(photos)} queries")
        time_locating(Map.open(map_folder, model), photos)
        process, address = start_service(map_folder, max(clients))
        try:
            for number in clients:
                send_photos(address, photos, number, process.pid)
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
