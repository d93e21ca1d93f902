"""A rendering process: reads streets from stdin, one JSON line each, and answers each with one line.

`pool` starts it. It ends when its stdin ends, so it ends soon after the process that started it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from vpr.datasets.street_world.config import CityPlan, MiniConfig
from vpr.datasets.street_world.work import render_street


def serve() -> None:
    """Answer the configuration line, then every unit line `[city index, street number]`, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    setup = json.loads(sys.stdin.readline())
    fields = dict(setup["config"], cities=tuple(CityPlan(**city) for city in setup["config"]["cities"]))
    config, root = MiniConfig(**fields), Path(setup["root"])
    for line in sys.stdin:
        city, number = json.loads(line)
        try:
            reply = {"images": render_street(config, config.cities[city], number, root)}
        except OSError as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        try:
            print(json.dumps(reply), flush=True)
        except BrokenPipeError:  # the parent was killed
            os._exit(1)


if __name__ == "__main__":
    serve()
