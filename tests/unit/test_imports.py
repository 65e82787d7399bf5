"""The import directions of docs/ARCHITECTURE.md, read off the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bot", "workers", "policies")
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))

# third-party package → the only modules that may import it
OWNERS = {
    "authlib": {"bot.web.signin"},
    "alembic": {"bot.store.*"},
    "celery": {
        "bot.review.carrier",
        "bot.review.queue",
        "workers.app",
        "workers.main",
        "workers.results",
        "workers.stop",
        "workers.tasks",
    },
    "click": {"bot.cli", "bot.verbs.*"},
    "dkim": {"bot.mail.signed"},
    "dns": {"bot.mail.dns"},
    "fastapi": {
        "bot.web.api", "bot.web.app", "bot.web.downloads", "bot.web.explorer", "bot.web.pages",
        "bot.web.server", "bot.web.signin",
    },
    "feedgen": {"bot.web.api"},
    "imapclient": {"bot.mail.imap"},
    "jinja2": {"bot.web.pages", "bot.web.templating"},
    "kconfiglib": {"workers.kconfig", "workers.kconfig_solver"},
    "kombu": {"bot.review.carrier", "bot.review.queue", "workers.app"},
    "liblore": {"bot.mail.*"},
    "limits": {"bot.web.guard"},
    "obstore": {"workers.remote"},
    "platformdirs": {"bot.settings"},
    "prometheus_client": {"bot.web.app", "bot.web.metrics"},
    "pydantic_settings": {"bot.settings"},
    "pygit2": {
        "bot.mail.archive", "bot.mail.clones", "bot.mail.inbox", "bot.review.base",
        "bot.review.blobs",
        "bot.review.gitfiles", "bot.review.history",
        "bot.review.lookup", "bot.review.prerequisites", "workers.apply", "workers.trees",
        "workers.vetting",
    },
    "pyseccomp": {"workers.seccomp"},
    "pythonjsonlogger": {"bot.contract.logs"},
    "redis": {"bot.review.carrier", "bot.review.queue", "workers.results"},
    "rich": {"bot.verbs.*"},
    "sqlalchemy": {"bot.store.*"},
    "sse_starlette": {"bot.web.app"},
    "starlette": {"bot.web.app", "bot.web.guard", "bot.web.signin"},
    "subprocess": {
        "workers.broker", "workers.debian", "workers.fleet", "workers.process", "workers.sandbox",
        "workers.stress.boot", "workers.stress.decode",
    },
    "tenacity": {"bot.store.engine", "workers.broker"},
    "uvicorn": {"bot.web.server"},
}  # fmt: skip


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def matches(module: str, patterns: set[str]) -> bool:
    return any(module == p or (p.endswith(".*") and module.startswith(p[:-1])) for p in patterns)


def allowed(importer: str, imported: str) -> bool:
    """Return whether one of our modules may import another one of ours."""
    match importer.split(".", maxsplit=1)[0], imported.split(".", maxsplit=1)[0]:
        case "policies", other:
            return other == "policies"
        case "workers", "bot":
            return imported.startswith("bot.contract")
        case "workers", "policies":
            known = ("policies.schema", "policies.stackrules", "policies.stress")
            return imported.startswith(known)
        case "bot", "workers":
            return matches(importer, {"bot.cli", "bot.verbs.*"})
        case "bot", "bot":
            return allowed_inside_bot(importer, imported)
    return True


def allowed_inside_bot(importer: str, imported: str) -> bool:
    below = {
        "bot.errors": (),
        "bot.contract": (
            "bot.contract",
            "bot.errors",
        ),  # and of policies what crosses the queue: profiles
        "bot.settings": ("bot.errors",),
        "bot.store": ("bot.errors", "bot.store"),
        "bot.web": (
            "bot.contract",
            "bot.service.acting",
            "bot.errors",
            "bot.settings",
            "bot.store",
            "bot.web",
            "bot.mail.headers",
            "bot.mail.quote",
            "bot.mail.series",
            "bot.mail.versions",
            "bot.mail.wording",
            "bot.review.chaintable",
            "bot.review.fingerprint",
            "bot.review.frozen",
            "bot.service.intake",
            "bot.service.reports",
        ),  # what makes words of results; never the queue
        "bot.service": (
            "bot.contract",
            "bot.errors",
            "bot.mail",
            "bot.review",
            "bot.service",
            "bot.settings",
            "bot.store",
        ),
        "bot.mail.outbox": ("bot.contract", "bot.errors", "bot.mail", "bot.store"),
        "bot.mail": ("bot.contract", "bot.errors", "bot.mail"),
        "bot.review": ("bot.contract", "bot.errors", "bot.mail", "bot.review", "bot.settings"),
    }
    for room, known in below.items():
        if importer == room or importer.startswith(room + "."):
            return imported.startswith(known) if known else False
    return True


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    for imported in imports(path):
        top = imported.split(".")[0]
        if top in PACKAGES:
            assert allowed(name_of(path), imported), imported
        elif top in OWNERS:
            assert matches(name_of(path), OWNERS[top]), imported


def test_the_rules_refuse_what_they_must() -> None:
    assert not allowed("policies.load", "bot.contract")
    assert not allowed("workers.build", "bot.mail.series")
    assert not allowed("workers.build", "policies.kernels")
    assert not allowed("bot.review.jobs", "workers.tasks")
    assert not allowed("bot.mail.series", "bot.review.plan")
    assert not allowed("bot.contract", "bot.settings")
    assert not allowed("bot.web.app", "bot.review.carrier")
    assert allowed("bot.verbs.review", "workers.fleet")
    assert allowed("workers.build", "bot.contract.Finding")


def test_every_owner_exists_and_uses_what_it_owns() -> None:
    names = {name_of(path): path for path in MODULES}
    for package, owners in OWNERS.items():
        users = {
            n for n, path in names.items() if package in {i.split(".")[0] for i in imports(path)}
        }
        for owner in owners:
            assert any(matches(user, {owner}) for user in users), f"{owner} does not use {package}"
