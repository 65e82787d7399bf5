"""Artifacts on an S3 server, for workers on several machines; obstore speaks to it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bot.contract import OursError

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

SECONDS = timedelta(minutes=2)  # of one transfer
CONNECT = timedelta(seconds=10)
RETRIES = 5
MAX_BYTES = 1 << 30  # of one artifact, all of which is held in memory


class RemoteError(OursError):
    """The server does not take or give an artifact; says why."""


class NotThereError(Exception):
    """The server has nothing under this name."""


@dataclass(frozen=True)
class Remote:
    """A bucket, or a part of it."""

    url: str  # s3://BUCKET/PREFIX
    endpoint: str | None = None  # URL; None: Amazon's
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)

    def put(self, name: str, content: bytes) -> None:
        """Store bytes under a name; what is there already stays if it is as long.

        Raises RemoteError.
        """
        import obstore  # noqa: PLC0415 - where there is a server

        with _told(self.url, name):
            store = _store(self)
            with suppress(FileNotFoundError):
                if obstore.head(store, name)["size"] == len(content):
                    return
            obstore.put(store, name, content)

    def get(self, name: str) -> bytes:
        """Return the bytes under a name. Raises NotThereError, RemoteError."""
        import obstore  # noqa: PLC0415 - as above

        with _told(self.url, name):
            try:
                found = obstore.get(_store(self), name)
            except FileNotFoundError as error:
                raise NotThereError(name) from error
            if found.meta["size"] > MAX_BYTES:
                raise RemoteError(
                    f"artifact {name} at {self.url} has {found.meta['size']} bytes, which no "
                    "artifact of ours has: delete it there"
                )
            return bytes(found.bytes())

    def delete(self, name: str) -> None:
        """Take away what is under a name. Raises RemoteError."""
        import obstore  # noqa: PLC0415 - as above

        with _told(self.url, name), suppress(FileNotFoundError):
            obstore.delete(_store(self), name)


class _told:  # noqa: N801 - reads as a function
    """Turn what obstore raises into one sentence."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - as above

        if isinstance(error, BaseError | OSError) and not isinstance(error, FileNotFoundError):
            said = " ".join(str(error).split())[:200]
            raise RemoteError(
                f"artifact {self._name} at {self._url}: {said}: look whether the server answers, "
                "and at artifacts_url and s3_*"
            ) from error


@lru_cache(maxsize=4)
def _store(remote: Remote) -> S3Store:
    """Return obstore's end of a bucket; one for each process, its connections are kept."""
    from obstore.store import S3Store  # noqa: PLC0415 - as above

    parts = urlsplit(remote.url)
    if parts.scheme != "s3" or not parts.netloc:
        raise RemoteError(f"artifacts_url is {remote.url!r}: give s3://BUCKET/PREFIX")
    config: S3Config = {
        "region": remote.region, "virtual_hosted_style_request": remote.endpoint is None,
    }  # fmt: skip
    if remote.access_key and remote.secret_key:
        config["access_key_id"] = remote.access_key
        config["secret_access_key"] = remote.secret_key
    if remote.endpoint:
        config["endpoint"] = remote.endpoint
    return S3Store(
        parts.netloc, prefix=parts.path.strip("/") or None, config=config,
        client_options={
            "timeout": SECONDS, "connect_timeout": CONNECT,
            "allow_http": (remote.endpoint or "").startswith("http://"),
        },
        retry_config={"max_retries": RETRIES, "retry_timeout": SECONDS},
    )  # fmt: skip
