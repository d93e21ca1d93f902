"""A bird in a pose, drawn as coloured polygons on top of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vpr.datasets.bird_world.species import COLOURS, Species

Colour = tuple[int, int, int]
Marks = Sequence[np.ndarray]  # polygons (n, 2)
PARTS = ("back", "belly", "wing", "mark", "cap", "cheek", "beak", "legs")
DARK: Colour = (24, 22, 22)
WHITE: Colour = (250, 250, 246)


@dataclass(frozen=True)
class Pose:
    """How one bird stands; angles in radians, lengths in image widths."""

    place: tuple[float, float]
    size: float  # of a body length
    turn: float
    squeeze: float  # factor on the length, as the bird is seen from an angle
    mirrored: bool
    head: float  # turn of the head, the wing and the tail against the body
    wing: float
    tail: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Pose:
        """A pose at random."""
        place = (float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.42, 0.58)))
        angles = [float(rng.normal(0, spread)) for spread in (0.3, 0.18, 0.14, 0.2)]
        size, squeeze = float(rng.uniform(0.27, 0.46)), float(rng.uniform(0.68, 1.0))
        return cls(place, size, angles[0], squeeze, bool(rng.random() < 0.5), *angles[1:])

    def matrix(self, pixels: int) -> np.ndarray:
        """From the bird's coordinates, x to the front and y up, to those of the image: (2, 3)."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        turned = np.array([[cos, sin], [sin, -cos]])  # y of an image points down
        stretch = np.diag([self.squeeze * (-1 if self.mirrored else 1), 1.0])
        linear = turned @ stretch * self.size * pixels
        return np.column_stack([linear, np.array(self.place) * pixels])


def rotate(points: np.ndarray, centre: tuple[float, float], angle: float) -> np.ndarray:
    """Points (n, 2) turned about a centre."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray((points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre)


def egg(centre: tuple[float, float], length: float, height: float, taper: float = 0.0) -> np.ndarray:
    """An ellipse whose rear, at negative x, is slimmer, (48, 2)."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x, y = np.cos(angle), np.sin(angle)
    return np.stack([centre[0] + length / 2 * x, centre[1] + height / 2 * y * (1 - taper * (1 - x) / 2)], 1)


