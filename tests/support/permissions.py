"""Python run so that permissions count, for root too, who otherwise may read and write everything."""

import os
import shutil
import subprocess
import sys

import pytest
from warm import ROOT

POWERS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]  # without them root minds permissions
MINDS_PERMISSIONS = POWERS if os.geteuid() == 0 else []
needs_permissions = pytest.mark.skipif(
    bool(MINDS_PERMISSIONS) and shutil.which("setpriv") is None, reason="root may write everywhere"
)


def python(*arguments, cwd, **variables):
    """Run Python so that permissions count; variables of None are taken away. Commands are found from any folder."""
    given = {**os.environ, "PYTHONPATH": ROOT, **variables}
    env = {name: str(value) for name, value in given.items() if value is not None}
    command = [*MINDS_PERMISSIONS, sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
