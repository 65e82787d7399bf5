"""Write the dump of a schema that is released."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.released import HERE, dump

if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as home:
            (HERE / f"{name}.sql").write_text(dump(Path(home, "store.db"), name))
