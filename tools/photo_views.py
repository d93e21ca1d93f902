"""``python -m tools.photo_views PHOTOS --out DIR``: two altered views of each photograph, as an MSLS tree.

It tests a model that was trained on rendered streets on photographs. PHOTOS is any folder of images (game data packages
of Debian have thousands under free licences). Each place is a square of a photograph. The database shows it from the
front; the query from the side, nearer, in other light, blurred or noisy. Score it with eval.msls:

    python -m eval.msls --data DIR --cities photos --run RUN --rerank
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from torchvision.transforms import v2

MIN_SIDE = 512  # pixels of the shorter side of a photograph, at least
TILE = 768  # pixels of a place, at least, if a photograph is cut into several
SIZE = 160  # pixels of a view
APART_M = 100.0
SAME_CORRELATION = 0.85  # correlation of thumbnails from which two squares count as the same


def main() -> None:
    """Write the tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--places", type=int, default=1200)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    files = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    places = 0
    known = np.zeros((arguments.places, 256), np.float32)
    for number in rng.permutation(len(files)).tolist():
        for square in crop_squares(files[number]):
            small = thumbnail(square)
            if places < arguments.places and (known @ small).max() < SAME_CORRELATION:
                known[places] = small
                for side in ("database", "query"):
                    save_view(square, arguments.out / f"train_val/photos/{side}/images/p{places:04d}{side[0]}.jpg", rng)
                places += 1
    for side in ("database", "query"):
        write_tables(arguments.out / "train_val/photos" / side, [f"p{place:04d}{side[0]}" for place in range(places)])
    print(f"{places} places: {arguments.out}")


def crop_squares(path: Path) -> list[Image.Image]:
    """The squares of a photograph; none if it is small, transparent, flat or damaged."""
    try:
        with Image.open(path) as image:
            if min(image.size) < MIN_SIDE or image.mode not in ("RGB", "L", "P"):
                return []
            image = image.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError):
        return []
    count = max(1, min(image.size) // TILE)
    side = min(image.size) // count
    boxes = [(x * side, y * side, (x + 1) * side, (y + 1) * side) for x in range(count) for y in range(count)]
    found = [image.crop(box) for box in boxes]
    return [square for square in found if np.asarray(square.convert("L").resize((32, 32))).std() > 12]


def thumbnail(square: Image.Image) -> np.ndarray:
    """16 x 16 grey pixels as a unit vector (256,), to find repeated pictures."""
    pixels = np.asarray(square.convert("L").resize((16, 16), Image.Resampling.BOX), np.float32).ravel()
    pixels = pixels - pixels.mean()
    return pixels / max(float(np.linalg.norm(pixels)), 1e-6)


def save_view(square: Image.Image, path: Path, rng: np.random.Generator) -> None:
    """Write one view: that of the database is nearly the square itself, that of the query is altered."""
    size = square.size[0]
    query = path.parent.parent.name == "query"
    shift, least = (0.18, 0.55) if query else (0.03, 0.9)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * rng.uniform(least, 1)
    corners = corners + rng.uniform(0, 1 - corners.max(), 2) + rng.uniform(-shift, shift, (4, 2)) / 2
    corners = np.clip(corners, 0, 1) * (size - 1)
    frame = [[0, 0], [size - 1, 0], [size - 1, size - 1], [0, size - 1]]
    view = v2.functional.perspective(square, corners.astype(int).tolist(), frame)
    view = view.resize((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(view, np.float32) / 255
    if query:
        pixels = pixels ** rng.uniform(0.5, 2.0) * rng.uniform(0.35, 1.1) * rng.uniform(0.75, 1.25, 3)
        if rng.random() < 0.3:
            pixels = np.repeat(pixels.mean(2, keepdims=True), 3, 2)
        if rng.random() < 0.4:
            blurred = v2.functional.gaussian_blur(Image.fromarray(to_bytes(pixels)), [7, 7], [rng.uniform(0.5, 2.0)])
            pixels = np.asarray(blurred, np.float32) / 255
        pixels = pixels + rng.normal(0, rng.uniform(0, 0.05), pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_bytes(pixels)).save(path, quality=int(rng.integers(50, 90)))


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Convert numbers in [0, 1] to uint8."""
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def write_tables(folder: Path, keys: list[str]) -> None:
    """The four CSVs of one side; every place lies 100 m from the next."""
    subtasks = dict.fromkeys(("all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d"), True)
    easting = 500_000 + APART_M * np.arange(len(keys))
    tables = {
        "postprocessed": {"easting": easting, "northing": 0.0, "night": False, "control_panel": False,
                          "view_direction": "Forward", "unique_cluster": range(len(keys))},
        "raw": {"lon": 0.0, "lat": 0.0, "ca": 0.0, "captured_at": 0, "pano": False},
        "seq_info": {"sequence_key": keys, "frame_number": 0},
        "subtask_index": subtasks,
    }  # fmt: skip
    for name, columns in tables.items():
        pd.DataFrame({"key": keys} | columns).to_csv(folder / f"{name}.csv")


if __name__ == "__main__":
    main()
