"""Speed and accuracy of transport, with lower bounds of the time.

    python -m benchmarks.transport [--repeats N]          CPU: compared with the published algorithm
    python -m benchmarks.transport --device cuda          CUDA: pairs a second, share of bandwidth and matrix rate
    python -m benchmarks.transport --device pruning       10,000 random problems: top-10 with and without pruning

The calls alternate, and the medians of their times are printed. Descriptors are synthetic; their median cosine is 0.14.
"""

import argparse
import sys
import time

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.transport_published import feature_maps, published_scores
from vpr.transport import Transport, marginal_weights, solve, structural_similarity, upper_bound
from vpr.transport.cpu.kernels import FEW
from vpr.transport.cpu.layout import round_up, whole_columns
from vpr.transport.cpu.simd import LANES
from vpr.transport.cpu.solver import sinkhorn_balanced

CANDIDATES = 100
CASES = ((49, 128), (49, 384), (196, 128), (196, 384))
FLOOR_ITERATIONS = 16
PARTIAL = Transport(mass=0.7)


def to_unit(array):
    """Rows of unit length, float32."""
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


def make_problem(patches: int, channels: int, candidates: int = CANDIDATES, seed: int = 0):
    """One query and its candidates: patches with a common direction (median cosine 0.14) and a decaying spectrum.

    The first tenth of the candidates have the patches of the query, in another order and blurred.
    """
    rng = np.random.default_rng(seed)
    spectrum = (1 + np.arange(channels)) ** -0.5
    query, database = (rng.normal(size=(*lead, patches, channels)) * spectrum for lead in ((), (candidates,)))
    for k in range(candidates // 10):
        blur = 0.3 + 0.5 * k / (candidates // 10)
        database[k] = (1 - blur) * query[rng.permutation(patches)] + blur * database[k]
    common = np.eye(channels)[-1] * np.sqrt(0.14)
    query, database = (to_unit(np.sqrt(0.86) * to_unit(array) + common) for array in (query, database))
    return query, database, to_unit(query.mean(0)), to_unit(database.mean(1))


def median_times(calls: dict, repeats: int) -> dict:
    """Median milliseconds of each call; the calls alternate."""
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def lower_bound_calls(arrays):
    """The two parts of the lower bound: the products alone, and the iterations alone on a kernel."""
    query, database, *_ = arrays
    patches, channels = query.shape
    columns, out = np.ascontiguousarray(query.T), np.empty((4 * patches, patches), np.float32)
    chunks = database.reshape(len(database) // 4, 4 * patches, channels)
    height, whole = round_up(patches, FEW), whole_columns(patches)
    singles = np.ones((max(0, patches - whole), round_up(patches, LANES)), np.float32)
    kernel = np.ones(height * whole, np.float32), singles
    mu, u = np.full((2, height + LANES), 1 / patches, np.float32)
    nu, v, sums = np.full((3, whole + LANES * (patches > whole)), 1 / patches, np.float32)

    def gemm():
        for chunk in chunks:
            np.dot(chunk, columns, out=out)

    def iterations():
        for _ in range(len(database)):
            sinkhorn_balanced(kernel, mu, nu, u, v, sums, np.float32(0), FLOOR_ITERATIONS)

    return {"gemm": gemm, "iterations": iterations}


def exact_scores(arrays, transport: Transport | None = None):
    """Converged float64 scores."""
    import torch

    tensors = [torch.from_numpy(array).double() for array in arrays]
    options = {"tolerance": 1e-9, "max_iterations": 5000, "backend": "torch"}
    return structural_similarity(*tensors, transport=transport, **options).score.numpy()


def measure_case(patches: int, channels: int, repeats: int) -> None:
    """Print one row: the published algorithm, ours on one core and on all, the lower bound, the ratios, the errors.

    Ours is called twice, as the published algorithm fills the processor's caches before the first call.
    """
    arrays = make_problem(patches, channels)
    maps = feature_maps(*arrays)
    half = (arrays[0], arrays[1].astype(np.float16), *arrays[2:])
    calls = {
        "published": lambda: published_scores(*maps),
        "one": lambda: structural_similarity(*arrays, threads=1, backend="numba"),
        "again": lambda: structural_similarity(*arrays, threads=1, backend="numba"),
        "all": lambda: structural_similarity(*arrays, backend="numba"),
        "half": lambda: structural_similarity(*half, threads=1, backend="numba"),
        "partial": lambda: structural_similarity(*arrays, transport=PARTIAL, threads=1, backend="numba"),
    } | lower_bound_calls(arrays)
    times = median_times(calls, repeats)
    result, exact = calls["one"](), exact_scores(arrays)
    error, theirs = (float(abs(score - exact).max()) for score in (result.score, published_scores(*maps)))
    partial = float(abs(calls["partial"]().score - exact_scores(arrays, PARTIAL)).max())
    floor = times["gemm"] + times["iterations"]
    print(
        f"{patches:4d} x {channels:3d} | published {times['published']:7.2f} ms (off by {theirs:.0e})"
        f" | ours {times['one']:6.2f} ms, called again {times['again']:.2f} ms"
        f" (off by {error:.0e}, {result.iterations.mean():.1f} iterations)"
        f" | ratio {times['published'] / times['one']:5.1f}"
        f" | floor {floor:6.2f} ms = GEMM {times['gemm']:.2f} + {FLOOR_ITERATIONS} iterations {times['iterations']:.2f}"
        f" | floor x {times['one'] / floor:.2f}"
        f" | all cores x {times['again'] / times['all']:.2f} | float16 {times['half']:.2f} ms"
        f" | mass 0.7 x {times['partial'] / times['again']:.2f} (off by {partial:.0e})"
    )


def find_pruned_top(scores, bound, k: int):
    """The top k of the candidates in order of falling bound, and the share that is skipped.

    It ends at the first bound below the k-th score.
    """
    order = np.argsort(-bound)
    best: list = []
    for place, candidate in enumerate(order):
        if len(best) == k and bound[candidate] < best[-1][0] - 1e-4:
            return [c for _, c in best], 1 - place / len(order)
        best = sorted([*best, (scores[candidate], candidate)], reverse=True)[:k]
    return [c for _, c in best], 0.0


def check_pruning(problems: int, k: int = 10) -> None:
    """Print the number of random problems in which pruning changed the top k, and the share of skipped candidates."""
    changed, shares = 0, []
    for seed in range(problems):
        query, database, query_global, database_global = make_problem(16, 32, seed=seed)
        mu, nu = marginal_weights("complement", query, database, query_global, database_global)
        similarity = np.ascontiguousarray((database @ query.T).swapaxes(1, 2))
        scores = solve(similarity, mu, nu).score
        top, share = find_pruned_top(scores, upper_bound(similarity, mu, nu), k)
        changed += top != list(np.argsort(-scores, kind="stable")[:k])
        shares.append(share)
    print(f"pruning: top-{k} changed on {changed} of {problems} problems; {np.mean(shares):.0%} of candidates skipped")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda", "pruning"), default="cpu")
    parser.add_argument("--repeats", type=int, default=15, help="runs of each call (default 15)")
    parser.add_argument("--problems", type=int, default=10000, help="problems of the pruning check (default 10000)")
    options = parser.parse_args(argv)
    if options.device == "pruning":
        check_pruning(options.problems)
        return 0
    import torch

    if options.device == "cuda":
        if not torch.cuda.is_available():
            print("no CUDA device here; its figures cannot be measured", file=sys.stderr)
            return 1
        from benchmarks.transport_cuda import print_figures

        print_figures(options.repeats)
        return 0
    torch.set_num_threads(1)
    with threadpool_limits(1, "blas"):
        for patches, channels in CASES:
            measure_case(patches, channels, options.repeats if patches < 100 else max(3, options.repeats // 3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
