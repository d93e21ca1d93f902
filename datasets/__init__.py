"""Place-recognition datasets in the MSLS layout: reading, ground truth, and a rendered stand-in."""
