"""The only reader of the environment and the configuration file.

Every setting can be given as ``STACKHOG_<NAME>`` or in the TOML file that
``STACKHOG_CONFIG`` names (default: ``stackhog.toml`` in the user's config
directory); the environment wins. A bad setting stops the start, with its name.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from bot.errors import TheirsError

GIB = 1 << 30


class BadSettingError(TheirsError):
    """A setting does not hold what it must; carries its name."""


def config_file() -> Path:
    """Return the configuration file's path, whether it exists or not."""
    named = os.environ.get("STACKHOG_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("stackhog"), "stackhog.toml")


class Settings(BaseSettings):
    """All settings; sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="STACKHOG_", extra="forbid", frozen=True)

    home: Path | None = Field(None, description="all state below one directory")
    broker_url: str | None = Field(None, description="redis:// URL; none: an embedded broker")
    broker_password_file: Path | None = Field(None, description="file that holds its password")
    broker_ca: Path | None = Field(None, description="authority of the broker's certificate")
    tree: str = Field("debian-6.1", description="kernel tree to review against")
    kernel_config: str = Field("default", description="a name in policies/kconfig/, or a file")
    lore_url: str = Field("https://lore.kernel.org/all", description="archive of Message-IDs")
    lore_fallbacks: tuple[str, ...] = Field((), description="hosts that serve the same archive")
    address: str = Field("stackhog <stackhog@localhost.localdomain>", description="From of replies")
    slots: int = Field(0, ge=0, le=256, description="jobs a worker runs at a time; 0: by machine")
    queues: tuple[str, ...] = Field((), description="what a worker serves; none: what it can")
    worker_name: str | None = Field(None, description="name of this worker; none: host and pid")
    disk_budget: int = Field(0, ge=0, description="bytes below cache; 0: until the disk is full")
    artifacts_url: str | None = Field(None, description="s3://BUCKET/PREFIX; none: a directory")
    s3_endpoint: str | None = Field(None, description="URL of the server; none: Amazon's")
    s3_region: str = Field("us-east-1", description="its region")
    s3_access_key_file: Path | None = Field(None, description="file that holds the key's name")
    s3_secret_key_file: Path | None = Field(None, description="file that holds the key")
    parallel: int = Field(0, ge=0, le=1024, description="make -j; 0: as many as there are cores")
    sandbox_uid: int = Field(64738, ge=1000, lt=65535, description="user id of builds, as root")
    build_seconds: int = Field(3600, ge=1, description="wall time of one make run")
    build_memory: int = Field(6 * GIB, ge=GIB // 4, description="memory of one build")
    build_processes: int = Field(512, ge=16, description="processes and threads of one build")
    build_file: int = Field(4 * GIB, ge=1 << 20, description="size of one file a build may write")
    build_disk: int = Field(12 * GIB, ge=1 << 20, description="all that one build may write")
    patch_bytes: int = Field(1 << 20, ge=1024, description="size of one patch")
    store_url: str | None = Field(None, description="SQLAlchemy URL; none: a file below data")
    store_password_file: Path | None = Field(None, description="file that holds its password")
    sending: Literal["dry-run", "moderate", "send"] = Field("dry-run", description="what leaves")
    smtp_host: str | None = Field(None, description="server that takes our mail")
    smtp_port: int | None = Field(None, ge=1, le=65535, description="none: as smtp_tls has it")
    smtp_tls: Literal["starttls", "implicit", "none"] = Field("starttls", description="how")
    smtp_user: str | None = Field(None, description="name to log in with; none: no login")
    smtp_password_file: Path | None = Field(None, description="file that holds the password")
    smtp_password: SecretStr | None = Field(None, description="the password itself")
    list_cap: int = Field(20, ge=1, description="mails to one list in 24 hours")
    person_cap: int = Field(10, ge=1, description="mails to one person in 24 hours")
    thread_limit: int = Field(5, ge=1, description="mails of ours in one thread, ever")
    sources: tuple[str, ...] = Field((), description="where mail comes from, as URLs")
    since_days: float = Field(30, gt=0, description="how far back a new archive is read")
    poll_seconds: float = Field(60, ge=0.2, description="pause between two looks for mail")
    series_minutes: float = Field(60, ge=0, description="how long parts of a series are waited for")
    imap_security: Literal["tls", "starttls", "plain"] = Field("tls", description="how")
    imap_password_file: Path | None = Field(None, description="file that holds the password")
    imap_password: SecretStr | None = Field(None, description="the password itself")
    imap_ca: Path | None = Field(None, description="certificates that are trusted besides")
    operators: tuple[str, ...] = Field((), description="addresses that may command everything")
    robots: tuple[str, ...] = Field((), description="address patterns of further robots")
    command_days: float = Field(7, gt=0, description="how old a command may be")
    dkim_keys: Path | None = Field(None, description="DKIM keys, for machines without DNS")
    in_flight: int = Field(500, ge=1, description="jobs that are given to the broker at a time")
    job_failures: int = Field(5, ge=0, description="times a broken job is tried again")
    job_losses: int = Field(5, ge=0, description="times a job that lost its worker is tried again")
    retry_seconds: float = Field(60, gt=0, description="first pause before that; then doubled")
    lost_seconds: float = Field(30, ge=1, description="without a sign a running job is lost")
    queued_seconds: float = Field(600, ge=1, description="then the broker is asked for the job")
    web_host: str = Field("127.0.0.1", description="address that the page is served on")
    web_port: int = Field(8010, ge=0, le=65535, description="its port; 0: any that is free")
    web_rate: int = Field(300, ge=1, description="requests a minute of one address")
    web_https: bool = Field(default=False, description="whether readers use HTTPS alone")
    web_tokens_file: Path | None = Field(None, description="who may sign in by token")
    web_secret: SecretStr | None = Field(None, description="what cookies are signed with")
    web_secret_file: Path | None = Field(None, description="file that holds it")
    web_oidc_issuer: str | None = Field(None, description="URL of an OpenID Connect provider")
    web_oidc_client: str = Field("stackhog", description="our name at the provider")
    web_oidc_secret: SecretStr | None = Field(None, description="our secret at the provider")
    web_oidc_secret_file: Path | None = Field(None, description="file that holds it")
    web_people: tuple[str, ...] = Field((), description="addresses the provider may vouch for")
    log_format: Literal["text", "json"] = Field("text", description="of the log, on stderr")
    embargo_hours: float = Field(0, ge=0, le=8760, description="how long replies wait")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the TOML file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    @property
    def data(self) -> Path:
        """What must be kept: trees."""
        return self.home / "data" if self.home else platformdirs.user_data_path("stackhog")

    @property
    def cache(self) -> Path:
        """What can be made again: baselines, artifacts."""
        return self.home / "cache" if self.home else platformdirs.user_cache_path("stackhog")

    @property
    def cores(self) -> int:
        """Parallel jobs of one make run."""
        return self.parallel or os.cpu_count() or 1


def load() -> Settings:
    """Read and check all settings.

    Raises BadSettingError naming each setting that is wrong.
    """
    try:
        found = Settings()  # type: ignore[call-arg] # pydantic-settings fills the fields
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettingError(
            f"settings are wrong ({config_file()} is no TOML: {error}): mend it"
        ) from error
    except SettingsError as error:  # a list is JSON in the environment
        raise BadSettingError(
            f'settings are wrong ({error}): write a list as ["one", "two"], or into {config_file()}'
        ) from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()
        )
        raise BadSettingError(
            f"settings are wrong ({wrong}): mend the STACKHOG_… variable or {config_file()}"
        ) from error
    if found.home and not found.home.is_absolute():
        return found.model_copy(update={"home": found.home.absolute()})
    return found


def secret(name: str, path: Path | None, given: SecretStr | None) -> str:
    """Return a secret out of its file, else as it was given in the environment.

    Raises BadSettingError with the setting's name, never with the secret.
    """
    try:
        found = path.read_text("utf-8").strip("\r\n") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettingError(
            f"settings are wrong ({name}_file: {path} cannot be read): let this user read it"
        ) from error
    whole = found or (given.get_secret_value() if given else "")
    if not whole:
        raise BadSettingError(
            f"settings are wrong ({name}_file: there is no password): name a file that holds it, "
            f"or set STACKHOG_{name.upper()}"
        )
    return whole
