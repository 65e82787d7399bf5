"""Reclaim stress measured: seeded bugs, false alarms, spreads, times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ALARMS, SEEDS = HERE / "alarms.jsonl", HERE / "seeds.json"  # kept in git; a run goes on in them
BOOTS = 208


def run() -> None:
    """Run what is missing of both, and print their tables; hours when nothing is there."""
    for module, words in (("alarms", (str(ALARMS), str(BOOTS))), ("seeds", (str(SEEDS),))):
        argv = [sys.executable, "-m", f"tests.bench.stress.{module}", *words]
        subprocess.run(argv, check=True)
