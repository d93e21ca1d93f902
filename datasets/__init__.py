"""Place-recognition datasets in the MSLS layout: reading, ground truth, and a rendered stand-in."""

import vpr.base.interrupt  # noqa: F401  before everything else: Ctrl-C during imports
