"""What the verbs share: settings turned into what workers are handed."""

from __future__ import annotations

from bot import crosscheck
from bot.contract import wire
from bot.settings import BadSettingError, Settings, load, secret
from workers.artifacts import Artifacts
from workers.config import WorkerConfig
from workers.remote import Remote


def worker_config(settings: Settings | None = None) -> WorkerConfig:
    """Return the directories and limits of a worker on this machine."""
    found = settings or load()
    return WorkerConfig(
        found.data, found.cache, found.sandbox_uid, found.patch_bytes, remote(found),
        found.disk_budget,
    )  # fmt: skip


def remote(settings: Settings) -> Remote | None:
    """Return the bucket that artifacts are shared through; None: a directory here.

    Raises BadSettingError.
    """
    if settings.artifacts_url is None:
        return None
    keys = {}
    for name, path in (
        ("access_key", settings.s3_access_key_file), ("secret_key", settings.s3_secret_key_file),
    ):  # fmt: skip
        if path is not None:
            keys[name] = secret(f"s3_{name}", path, None)
    return Remote(settings.artifacts_url, settings.s3_endpoint, settings.s3_region, **keys)


def shelf(settings: Settings) -> Artifacts:
    """Return where artifacts are. Raises BadSettingError."""
    worker = worker_config(settings)
    return Artifacts(worker.artifacts, worker.remote)


def checked(settings: Settings) -> Settings:
    """Return settings that go together. Raises BadSettingError with all that do not."""
    wrong = crosscheck.problems(settings)
    if wrong:
        raise BadSettingError(f"settings are wrong ({'; '.join(wrong)})")
    return settings


def broker_url(settings: Settings, given: str | None = None) -> str | None:
    """Return the URL of a broker with the password of its file in it; None: an embedded one.

    ``given`` is what the command line names instead of the settings. Raises BadSettingError,
    BadBrokerError.
    """
    if given and wire.has_password(given):
        raise BadSettingError(
            "a password on the command line is seen by everybody on this machine: "
            "put it into the file of broker_password_file"
        )
    url = given or settings.broker_url
    if url is None:
        for name in ("broker_password_file", "broker_ca"):
            if getattr(settings, name) is not None:
                raise BadSettingError(
                    f"settings are wrong ({name}: there is no broker_url): name the broker that "
                    "it is for"
                )
        return None
    if settings.broker_password_file is None:
        return url
    return wire.with_password(url, secret("broker_password", settings.broker_password_file, None))
