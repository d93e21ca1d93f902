"""A contact sheet: places in rows, their traverses in columns."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from vpr.datasets.street_world.config import MiniConfig
from vpr.datasets.street_world.work import image_path, plan_street

COLUMNS = 5
LABEL_PX = 12


def write_contact_sheet(root: Path, target: Path, config: MiniConfig, streets: int = 12) -> None:
    """Draw one place of each of the first streets of all cities in its traverses, those of the database first."""
    side = config.size
    cells = [(plan, number) for number in range(streets) for plan in config.cities if number < plan.streets][:streets]
    sheet = Image.new("RGB", (COLUMNS * side, len(cells) * (side + LABEL_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (plan, number) in enumerate(cells):
        _, street, traverses = plan_street(config, plan, number)
        for column, traverse in enumerate(traverses[:COLUMNS]):
            frames = [frame for frame in traverse.frames if not frame.pano]
            frame = frames[len(frames) // 2]
            corner = (column * side, row * (side + LABEL_PX))
            with Image.open(image_path(root, plan, traverse.side, frame.key)) as image:
                sheet.paste(image.convert("RGB").resize((side, side)), (corner[0], corner[1] + LABEL_PX))
            draw.text((corner[0] + 2, corner[1]), f"{traverse.side[0]} {traverse.weather.name} {street.scene}", "black")
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)
