"""A contact sheet of labelled images: classes in rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vpr.base.files import replace_file
from vpr.datasets.labels.labelled_images import LabelledImages

ROWS, COLUMNS, SIDE = 12, 8, 112


def write_contact_sheet(images: LabelledImages, target: Path) -> None:
    """Draw the first images of the first classes."""
    sheet = Image.new("RGB", (COLUMNS * SIDE, ROWS * SIDE), "white")
    for row, number in enumerate(np.unique(images.classes)[:ROWS]):
        for column, file in enumerate(images.files[images.classes == number][:COLUMNS]):
            with Image.open(images.root / file) as image:
                sheet.paste(image.convert("RGB").resize((SIDE, SIDE)), (column * SIDE, row * SIDE))
    with replace_file(target) as temporary:
        sheet.save(temporary, "PNG")
