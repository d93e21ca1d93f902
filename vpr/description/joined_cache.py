"""A product-quantised database and exact queries, as one cache."""

from dataclasses import replace

import numpy as np

from vpr.cache import CacheSpec, DescriptorCache, Keys
from vpr.description.adaptation import ComputedCache, adaptation_of, split_rows


class JoinedCache(ComputedCache):
    """Product-quantised images, then images of an exact cache with the adaptation of the first; read only.

    ``globals_`` (N, G) are in memory, adapted if the product-quantised cache is.
    """

    def __init__(self, database: DescriptorCache, queries: DescriptorCache) -> None:
        """database: a product-quantised cache. queries: a cache of the same model, not adapted.

        Raises CacheError if the adaptation is damaged.
        """
        self.path, self.fingerprint, self.coding = database.path, database.fingerprint, None
        self.keeps_globals = database.keeps_globals
        self._parts, self._adaptation = (database, queries), adaptation_of(database)
        self.keys = np.concatenate([database.keys, queries.keys])
        self.done = np.concatenate([database.done, queries.done])
        self._rows = {key: row for row, key in enumerate(database.keys)}
        both = database.weights is not None and queries.weights is not None
        self.weights = np.concatenate([database.weights, queries.weights]) if both else None
        self.globals_ = np.zeros((len(self), database.spec.global_dim), np.float32)
        self.globals_[: len(database)] = database.globals_
        for block in split_rows(np.flatnonzero(queries.done)):
            self.globals_[len(database) + block] = self._query_globals(block)
        self.keep_patches()

    def query_rows(self, keys: Keys) -> np.ndarray:
        """As `rows`, in the exact cache."""
        return len(self._parts[0]) + self._parts[1].rows(keys)

    @property
    def spec(self) -> CacheSpec:
        """That of the product-quantised cache; `read_patches` gives float16."""
        return replace(self._parts[0].spec, weights=self.weights is not None)

    def _query_globals(self, rows: np.ndarray) -> np.ndarray:
        queries = self._parts[1]
        if self._adaptation is None or self._adaptation.summary is None:
            return np.asarray(queries.globals_[rows])
        return self._adaptation.global_descriptors(self._adaptation.adapt_patches(queries.read_patches(rows)))

    def compute_patches(self, rows: np.ndarray, out: np.ndarray) -> None:
        """As `ComputedCache.compute_patches`: decoded, or adapted."""
        database, queries = self._parts
        coded = rows < len(database)
        out[coded] = database.read_patches(rows[coded])
        exact = queries.read_patches(rows[~coded] - len(database))
        out[~coded] = exact if self._adaptation is None else self._adaptation.adapt_patches(exact)
