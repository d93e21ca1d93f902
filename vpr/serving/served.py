"""The served map: it is opened again if it changes on disk."""

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

POLL_S, LONGEST_POLL_S = 1.0, 60.0  # seconds between two checks of map.json; the second while it is damaged


def warm_up(photo_map: Map) -> None:
    """Locate a random image, so that kernels are compiled before the first request."""
    photo_map.locate(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def version_of(photo_map: Map) -> str:
    """The version of a map's list of photos: the first 12 digits of its SHA-256."""
    return photo_map.content.state.files["photos"][1][:12]


def rows_of(photo_map: Map, keys: Sequence[str]) -> list[int]:
    """The rows of photos in the map's table."""
    return [int(np.flatnonzero(photo_map.content.table.keys == key)[0]) for key in keys]


class ServedMap:
    """An open map, and the error if its newest state on disk cannot be opened."""

    def __init__(self, photo_map: Map, device: Device = "cpu", pinned: bool = False, trust: bool = False) -> None:
        """pinned: whether the user chose the model; then a map of another model is not opened. trust: as `Map.open`."""
        self.photo_map, self.fault = photo_map, ""
        self._device: Device = device
        self._pinned, self._trust = pinned, trust

    def refresh(self) -> bool:
        """Open the map again if it changed on disk; returns whether the open map is the one on disk.

        If it cannot be opened, the old map stays open, and the error is logged once.
        """
        folder, current = self.photo_map.folder, self.photo_map
        try:
            state = State.of(folder)
            if state != current.content.state:
                same = self._pinned or state.fingerprint == current.model.spec.fingerprint
                self.photo_map = Map.open(folder, current.model if same else None, self._device, self._trust)
                log.info("%s has changed and was opened again: %d photos", folder, len(self.photo_map))
            self.fault = ""
        except (VprError, OSError) as error:
            if str(error) != self.fault:
                log.warning("%s has changed and cannot be opened; the state before is served (%s)", folder, error)
            self.fault = str(error)
        return not self.fault

    async def watch(self) -> None:
        """Refresh every `POLL_S`; with exponential backoff while the newest state cannot be opened."""
        wait = POLL_S
        while True:
            await asyncio.sleep(wait)
            wait = POLL_S if await asyncio.to_thread(self.refresh) else min(2 * wait, LONGEST_POLL_S)
