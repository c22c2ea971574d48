"""The committed table of this folder: `python benchmarks/heads.py` writes heads.md and heads.json beside itself.

Any option of `harmbench bench heads` may follow.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harmbench.cli.bench import app

if __name__ == "__main__":
    app(["heads", *sys.argv[1:], "--out", str(Path(__file__).parent)])
