"""Training that takes a second, in batches large enough that every loss is a number."""

STEPS = ["--steps", "4", "--places", "4", "--images-per-place", "2", "--structural-negatives", "3"]
SMALL = [*STEPS, "--dim", "16", "--augment", "light", "--device", "cpu"]
