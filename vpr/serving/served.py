"""The map that is served: the one on disk, opened again when it has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import numpy as np

from vpr.base.errors import VprError
from vpr.base.machine import Device
from vpr.maps.photo_map import Map
from vpr.maps.store import State

log = logging.getLogger("vpr")

EVERY, LONGEST = 1.0, 60.0  # seconds from one look at map.json to the next


def warm(photo_map: Map) -> None:
    """Ask a map for a made-up photo, so that kernels are compiled and the first client need not wait for it."""
    photo_map.locate(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def version_of(photo_map: Map) -> str:
    """Of a map's list of photos: the beginning of its SHA-256."""
    return photo_map.content.state.files["photos"][1][:12]


def rows_of(photo_map: Map, keys: Sequence[str]) -> list[int]:
    """The rows of photos in a map's list."""
    return [int(np.flatnonzero(photo_map.content.table.keys == key)[0]) for key in keys]


class ServedMap:
    """A map, and what is wrong with its newest state, where that cannot be opened."""

    def __init__(self, photo_map: Map, device: Device = "cpu", pinned: bool = False) -> None:
        """pinned: whether the map's model was chosen, so that a map that another one made is not taken."""
        self.photo_map, self.fault = photo_map, ""
        self._device: Device = device
        self._pinned = pinned

    def look(self) -> bool:
        """Open what is on disk where that is another state, in place of the map; whether the map is that on disk.

        What cannot be opened is logged once, and leaves the map as it is.
        """
        folder, now = self.photo_map.folder, self.photo_map
        try:
            state = State.of(folder)
            if state != now.content.state:
                same = self._pinned or state.fingerprint == now.model.spec.fingerprint
                self.photo_map = Map.open(folder, now.model if same else None, self._device)
                log.info("%s has changed and was opened again: %d photos", folder, len(self.photo_map))
            self.fault = ""
        except (VprError, OSError) as error:
            if str(error) != self.fault:
                log.warning("%s has changed and cannot be opened; the state before is served (%s)", folder, error)
            self.fault = str(error)
        return not self.fault

    async def follow(self) -> None:
        """Look once a second; less and less often while the newest state cannot be opened."""
        wait = EVERY
        while True:
            await asyncio.sleep(wait)
            wait = EVERY if await asyncio.to_thread(self.look) else min(2 * wait, LONGEST)
