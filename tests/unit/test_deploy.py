"""deploy/ says the same as the code: settings, verbs, metrics, system calls, times."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot import crosscheck
from bot.cli import VERBS
from bot.settings import Settings, load
from bot.store.database import sqlite
from bot.web import metrics
from workers.seccomp import DENIED

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
EXAMPLES = sorted([*DEPLOY.glob("settings/**/*.toml"), *DEPLOY.glob("kubernetes/*.toml")])
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
MANIFESTS = sorted(DEPLOY.glob("kubernetes/*.yaml"))
METRIC = re.compile(r"\bstackhog_[a-z_]+")
MATCHER = re.compile(r"(stackhog_[a-z_]+)\{([^}]*)\}")
# what a sandbox is made with, and a worker's own connections
NEEDED = {
    "accept", "accept4", "bind", "chroot", "connect", "listen", "mbind", "mknod", "mknodat",
    "mount", "pivot_root", "set_mempolicy", "sethostname", "socket", "socketpair", "umount2",
    "unshare",
}  # fmt: skip
DRAIN = 4500  # seconds


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def manifests(kind: str) -> list[dict[str, Any]]:
    return [one for path in MANIFESTS for one in documents(path) if one["kind"] == kind]


def pods() -> dict[str, dict[str, Any]]:
    """Return the pod of each Deployment and StatefulSet by its name."""
    found = [*manifests("Deployment"), *manifests("StatefulSet")]
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found}


def unit(name: str) -> str:
    return (DEPLOY / "systemd" / f"stackhog-{name}.service").read_text()


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Yield all PromQL with where it stands."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    for group in rules["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    dashboard = json.loads((DEPLOY / "grafana" / "stackhog.json").read_text())
    for panel in dashboard["panels"]:
        yield from ((panel["title"], one["expr"]) for one in panel.get("targets", []))
    for scaled in manifests("ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            yield scaled["metadata"]["name"], trigger["metadata"]["query"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every metric that the page has, as Prometheus stores it, with its labels."""
    store = sqlite(tmp_path_factory.mktemp("store") / "store.db")
    found: dict[str, set[str]] = {}
    for metric in metrics.Collector(store, lambda: datetime.now(UTC)).collect():
        labels = set(metric._labelnames)  # type: ignore[attr-defined] # kept by every family
        names = {
            "counter": [f"{metric.name}_total"],
            "histogram": [f"{metric.name}_{end}" for end in ("bucket", "sum", "count")],
        }.get(metric.type, [metric.name])
        found |= {name: labels | {"le"} if "_bucket" in name else labels for name in names}
    store.close()
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_example_settings_are_settings(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKHOG_CONFIG", str(path))
    found = load()
    assert set(tomllib.loads(path.read_text())) <= set(Settings.model_fields)
    # the files are on other machines than this one
    wrong = [one for one in crosscheck.problems(found) if "cannot be read" not in one]
    assert wrong == []
    assert found.sending == "dry-run"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_no_secret_is_in_an_example(path: Path) -> None:
    for name, value in tomllib.loads(path.read_text()).items():
        assert "password" not in name or name.endswith("_file"), name
        assert not re.search(r"//[^/@]*:[^/@]*@", str(value)), name


def test_there_are_as_many_examples_as_there_are_ways_to_run_it() -> None:
    assert len(EXAMPLES) == 8
    assert len(UNITS) == 4


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_verb(path: Path) -> None:
    verb = re.search(r"(?m)^ExecStart=/opt/stackhog/venv/bin/stackhog (\w+)$", path.read_text())
    assert verb is not None
    assert verb[1] in VERBS


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_settings_name_only_credentials_that_the_unit_loads(path: Path) -> None:
    loaded = set(re.findall(r"(?m)^LoadCredential=(\S+)$", path.read_text()))
    for example in DEPLOY.glob("settings/**/*.toml"):
        named = re.findall(rf"/run/credentials/{path.name}/([\w-]+)", example.read_text())
        assert set(named) <= loaded, example
    assert set(re.findall(r"%d/([\w-]+)", path.read_text())) <= loaded


@pytest.mark.parametrize("service", sorted(compose()["services"]))
def test_a_container_starts_a_verb(service: str) -> None:
    found = compose()["services"][service]
    if "stackhog" in found["image"]:
        assert found["command"][0] in VERBS
    assert found["cap_drop"] == ["ALL"]
    assert found["read_only"] is True
    assert "no-new-privileges:true" in found["security_opt"]


def test_everything_waits_until_a_worker_has_drained() -> None:
    assert Settings().build_seconds < DRAIN  # type: ignore[call-arg] # pydantic-settings fills it
    for name in ("serve", "worker"):
        assert "\nTimeoutStopSec=75min\n" in unit(name)
        assert "\nKillMode=mixed\nKillSignal=SIGTERM\n" in unit(name)
    assert compose()["services"]["worker"]["stop_grace_period"] == "75m"
    for name in ("worker", "kvm-worker"):
        assert pods()[name]["terminationGracePeriodSeconds"] == DRAIN


def test_a_worker_is_denied_what_no_sandbox_needs() -> None:
    profile = json.loads((DEPLOY / "containers" / "worker-seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    denied = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert all(rule["action"] == "SCMP_ACT_ERRNO" for rule in profile["syscalls"])
    assert denied == set(DENIED) - NEEDED


def test_containers_get_the_debian_packages_that_are_not_for_tests() -> None:
    lines = (ROOT / "requirements" / "apt.txt").read_text().splitlines()
    assert all(re.fullmatch(r"# .*|[a-z0-9+.-]+ +# \S.*", line) for line in lines)
    text = (DEPLOY / "containers" / "Containerfile.worker").read_text()
    assert r"sed -e '/# tests:/d' -e 's/#.*//' /opt/stackhog/apt.txt" in text


@pytest.mark.parametrize("name", ["bot", "worker"])
def test_images_run_as_a_user(name: str) -> None:
    text = (DEPLOY / "containers" / f"Containerfile.{name}").read_text()
    assert re.findall(r"(?m)^USER (.+)$", text)[-1] == "10001:10001"
    assert text.count("--require-hashes") == 2
    assert "--privileged" not in text.replace("no --privileged", "")


def test_every_file_for_kubernetes_is_applied() -> None:
    (found,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    named = {one for one in found["resources"] if one.endswith(".yaml")}
    written = {path.name for path in MANIFESTS} - {"kustomization.yaml", "autoscaling-hpa.yaml"}
    assert named == written
    generated = {one for each in found["configMapGenerator"] for one in each["files"]}
    assert {one.partition("=")[2] for one in generated} == {
        path.name for path in (DEPLOY / "kubernetes").glob("*.toml")
    }


def test_no_secret_is_in_a_manifest() -> None:
    assert manifests("Secret") == []


@pytest.mark.parametrize("name", sorted(pods()))
def test_a_pod_may_do_little(name: str) -> None:
    pod = pods()[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for one in pod["containers"]:
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert set(one["resources"]) == {"requests", "limits"}
        assert "startupProbe" in one


def test_only_the_bot_and_workers_reach_the_broker() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in manifests("NetworkPolicy")}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (let_in,) = policies["broker"]["ingress"]
    who = [one["podSelector"]["matchLabels"] for one in let_in["from"]]
    assert who == [{"app": "bot"}, {"role": "worker"}, {"app": "broker"}]
    ports = [port["port"] for rule in policies["worker"]["egress"] for port in rule["ports"]]
    assert ports == [6379, 443]
    assert all(
        one["spec"]["podSelector"] != {}
        for one in manifests("NetworkPolicy")
        if one["metadata"]["name"] not in {"nothing", "names"}
    )


def test_one_bot_at_a_time() -> None:
    (bot,) = [one for one in manifests("Deployment") if one["metadata"]["name"] == "bot"]
    assert bot["spec"]["replicas"] == 1
    assert bot["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_promql_names_metrics_and_labels_that_are_exported(
    where: str, expression: str, exported: dict[str, set[str]]
) -> None:
    named = set(METRIC.findall(expression))
    assert named, where
    assert named <= set(exported), where
    for name, matchers in MATCHER.findall(expression):
        assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= exported[name], where
    for label in re.findall(r"by \(([^)]*)\)", expression):
        known = set().union(*(exported[name] for name in named))
        assert set(label.replace(" ", "").split(",")) <= known, where


def test_the_dashboard_shows_what_there_is(exported: dict[str, set[str]]) -> None:
    shown = {name for _, one in expressions() for name in METRIC.findall(one)}
    ends = ("_sum", "_count")
    wanted = {name for name in exported if not name.endswith(ends)}
    assert wanted - shown <= {"stackhog_boots_total"}


def test_every_alert_is_tested_silent_and_firing() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text())["tests"]
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    for name in names:
        (one,) = [test["alert_rule_test"] for test in tests if test["name"] == name]
        assert [len(each.get("exp_alerts", [])) for each in one] == [0, 1]


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.*")), ids=lambda path: path.name)
def test_every_file_is_described(path: Path) -> None:
    if path.is_file() and "__pycache__" not in path.parts:
        text = (ROOT / "docs" / "deploy.md").read_text()
        assert f"`{path.name}`" in text or f"/{path.name}`" in text
