"""From patch descriptors to scores on the CPU: GEMM in chunks that stay in cache, then transport."""

import threading
from functools import cached_property

import numpy as np

from vpr.transport.marginals import normalise, raw_weights
from vpr.transport.numba_backend import compiled_settings, empty_result, finish_wide, in_threads, split, thread_count
from vpr.transport.numba_kernels import solve_pairs
from vpr.transport.numba_convert import chunk_weights, half_to_single
from vpr.transport.problem import Settings, TransportResult

CHUNK_FLOATS = 1 << 18  # float32 numbers of descriptors and similarities in a chunk: 1 MiB, about L2
CODES = {"uniform": 0, "relevancy": 1, "inverse": 2, "complement": 3, "softmax": 4}


class SingleBlasThread:
    """Context in which BLAS uses one thread, as our own threads share the candidates.

    The setting is one for the whole process, so contexts that overlap in several threads count themselves:
    the first sets it, the last restores it.
    """

    def __init__(self):
        self.lock, self.depth, self.limiter = threading.Lock(), 0, None

    @cached_property
    def controller(self):
        """The BLAS libraries that are loaded, found once: the search takes milliseconds."""
        from threadpoolctl import ThreadpoolController

        return ThreadpoolController().select(user_api="blas")

    def __enter__(self):
        with self.lock:
            self.depth += 1
            if self.depth == 1:
                self.limiter = self.controller.limit(limits=1)

    def __exit__(self, *error):
        with self.lock:
            self.depth -= 1
            if self.depth == 0:
                self.limiter.restore_original_limits()


single_blas_thread = SingleBlasThread()


def query_columns(query_patches, query_global):
    """(C, P + 1): the query's patches and its global descriptor as columns of one matrix."""
    return np.concatenate([query_patches, query_global[None]]).astype(np.float32).T


def query_marginals(kind: str, query_patches, database_global):
    """Marginals (N, P) of the query's side."""
    return normalise(raw_weights(kind, database_global.astype(np.float32, copy=False) @ query_patches.T))


def work_on(part, columns, database_patches, mu, nu, code, values, result):
    """Score the candidates of a slice, chunk by chunk, into the arrays of ``result``.

    ``nu`` (N, Q) is filled from the similarities with the query's global descriptor unless ``code`` is None.
    """
    _, patches, channels = database_patches.shape
    width = columns.shape[1]
    step = max(1, CHUNK_FLOATS // (patches * (channels + width)))
    single = np.empty((step, patches, channels), np.float32)
    product = np.empty((step, patches, width), np.float32)
    for start in range(part.start, part.stop, step):
        chunk = slice(start, min(start + step, part.stop))
        n = chunk.stop - chunk.start
        descriptors = database_patches[chunk]
        if descriptors.dtype == np.float16:
            half_to_single(descriptors.reshape(-1).view(np.uint16), single[:n].reshape(-1))
            descriptors = single[:n]
        np.dot(descriptors.reshape(n * patches, channels), columns, out=product[:n].reshape(n * patches, width))
        if code is not None:
            chunk_weights(product[:n], code, nu[chunk])
        plan = result.plan[chunk] if len(result.plan) else result.plan
        solve_pairs(
            product[:n], nu[chunk], mu[chunk], values,
            result.score[chunk], result.iterations[chunk], result.marginal_error[chunk], plan,
        )  # fmt: skip


def structural(query_patches, database_patches, query_global, database_global, kind, weights, settings: Settings):
    """Scores of one query (P, C) against N candidates (N, Q, C), float32 or float16.

    The product is laid out database patch by query patch, so the plan is transposed on the way out; the
    query's global descriptor rides along as one more column and yields the database's marginals.

    Parameters
    ----------
    kind : marginals, or None when ``weights`` (query (N, P), database (N, Q)) are given
    """
    pairs, patches, _ = database_patches.shape
    query_patches = np.ascontiguousarray(query_patches, dtype=np.float32)
    database_patches = np.ascontiguousarray(database_patches)
    result = empty_result((pairs, patches, len(query_patches)), settings.plan)
    columns = query_columns(query_patches, query_global)
    values, code = compiled_settings(settings), CODES[kind] if weights is None else None
    with single_blas_thread:
        if weights is None:
            mu, nu = query_marginals(kind, query_patches, database_global), np.empty((pairs, patches), np.float32)
        else:
            mu, nu = (np.ascontiguousarray(side, dtype=np.float32) for side in weights)
        in_threads(
            lambda part: work_on(part, columns, database_patches, mu, nu, code, values, result),
            split(pairs, thread_count(settings, pairs * patches * len(query_patches))),
        )
    finish_wide(
        result, settings,
        lambda wide: (database_patches[wide].astype(np.float32) @ query_patches.T, nu[wide], mu[wide]),
    )  # fmt: skip
    return result._replace(plan=result.plan.transpose(0, 2, 1) if settings.plan else None)
