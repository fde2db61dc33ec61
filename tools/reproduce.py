#!/usr/bin/env python
"""`natx reproduce` from a checkout that is not installed: python tools/reproduce.py --help"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from natx.cli.main import start  # noqa: E402

if __name__ == "__main__":
    start("reproduce", sys.argv[1:])
