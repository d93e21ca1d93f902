"""Evaluation under the MSLS protocol: metrics, prediction files, submissions, commands."""

import vpr.base.interrupt  # noqa: F401  before everything else: Ctrl-C during imports