class Canvas:
    """An image to draw parts on, with a mask of what they cover."""

    def __init__(self, background: Image.Image, matrix: np.ndarray) -> None:
        self.image, self.matrix = background, matrix
        self.cover = Image.new("L", background.size)

    def to_pixels(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Points in the coordinates of the image."""
        moved = np.asarray(points) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return [tuple(point) for point in moved.tolist()]

    def draw_part(self, outline: np.ndarray, colour: Colour, marks: Marks = (), mark: Colour = DARK) -> None:
        """Draw a polygon (n, 2), with marks (polygons) inside it."""
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon(self.to_pixels(outline), 255)
        layer = Image.new("RGB", self.image.size, colour)
        pen = ImageDraw.Draw(layer)
        for one in marks:
            pen.polygon(self.to_pixels(one), mark)
        self.image.paste(layer, mask=mask)
        self.cover.paste(255, mask=mask)

    def draw_line(self, points: np.ndarray, width: float, colour: Colour) -> None:
        """Draw a line (n, 2) of a width in body lengths."""
        pixels = max(1, round(width * float(np.linalg.norm(self.matrix[:, 1]))))
        for image, value in ((self.image, colour), (self.cover, 255)):
            ImageDraw.Draw(image).line(self.to_pixels(points), value, pixels, "curve")


def pattern_marks(kind: str, count: int, corner: tuple[float, float], length: float, width: float) -> list[np.ndarray]:
    """The marks of a pattern inside a rectangle: polygons, none for ``plain``.

    The rectangle starts at a corner. Its length along x and its width along y may be negative.
    """
    along, across = np.array([length, 0.0]), np.array([0.0, width])

    def quad(u0: float, u1: float, v0: float, v1: float) -> np.ndarray:
        return np.array([corner + u * along + v * across for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))])

    steps = (np.arange(count) + 0.5) / count
    if kind == "bars":
        return [quad(u - 0.22 / count, u + 0.22 / count, 0, 1) for u in steps]
    if kind == "streaks":
        return [quad(0, 1, v - 0.2 / count, v + 0.2 / count) for v in steps]
    if kind == "tip":
        return [quad(0.72, 1.1, -0.1, 1.1)]
    if kind == "spots":
        dots = egg((0, 0), 1, 1)
        side = 0.5 / count
        return [
            corner + (u + side * dots[:, :1]) * along + (v + side * dots[:, 1:]) * across for u in steps for v in steps
        ]
    return []


def draw_bird(canvas: Canvas, species: Species, pose: Pose) -> None:
    """Draw a bird of the species, tail first, wing last."""
    colour = {name: COLOURS[getattr(species, name)] for name in PARTS}
    height, taper = species.body_height, species.body_taper
    _draw_tail(canvas, species, pose, colour)
    for x in (-0.06, 0.08):
        foot = -height / 2 - species.leg_length
        canvas.draw_line(np.array([[x, -height / 3], [x + 0.03, foot], [x + 0.12, foot - 0.02]]), 0.035, colour["legs"])
    canvas.draw_part(egg((0, 0), 1.0, height, taper), colour["back"])
    marks = pattern_marks(species.breast_pattern, species.breast_marks, (-0.3, -height * 0.48), 0.8, height * 0.6)
    breast = egg((0.08, -height * 0.16), 0.8, height * 0.66, taper)
    canvas.draw_part(breast, colour["belly"], marks, COLOURS[species.breast_mark])
    _draw_head(canvas, species, pose, colour)
    _draw_wing(canvas, species, pose, colour)


def _draw_wing(canvas: Canvas, species: Species, pose: Pose, colour: dict[str, Colour]) -> None:
    length, width = species.wing_length, 1.6 * species.wing_width
    shoulder, angle = (0.24, species.body_height * 0.14), 0.12 + pose.wing
    wing = egg((shoulder[0] - length / 2, shoulder[1]), length, width, 0.75)
    marks = pattern_marks(
        species.wing_pattern, species.wing_marks, (shoulder[0], shoulder[1] + width / 2), -length, -width
    )
    turned = [rotate(one, shoulder, angle) for one in marks]
    canvas.draw_part(rotate(wing, shoulder, angle), colour["wing"], turned, colour["mark"])


def _draw_tail(canvas: Canvas, species: Species, pose: Pose, colour: dict[str, Colour]) -> None:
    root, length, width = (-0.42, 0.02), species.tail_length, species.tail_width
    ends: dict[str, list[tuple[float, float]]] = {
        "square": [(1, 1), (1, -1)],
        "fork": [(1, 1), (0.7, 0), (1, -1)],
        "point": [(1, 0)],
    }
    ends["fan"] = [(np.cos(angle), 2.2 * np.sin(angle)) for angle in np.linspace(0.5, -0.5, 9)]
    shape = [(0, 0.35), *ends[species.tail], (0, -0.35)]
    outline = np.array([(root[0] - length * x, root[1] + width / 2 * y) for x, y in shape])
    marks = pattern_marks(species.tail_pattern, 4, (root[0], root[1] + width), -length, -2 * width)
    turned = [rotate(one, root, pose.tail) for one in marks]
    canvas.draw_part(rotate(outline, root, pose.tail), colour["wing"], turned, colour["mark"])


def _draw_head(canvas: Canvas, species: Species, pose: Pose, colour: dict[str, Colour]) -> None:
    neck, size = (0.36, species.body_height * 0.2), species.head_size
    x, y = neck[0] + 0.6 * species.neck + size * 0.25, neck[1] + species.neck + size * 0.3

    def part(points: object, filled: Colour) -> None:
        canvas.draw_part(rotate(np.asarray(points, float), neck, pose.head), filled)

    def of_head(points: object) -> np.ndarray:
        return np.asarray(points, float) * size + (x, y)

    part([(neck[0] - 0.16, neck[1]), (x - size / 2, y), (x + size / 2, y), (0.48, -0.05)], colour["back"])
    if species.crest != "none":
        tops = {
            "spikes": [(-0.7, 0.9), (-0.35, 0.55), (-0.25, 1.1), (0, 0.6), (0.15, 1.0)],
            "long": [(-1.3, 0.75)],
            "round": [(-0.4, 0.75), (0, 0.95), (0.3, 0.75)],
        }[species.crest]
        part(of_head([(-0.5, 0.1), *tops, (0.4, 0.2)]), colour["cap"])
    front, high, length = x + size * 0.38, species.beak_height, species.beak_length
    middle, tip = (front + length / 2, y + high * 0.3), (front + length, y - species.beak_bend * length - 0.03)
    part([(front, y + high / 2), middle, tip, (front, y - high / 2)], colour["beak"])
    part(egg((x, y), size, size * 0.94), colour["cheek"])
    angle = np.linspace(0.1, np.pi - 0.1, 24)
    part(of_head(np.stack([0.5 * np.cos(angle), 0.47 * np.sin(angle)], 1)), colour["cap"])
    if species.eye_stripe:
        part(of_head([(-0.5, 0.02), (0.45, 0.12), (0.45, 0), (-0.5, -0.1)]), DARK)
    part(of_head(egg((0.16, 0.06), 0.2, 0.2)), WHITE)
    part(of_head(egg((0.17, 0.06), 0.13, 0.13)), DARK)
