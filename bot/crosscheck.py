"""Settings that are each right and do not go together, or name files that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bot.contract import Queue, wire
from bot.settings import Settings

QUEUES = {*(queue.value for queue in Queue), wire.KVM}
S3 = ("s3_endpoint", "s3_access_key_file", "s3_secret_key_file")
FILES = ("_file", "_ca", "dkim_keys")


def problems(found: Settings) -> tuple[str, ...]:
    """Return a sentence for each thing that is wrong, each beginning with a setting's name."""
    return (
        *_files(found), *_broker(found), *_artifacts(found), *_mail(found), *_worker(found),
        *_store(found),
    )  # fmt: skip


def files(found: Settings) -> dict[str, Path]:
    """Return the settings that name files which must be there."""
    values = {name: getattr(found, name) for name in type(found).model_fields}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, Path) and name.endswith(FILES)
    }


def is_readable(path: Path) -> bool:
    """Whether this user can read a file."""
    return path.is_file() and os.access(path, os.R_OK)


def _files(found: Settings) -> Iterator[str]:
    for name, path in files(found).items():
        if not is_readable(path):
            yield f"{name}: {path} cannot be read"


def _broker(found: Settings) -> Iterator[str]:
    url = found.broker_url
    for name in ("broker_password_file", "broker_ca"):
        if url is None and getattr(found, name) is not None:
            yield f"{name}: there is no broker_url that it would be for"
    if url is None:
        return
    if not url.startswith(("redis://", "rediss://", "redis+socket://")):
        yield "broker_url: it begins with redis://, rediss:// or redis+socket://"
    if found.broker_ca is not None and not url.startswith("rediss://"):
        yield "broker_ca: the broker's URL is not encrypted: write it as rediss://"
    if found.broker_password_file is not None and wire.has_password(url):
        yield "broker_password_file: broker_url holds a password too"


def _artifacts(found: Settings) -> Iterator[str]:
    for name in S3:
        if found.artifacts_url is None and getattr(found, name) is not None:
            yield f"{name}: there is no artifacts_url that it would be for"
    if found.artifacts_url is not None and not found.artifacts_url.startswith("s3://"):
        yield "artifacts_url: it begins with s3://; without it a directory is used"
    if (found.s3_access_key_file is None) != (found.s3_secret_key_file is None):
        yield "s3_access_key_file: it and s3_secret_key_file go together"


def _mail(found: Settings) -> Iterator[str]:
    password = found.smtp_password_file or found.smtp_password
    if found.smtp_user and not password:
        yield "smtp_user: there is no password for it: name smtp_password_file"
    if password and not found.smtp_user:
        yield "smtp_password: there is no smtp_user that it would be for"
    if found.sending != "dry-run" and not found.smtp_host:
        yield f"sending: {found.sending!r} needs an smtp_host"
    imap = [one for one in found.sources if one.startswith(("imap:", "imaps:"))]
    if imap and not (found.imap_password_file or found.imap_password):
        yield "sources: there is no password for IMAP: name imap_password_file"


def _worker(found: Settings) -> Iterator[str]:
    for name in sorted(set(found.queues) - QUEUES):
        yield f"queues: there is no queue {name}: take some of {', '.join(sorted(QUEUES))}"
    if found.worker_name is not None and len(found.worker_name.split()) != 1:
        yield "worker_name: it must be one word"
    if found.lost_seconds < 2 * wire.BEAT.total_seconds():
        yield f"lost_seconds: a job gives a sign every {wire.BEAT.seconds} s: take twice that"


def _store(found: Settings) -> Iterator[str]:
    if found.store_password_file is not None and found.store_url is None:
        yield "store_password_file: there is no store_url that it would be for"
