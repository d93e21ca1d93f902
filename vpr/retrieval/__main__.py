"""``python -m vpr.retrieval``: the command of `vpr.distill.classes`, by its public name."""

import sys

from vpr.distill.classes import main

if __name__ == "__main__":
    sys.exit(main())
