"""Training that takes a second, in batches large enough that every loss is a number."""

TEACHER = [
    "--recipe",
    "mini",
    "--steps",
    "4",
    "--places",
    "4",
    "--images-per-place",
    "2",
    "--dim",
    "16",
    "--augment",
    "light",
]
TEACHER += ["--device", "cpu"]
SMALL = [*TEACHER, "--structural-negatives", "3"]  # a student
