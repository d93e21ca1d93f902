"""CUDA figures of transport: pairs a second, and the share of bandwidth and matrix rate."""

from functools import partial

import torch

from vpr.transport import structural_similarity_pairs

CASES = ((49, 128), (196, 384))
QUERIES, DATABASE, DEPTH = 740, 20_000, 100  # the size of MSLS validation
H200_BYTES, H200_FLOPS = 4.8e12, 989e12  # per second: HBM3e, dense bf16


def make_images(patches: int, channels: int, images: int, seed: int):
    """Random unit patches in bf16 on the device, of median cosine 0.14, and their global descriptors."""
    generator = torch.Generator("cuda").manual_seed(seed)
    spectrum = (1 + torch.arange(channels, device="cuda")) ** -0.5
    array = torch.randn(images, patches, channels, device="cuda", generator=generator) * spectrum
    array = 0.86**0.5 * torch.nn.functional.normalize(array, dim=-1)
    array[..., -1] += 0.14**0.5
    array = torch.nn.functional.normalize(array, dim=-1)
    return array.bfloat16(), torch.nn.functional.normalize(array.mean(1), dim=-1)


def median_s(call, repeats: int) -> float:
    """Median time of a call on the device."""
    call()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times)[len(times) // 2]


def print_figures(repeats: int) -> None:
    """Print pairs a second for each case, the lower bounds, and the time of the pairs of MSLS validation."""
    print(torch.cuda.get_device_name())
    for patches, channels in CASES:
        database, database_global = make_images(patches, channels, DATABASE, 0)
        query, query_global = make_images(patches, channels, QUERIES, 1)
        queries = torch.arange(QUERIES, device="cuda").repeat_interleave(DEPTH)
        images = torch.randint(DATABASE, (QUERIES * DEPTH,), device="cuda")
        arrays = query, database, query_global, database_global
        time_s = median_s(partial(structural_similarity_pairs, *arrays, (queries, images)), repeats)
        sample = slice(0, 2 * DEPTH)
        result = structural_similarity_pairs(*arrays, (queries[sample], images[sample]))
        double = [array.double() for array in arrays]
        exact = structural_similarity_pairs(*double, (queries[sample], images[sample]), backend="torch").score
        pairs = len(images)
        memory = pairs * 2 * patches * channels / H200_BYTES
        matrix = pairs * 2 * patches**2 * channels / H200_FLOPS
        print(
            f"{patches} x {channels}: {pairs / time_s / 1e6:.2f} M pairs/s, {1e3 * time_s:.1f} ms for"
            f" {QUERIES} x {DEPTH} pairs (off by {float((result.score - exact).abs().max()):.0e},"
            f" {float(result.iterations.float().mean()):.1f} iterations); floors {1e3 * memory:.2f} ms of bandwidth"
            f" ({memory / time_s:.1%} of it) and {1e3 * matrix:.3f} ms of matrix rate ({matrix / time_s:.1%})"
        )
