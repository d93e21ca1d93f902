"""The published results of image retrieval (Zhang, Liwicki, Cipolla, BMVC 2022), printed beside ours.

P@1, RP and MAP@R in per cent, of the base model and with structure. The code of the paper counts the query in R. So its
RP and MAP@R are lower than ours for the same ranking.
"""

PUBLISHED = {
    "cub": {
        "DIML (ResNet-50)": ((62.12, 34.50, 23.40), (64.97, 35.28, 24.45)),
        "DeiT-S": ((70.39, 39.96, 29.22), (70.12, 38.19, 26.80)),
        "CvT-13": ((71.75, 41.94, 31.19), (73.72, 42.68, 32.12)),
        "Swin-T": ((74.47, 43.43, 32.86), (74.98, 43.19, 32.78)),
    },
    "cars": {
        "DIML (ResNet-50)": ((77.43, 34.25, 23.57), (83.17, 35.10, 25.60)),
        "DeiT-S": ((76.27, 32.31, 21.57), (72.74, 31.51, 18.97)),
        "CvT-13": ((80.55, 35.30, 24.80), (83.66, 35.63, 25.82)),
        "Swin-T": ((83.32, 37.51, 27.22), (85.07, 37.79, 27.87)),
    },
    "sop": {
        "DIML (ResNet-50)": ((77.41, 45.09, 41.74), (78.86, 46.22, 43.00)),
        "DeiT-S": ((78.13, 45.96, 42.77), (77.65, 44.60, 41.40)),
        "CvT-13": ((77.15, 44.74, 41.53), (77.15, 44.45, 41.36)),
        "Swin-T": ((79.42, 47.42, 44.33), (80.02, 47.90, 44.86)),
    },
}


def published_lines(layout: str | None) -> list[str]:
    """A line for each method of the paper on a data set; empty if the paper has no results for it."""
    return [
        f"the paper, {method}: P@1 {base[0]:.1f} -> {struct[0]:.1f}, RP {base[1]:.1f} -> {struct[1]:.1f}, "
        f"MAP@R {base[2]:.1f} -> {struct[2]:.1f} (the query counted in R)"
        for method, (base, struct) in PUBLISHED.get(layout or "", {}).items()
    ]
