"""Whether KVM works here, found out by booting something with it.

``/dev/kvm`` may open and yet not work, nested under another hypervisor for one: QEMU then
aborts, or the guest hangs. Nothing short of a boot tells.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from workers.locks import locked
from workers.stress import guest, records
from workers.stress.boot import DONE, Patience, boot
from workers.stress.qemu import Accelerator, Machine

DEVICE = Path("/dev/kvm")
PROBE_SECONDS = 7  # of the boot; what comes around it must fit into ten
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Choice:
    """What guests are run by, and why."""

    accelerator: Accelerator
    reason: str


def choose(directory: Path, scratch: Path, uid: int, kernel: Path, init: bytes) -> Choice:
    """Return KVM if a guest boots with it, else TCG; asked once per boot of this machine.

    ``directory`` keeps the answer; ``kernel`` is a bzImage that is known to boot.
    """
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Choice("tcg", "/dev/kvm cannot be opened")
    kept = directory / f"accelerator-{BOOT_ID.read_text().strip()}.json"
    with locked(directory / "accelerator.lock"):
        if kept.exists():
            return Choice(**json.loads(kept.read_text()))
        found = probe(scratch, uid, kernel, init)
        fresh = kept.with_suffix(".new")
        fresh.write_text(json.dumps({"accelerator": found.accelerator, "reason": found.reason}))
        fresh.replace(kept)
    return found


def probe(scratch: Path, uid: int, kernel: Path, init: bytes) -> Choice:
    """Boot a guest that has nothing to do with KVM."""
    scratch.mkdir(parents=True, exist_ok=True)
    nonce = secrets.token_hex(16)
    archive = scratch / "probe-initramfs"
    archive.write_bytes(guest.initramfs(init, f"nonce {nonce}\nprepare 1\n"))
    machine = Machine(kernel, archive, (), 128, 1, "kvm", 2 * PROBE_SECONDS)
    patience = Patience(PROBE_SECONDS, PROBE_SECONDS, 1 << 20, 1 << 16, last_words=0.2)
    heard = boot(machine, patience, scratch, uid)
    account = records.parse(heard.records.decode(errors="replace"), nonce)
    if heard.code == DONE and account.first("end") is not None:
        return Choice("kvm", f"a guest booted with KVM in {heard.seconds:.1f} s")
    said = next((line for line in heard.errors.splitlines() if line.strip()), "")
    why = said or f"it did not boot within {PROBE_SECONDS} s"
    return Choice("tcg", f"/dev/kvm opens, but a guest does not boot with it: {why[:120]}")
