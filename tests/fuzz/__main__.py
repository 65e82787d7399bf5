"""`make fuzz`, or `python -m tests.fuzz TARGET [SECONDS]`: look for bytes that break a promise.

What is found lies below the cache directory; a finding is kept as a file in
tests/fuzz/corpus/TARGET, which the unit tests replay. Exit 1 when there is one.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from bot.settings import load as load_settings

CORPUS = Path(__file__).with_name("corpus")
SECONDS = 600
LIMITS = ("-timeout=20", "-rss_limit_mb=1500", "-max_len=10000", "-print_final_stats=1")
NAMES = ("mail", "mbox", "series", "command")


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process; ends it."""
    import atheris  # noqa: PLC0415 - it hooks into the imports below

    with atheris.instrument_imports(include=["bot.mail", "email", "liblore", "unidiff"]):
        from tests.fuzz import damage, targets  # noqa: PLC0415

    def mutated(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)  # noqa: S311 - not for secrets
        if name == "series" or chance.random() < 0.5:
            return bytes(atheris.Mutate(data, longest))
        return damage.damaged(data, chance, chance.choice((1, 1, 2, 4)))[:longest]

    room = load_settings().cache / "fuzz" / name
    (room / "corpus").mkdir(parents=True, exist_ok=True)
    words = [sys.argv[0], *LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={room}/"]
    seeds = [str(room / "corpus"), str(CORPUS / name)]
    atheris.Setup(words + seeds, targets.TARGETS[name], custom_mutator=mutated)
    atheris.Fuzz()


def main() -> None:
    """Fuzz the target that is named, or one after the other."""
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    if sys.argv[1:]:
        fuzz(sys.argv[1], seconds)
    codes = [
        subprocess.run([sys.executable, "-m", "tests.fuzz", name], check=False).returncode
        for name in NAMES
    ]
    sys.exit(int(any(codes)))


main()
