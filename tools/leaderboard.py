#!/usr/bin/env python
"""`natx leaderboard` from a checkout that is not installed: python tools/leaderboard.py --help"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from natx.cli.main import start  # noqa: E402

if __name__ == "__main__":
    start("leaderboard", sys.argv[1:])
