"""A picture of four different quarters, stored in each of the eight EXIF orientations."""

import numpy as np

# How the camera stored a picture that is upright after turning it as EXIF asks.
STORED = {
    1: lambda picture: picture,
    2: np.fliplr,
    3: lambda picture: np.rot90(picture, 2),
    4: np.flipud,
    5: lambda picture: picture.transpose(1, 0, 2),
    6: lambda picture: np.rot90(picture, 1),
    7: lambda picture: np.rot90(picture, 2).transpose(1, 0, 2),
    8: lambda picture: np.rot90(picture, -1),
}


def quadrants():
    """Red, green; blue, white: 64 x 96 pixels."""
    picture = np.full((64, 96, 3), 255, np.uint8)
    picture[:32, :48], picture[:32, 48:], picture[32:, :48] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return picture


def distance(first, second):
    return np.abs(first.astype(int) - second.astype(int)).mean()
