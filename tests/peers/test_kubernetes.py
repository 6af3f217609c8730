"""deploy/kubernetes.yaml holds what deploy/example holds, and a sidecar runs on it as Kubernetes mounts it."""

import os

import pytest
import yaml

import orders
from orders import EXAMPLE
from sidecar import Sidecar, eventually

ORDER = orders.confluent(17, orders.order())


@pytest.fixture(scope="module")
def manifests():
    """Every document, by kind and name."""
    text = (EXAMPLE.parent / "kubernetes.yaml").read_text()
    return {(document["kind"], document["metadata"]["name"]): document for document in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def pod(manifests):
    return manifests["Deployment", "orders"]["spec"]["template"]["spec"]


def test_policy_and_schemas_are_those_of_the_example(manifests):
    policy = {path.name: path.read_text() for path in (EXAMPLE / "policy.d").iterdir()}
    assert manifests["ConfigMap", "avrogate-policy"]["data"] == policy
    schemas = {path.name: path.read_text() for path in (EXAMPLE / "schemas").glob("*.yaml")}
    schemas |= {f"{path.parent.name}.{path.name}": path.read_text() for path in (EXAMPLE / "schemas").glob("*/*.avsc")}
    assert manifests["ConfigMap", "avrogate-schemas"]["data"] == schemas


def test_what_is_named_is_there(manifests, pod):
    config = yaml.safe_load(manifests["ConfigMap", "avrogate"]["data"]["avrogate.yaml"])
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in sidecar["volumeMounts"]}
    assert mounts[config["policy"]]["configMap"]["name"] == "avrogate-policy"
    assert mounts[config["schemas"]["directory"]]["configMap"]["name"] == "avrogate-schemas"
    assert mounts[os.path.dirname(sidecar["args"][2])]["configMap"]["name"] == "avrogate"
    tls = mounts[os.path.dirname(config["identity"]["key"])]["projected"]["sources"]
    files = {item["path"] for source in tls for item in next(iter(source.values()))["items"]}
    named = [config["identity"]["certificate"], config["identity"]["key"], *config["identity"]["trustBundles"].values()]
    assert files == {os.path.basename(path) for path in named}

    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    assert config["inbound"]["listen"].endswith(f":{ports['mesh']}")
    assert config["admin"]["listen"].endswith(f":{ports['mesh-admin']}")
    assert config["service"]["address"].startswith("127.0.0.1:")
    assert pod["containers"][0]["env"] == [{"name": "LISTEN", "value": config["service"]["address"]}]
    grace = int(config["shutdownGracePeriod"].removesuffix("s"))
    assert pod["terminationGracePeriodSeconds"] > grace
    open_ports = {
        port["port"] for rule in manifests["NetworkPolicy", "orders"]["spec"]["ingress"] for port in rule["ports"]
    }
    assert open_ports == set(ports.values())
    security = sidecar["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], pod["securityContext"]["fsGroup"]) == (6102, 6102, 6102)


def mount(directory, data):
    """Writes a ConfigMap as the kubelet does: links to `..data`, and `..data` a link that is swapped as a whole."""
    generation = f"..{len(list(directory.iterdir())) if directory.exists() else 0}"
    (directory / generation).mkdir(parents=True)
    for name, text in data.items():
        (directory / generation / name).write_text(text)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data_tmp").symlink_to(generation)
    (directory / "..data_tmp").rename(directory / "..data")


def test_a_sidecar_runs_on_it_and_takes_a_change(binary, certificates, manifests, stage_service, caller, tmp_path):
    etc = tmp_path / "etc"
    policy = manifests["ConfigMap", "avrogate-policy"]["data"]
    mount(etc / "policy", policy)
    mount(etc / "schemas", manifests["ConfigMap", "avrogate-schemas"]["data"])
    secret = {file: certificates / f"shop-orders.{file.split('.')[1]}" for file in ("tls.crt", "tls.key")}
    secret["ca.crt"] = certificates / "ca.crt"
    mount(etc / "tls", {name: path.read_text() for name, path in secret.items()})
    config = manifests["ConfigMap", "avrogate"]["data"]["avrogate.yaml"]
    for written, here in [
        ("/etc/avrogate", str(etc)),
        ("0.0.0.0:6143", "127.0.0.1:0"),
        ("0.0.0.0:6191", "127.0.0.1:0"),
        ("127.0.0.1:8080", f"127.0.0.1:{stage_service.port}"),
    ]:
        assert written in config
        config = config.replace(written, here)
    mount(etc / "config", {"avrogate.yaml": config})

    sidecar = Sidecar(binary, etc / "config" / "avrogate.yaml")
    try:
        post = lambda: caller(sidecar=sidecar).post("/v1/orders", content=ORDER).status_code  # noqa: E731
        assert post() == 201
        mount(etc / "policy", {name: text.replace('sa/checkout"]', 'sa/nobody"]') for name, text in policy.items()})
        eventually(403, post)
        assert "avrogate_snapshot_generation 2" in sidecar.page("/metrics")[1]
        mount(etc / "policy", policy)
        eventually(201, post)
        # One that cannot be read changes nothing, and says so.
        mount(etc / "policy", {name: text + "routes: [" for name, text in policy.items()})
        eventually(True, lambda: "avrogate_last_reload_successful 0" in sidecar.page("/metrics")[1])
        assert post() == 201
    finally:
        assert sidecar.stop() == 0
