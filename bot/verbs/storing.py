"""The store that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.settings import Settings
    from bot.store.backup import Place
    from bot.store.database import Store


def opened(settings: Settings) -> Store:
    """Open the store, brought up to date. Raises StoreError, BadSettingError."""
    from bot.store.database import Store  # noqa: PLC0415 - keeps --help instant

    found = place(settings)
    return Store(found.url, found.password)


def place(settings: Settings) -> Place:
    """Return where the store is. Raises BadSettingError."""
    from bot.settings import secret  # noqa: PLC0415 - keeps --help instant
    from bot.store.backup import Place  # noqa: PLC0415 - the same

    file = settings.store_password_file
    password = secret("store_password", file, None) if file else ""
    if settings.store_url:
        return Place(settings.store_url, password)
    settings.data.mkdir(parents=True, exist_ok=True)
    return Place(f"sqlite:///{settings.data / 'store.db'}", password)
