"""Visual place recognition: models, descriptors, caches, transport and re-ranking."""

import vpr.base.interrupt  # noqa: F401  before everything else: Ctrl-C during imports
