"""The committed tables of this folder: `python benchmarks/heads.py` writes heads.md and heads.json beside itself.

Any option of `harmbench bench heads` may follow, such as another --out; each table names its command.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harmbench.cli.bench import app

if __name__ == "__main__":
    app(["heads", "--out", str(Path(__file__).parent), *sys.argv[1:]])
