"""deploy/ before the judges of its formats, each as strict as it can be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda import v1alpha1

from tests.integration.conftest import ROOT

DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONTAINERS = sorted((DEPLOY / "containers").glob("Containerfile.*"))
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
INSTALLED = "/opt/stackhog/venv/bin/stackhog"
# tenths: most that `systemd-analyze security` may find; serve and worker make namespaces
EXPOSURE = {"serve": 35, "watch": 12, "web": 12, "worker": 35}


def judged(*words: str | Path) -> str:
    """Return what a tool says that has to be content."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents(path: Path) -> list[dict[str, object]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def test_prometheus_takes_the_alerts_and_they_fire_as_they_should() -> None:
    rules = DEPLOY / "prometheus" / "alerts.yml"
    number = sum(len(group["rules"]) for group in yaml.safe_load(rules.read_text())["groups"])
    assert f"SUCCESS: {number} rules found" in judged("promtool", "check", "rules", rules)
    judged("promtool", "test", "rules", DEPLOY / "prometheus" / "alerts_test.yml")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_takes_a_unit(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace(INSTALLED, str(BIN / "stackhog")))
    assert judged("systemd-analyze", "verify", "--man=no", copy).strip() == ""
    broken = tmp_path / "broken.service"
    broken.write_text(copy.read_text().replace("[Service]\n", "[Service]\nProtectHoem=yes\n"))
    with pytest.raises(AssertionError, match="ProtectHoem"):
        assert judged("systemd-analyze", "verify", "--man=no", broken).strip() == ""


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_may_do_no_more_than_it_has_to(path: Path) -> None:
    most = EXPOSURE[path.stem.removeprefix("stackhog-")]
    judged("systemd-analyze", "security", "--offline=yes", f"--threshold={most}", path)


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_hadolint_takes_a_container_file(path: Path) -> None:
    judged(BIN / "hadolint", "--failure-threshold", "style", path)


def test_compose_takes_its_file() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    judged(BIN / "check-jsonschema", *schema, DEPLOY / "compose.yaml")


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_kubernetes_takes_a_manifest(path: Path) -> None:
    for one in documents(path):
        if str(one["apiVersion"]).startswith("kustomize"):
            named_is_there(one, path.parent)
        elif one["apiVersion"] == "keda.sh/v1alpha1":
            read = getattr(v1alpha1, str(one["kind"])).model_validate(one)
            said = read.model_dump(by_alias=True, exclude_unset=True, mode="json")
            assert said["spec"] == one["spec"]  # nothing was passed over as unknown
        else:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def named_is_there(one: dict[str, object], home: Path) -> None:
    """Every resource and file that is named has to be there; its own judge needs Go."""
    generators = one["configMapGenerator"]
    resources = one["resources"]
    assert isinstance(generators, Sequence)
    assert isinstance(resources, Sequence)
    files = [name.partition("=")[2] for made in generators for name in made["files"]]
    assert files
    assert [name for name in (*resources, *files) if not (home / name).exists()] == []


def test_the_judges_of_manifests_refuse_what_they_do_not_know() -> None:
    (scaled, *_) = documents(DEPLOY / "kubernetes" / "autoscaling-keda.yaml")
    spec = scaled["spec"]
    assert isinstance(spec, dict)
    read = v1alpha1.ScaledObject.model_validate(scaled | {"spec": spec | {"coolDownPeriod": 9}})
    assert "coolDownPeriod" not in read.model_dump(by_alias=True, exclude_unset=True)["spec"]
    (worker, *_) = documents(DEPLOY / "kubernetes" / "worker.yaml")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            worker | {"spec": {"replica": 1}}, kubernetes_validate.latest_version(), strict=True
        )


def test_every_tool_is_there() -> None:
    tools = ("promtool", "systemd-analyze", str(BIN / "hadolint"), str(BIN / "check-jsonschema"))
    assert [name for name in tools if shutil.which(name) is None] == []
