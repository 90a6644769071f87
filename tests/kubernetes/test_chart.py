"""The Helm chart: what it renders, what it refuses, and that it matches the files of deploy/."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ikd_portal import __version__
from tests.kubernetes.rendering import (
    CUSTOM,
    EVERYTHING,
    LEAST,
    POSTGRESQL,
    SECRETS,
    Manifest,
    found,
    render,
)
from tests.proxies.proxy import DEPLOY
from tools import chart
from tools.manifests import CHART, FOLDER, HEADS, HELM, VALUES, manifest


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return render(EVERYTHING, tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return render({}, tmp_path_factory.mktemp("chart"))


def shipped(file: str) -> list[Manifest]:
    return [each for each in yaml.safe_load_all((DEPLOY / file).read_text()) if each]


def pod(objects: list[Manifest]) -> Any:
    return found(objects, "Deployment")["spec"]["template"]["spec"]


# ---- the chart as a whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["least", "everything"])
def test_helm_finds_no_fault(values: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(LEAST | values))

    command = [HELM, "lint", "--strict", "--quiet", chart.pack(tmp_path, 0), "-f", file]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("values", ["least", "everything"])
def test_kubernetes_knows_every_field(values: str, version: str, request: pytest.FixtureRequest) -> None:
    for each in request.getfixturevalue(values):
        if not each["apiVersion"].startswith(CUSTOM):
            kubernetes_validate.validate(each, version, strict=True)


def test_the_charts_version_is_the_portals() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (described["version"], described["appVersion"]) == (__version__, __version__)


def test_two_archives_of_the_same_files_are_equal(tmp_path: Path) -> None:
    first = chart.pack(tmp_path, 1_700_000_000).read_bytes()

    assert chart.pack(tmp_path, 1_700_000_000).read_bytes() == first


@pytest.mark.parametrize("name", HEADS)
def test_the_plain_manifests_are_those_of_the_chart(name: str) -> None:
    assert (FOLDER / f"{name}.yaml").read_text() == manifest(name), "make manifests"


def test_the_schema_knows_exactly_the_documented_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    documented = yaml.safe_load((CHART / "values.yaml").read_text())

    assert paths_of_schema(schema) - {"global"} == paths_of_values(documented, schema)


def paths_of_schema(schema: Any, before: str = "") -> set[str]:
    """Return the names of all values that the schema lists by name."""
    if "properties" not in schema:
        return {before.rstrip(".")}
    return {
        path
        for name, each in schema["properties"].items()
        for path in paths_of_schema(each, f"{before}{name}.")
    }


def paths_of_values(values: Any, schema: Any, before: str = "") -> set[str]:
    if "properties" not in schema:
        return {before.rstrip(".")}
    return {
        path
        for name, each in values.items()
        for path in paths_of_values(each, schema["properties"][name], f"{before}{name}.")
    }


# ---- what it refuses --------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no url": ({"url": ""}, "url: set the portal's origin"),
    "url with a path": ({"url": "https://sso.example.com/x"}, "url"),
    "no image": ({"image": {"repository": ""}}, "image.repository: set your image"),
    "no proxies": ({"trustedProxies": []}, "trustedProxies: list the addresses"),
    "a name as a proxy": ({"trustedProxies": ["traefik"]}, "trustedProxies"),
    "two pods with SQLite": ({"replicas": 2}, "several pods need PostgreSQL"),
    "autoscaling with SQLite": ({"autoscaling": {"enabled": True}}, "several pods need PostgreSQL"),
    "another database": ({"database": "mysql"}, "database"),
    "PostgreSQL without its URL": (
        {"database": "postgresql", "secret": {"values": {**SECRETS, "DATABASE_URL": ""}}},
        "secret.values.DATABASE_URL: required with PostgreSQL",
    ),
    "PostgreSQL without keys": (
        {"database": "postgresql", "secret": {"values": {"DATABASE_URL": "postgres://db/ikd"}}},
        "secret.values.IKD_SECRET_KEY: required with PostgreSQL",
    ),
    "two Secrets": (
        {"secret": {"existing": "a", "values": {"A": "b"}}},
        "secret: set either existing or values",
    ),
    "a secret in plain sight": ({"env": {"IKD_SECRET_KEY": "x"}}, "IKD_SECRET_KEY"),
    "a variable that the chart sets": ({"env": {"IKD_PORTAL_URL": "x"}}, "IKD_PORTAL_URL"),
    "a number as a variable": ({"env": {"IKD_WORKERS": 4}}, "env"),
    "metrics without a token": ({"serviceMonitor": {"enabled": True}}, "the Secret needs IKD_METRICS_TOKEN"),
    "a policy for nobody": ({"networkPolicy": {"from": []}}, "networkPolicy.from: list the proxy's pods"),
    "a route without a Gateway": (
        {"gatewayApi": {"enabled": True}},
        "gatewayApi.parentRefs: name the Gateway",
    ),
    "a misspelled value": ({"replica": 1}, "replica"),
    "a misspelled value of a part": ({"volume": {"class": "x"}}, "volume"),
}


@pytest.mark.parametrize(("values", "words"), WRONG.values(), ids=WRONG)
def test_the_chart_refuses_wrong_values(values: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render(values, tmp_path)

    assert words in refused.value.stderr


# ---- pods -------------------------------------------------------------------------------------------------


def test_one_pod_has_a_volume_and_stops_before_the_next_starts(least: list[Manifest]) -> None:
    spec = found(least, "Deployment")["spec"]

    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert pod(least)["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "portal"}}]
    assert found(least, "PersistentVolumeClaim")
    assert {each["kind"] for each in least}.isdisjoint({"Secret", "PodDisruptionBudget"})


def test_several_pods_have_no_volume_and_cannot_start_without_the_shared_keys(tmp_path: Path) -> None:
    objects = render({"database": "postgresql", "secret": {"existing": "mine"}, "replicas": 3}, tmp_path)
    needed = [each for each in pod(objects)["containers"][0]["env"] if "valueFrom" in each]

    assert found(objects, "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert found(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert pod(objects)["volumes"] == [{"name": "data", "emptyDir": {}}]
    assert {each["name"] for each in needed} == set(SECRETS)
    assert all(each["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": each["name"]} for each in needed)
    assert "Secret" not in {each["kind"] for each in objects}


def test_with_an_autoscaler_the_chart_sets_no_number_of_pods(everything: list[Manifest]) -> None:
    assert "replicas" not in found(everything, "Deployment")["spec"]
    assert found(everything, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "portal"


@pytest.mark.parametrize("values", ["least", "everything"])
def test_pods_are_restricted(values: str, request: pytest.FixtureRequest) -> None:
    spec = pod(request.getfixturevalue(values))
    [container] = spec["containers"]

    assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_openshift_can_choose_the_user(tmp_path: Path) -> None:
    chosen = render(
        {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}, tmp_path
    )

    assert set(pod(chosen)["securityContext"]) == {"runAsNonRoot", "fsGroupChangePolicy", "seccompProfile"}


def test_a_changed_secret_restarts_the_pods(everything: list[Manifest], tmp_path: Path) -> None:
    def checksum(objects: list[Manifest]) -> str:
        annotations = found(objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/secret"])

    assert checksum(everything) != checksum(render(POSTGRESQL, tmp_path))


def test_no_secret_is_written_in_a_pod(everything: list[Manifest]) -> None:
    for each in everything:
        if each["kind"] != "Secret":
            assert all(value not in json.dumps(each) for value in SECRETS.values())


def test_services_and_policies_select_the_pods(everything: list[Manifest]) -> None:
    labels = found(everything, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    policy = found(everything, "NetworkPolicy")["spec"]
    budget = found(everything, "PodDisruptionBudget")["spec"]
    monitored = found(everything, "ServiceMonitor")["spec"]["selector"]["matchLabels"]

    assert found(everything, "Service")["spec"]["selector"].items() <= labels
    assert policy["podSelector"]["matchLabels"].items() <= labels
    assert budget["selector"]["matchLabels"].items() <= labels
    assert monitored == found(everything, "Service")["metadata"]["labels"]


def test_only_the_proxy_and_prometheus_reach_the_pods(everything: list[Manifest]) -> None:
    policy = found(everything, "NetworkPolicy")["spec"]
    [rule] = policy["ingress"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [each["namespaceSelector"]["matchLabels"] for each in rule["from"]] == [
        {"kubernetes.io/metadata.name": "kube-system"},
        {"kubernetes.io/metadata.name": "monitoring"},
    ]


# ---- consistency with other files -------------------------------------------------------------------------


def without_labels(each: Manifest) -> Manifest:
    metadata = {name: value for name, value in each["metadata"].items() if name != "labels"}
    return each | {"metadata": metadata}


def test_the_objects_for_traefik_are_those_of_the_shipped_file(everything: list[Manifest]) -> None:
    made = [without_labels(each) for each in everything if each["apiVersion"].startswith("traefik.io/")]
    written = [each for each in shipped("kubernetes/traefik.yaml") if each["metadata"]["name"] != "app"]

    assert len(written) == 5
    assert [each for each in written if each not in made] == []
    assert {each["metadata"]["name"] for each in made if each not in written} == {"ikd-api", "ikd-check-api"}


def test_the_check_of_an_api_differs_only_in_its_url(everything: list[Manifest]) -> None:
    api = found(everything, "Middleware", "ikd-check-api")["spec"]["forwardAuth"]
    page = found(everything, "Middleware", "ikd-check")["spec"]["forwardAuth"]

    assert api == page | {"address": page["address"].replace("/authgate/traefik", "/authgate/nginx")}
    assert found(everything, "Middleware", "ikd-api")["spec"]["chain"]["middlewares"] == [
        {"name": "ikd-clean"},
        {"name": "ikd-check-api"},
    ]


def test_the_objects_for_ingress_nginx_are_those_of_the_shipped_file(everything: list[Manifest]) -> None:
    names = {"portal", "portal-hidden", "clear-headers", "ikd-portal", "ikd-ask"}
    kinds = {"Ingress", "ConfigMap", "Service"}
    made = [without_labels(each) for each in everything if each["kind"] in kinds]
    written = [each for each in shipped("ingress-nginx/complete.yaml") if each["metadata"]["name"] in names]

    assert len(written) == len(names)
    assert [lowered(each) for each in written if lowered(each) not in [*map(lowered, made)]] == []


def lowered(each: Manifest) -> Manifest:
    """Return an object with header names in lower case."""
    return each if "data" not in each else each | {"data": {name.lower(): "" for name in each["data"]}}


def test_the_objects_for_the_gateway_api_are_those_of_the_shipped_file(everything: list[Manifest]) -> None:
    route, grant = found(everything, "HTTPRoute"), found(everything, "ReferenceGrant", "from-apps")
    written = shipped("kubernetes/gateway-api.yaml")

    assert route["spec"] == found(written, "HTTPRoute", "ikd-portal")["spec"]
    assert grant == found(written, "ReferenceGrant", "from-apps")


@pytest.mark.parametrize("name", HEADS)
def test_the_values_of_the_manifests_are_an_example_for_helm(name: str, tmp_path: Path) -> None:
    assert render(yaml.safe_load((VALUES / f"{name}.yaml").read_text()), tmp_path)
