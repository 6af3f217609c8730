"""The stage of the tests: certificates by `avrogate certs dev`, the service, the sidecar before it, callers."""

import os
import ssl
import subprocess

import httpx
import pytest

pytest.register_assert_rewrite("sidecar", "orders")

import orders
from service import Service
from sidecar import PATIENCE, Sidecar

WORKLOADS = ["shop/orders", "shop/checkout", "shop/payments", "shop/marketing", "sandbox/checkout"]


@pytest.fixture(scope="session")
def binary():
    return os.environ["AVROGATE_BIN"]


@pytest.fixture(scope="session")
def certificates(binary, tmp_path_factory):
    """A directory of certificates that the sidecar trusts."""
    return issue(binary, tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def strangers(binary, tmp_path_factory):
    """The same workloads, of a trust domain that the sidecar does not know."""
    return issue(binary, tmp_path_factory.mktemp("strangers"), "--trust-domain", "elsewhere.example")


@pytest.fixture(scope="session")
def impostors(binary, tmp_path_factory):
    """The same workloads, and an authority that has the name of the trusted one and another key."""
    return issue(binary, tmp_path_factory.mktemp("impostors"))


def issue(binary, directory, *options):
    named = [word for workload in WORKLOADS for word in ("--workload", workload)]
    subprocess.run([binary, "certs", "dev", "--directory", directory, *options, *named], check=True, timeout=PATIENCE)
    return directory


@pytest.fixture(scope="session")
def stage_service():
    service = Service()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def sidecar(binary, certificates, stage_service, tmp_path_factory):
    """The sidecar of all tests. It has to end well, having told no value of any payload."""
    sidecar = Sidecar.before(stage_service.port, binary, certificates, tmp_path_factory.mktemp("sidecar"))
    yield sidecar
    assert sidecar.stop() == 0
    for told in (sidecar.decisions.ended(), sidecar.log.ended()):
        assert orders.MARK not in told
        assert "panicked" not in told


@pytest.fixture
def service(sidecar, stage_service):
    """The service, which has seen nothing yet in this test."""
    stage_service.seen()
    return stage_service


@pytest.fixture(scope="session")
def caller(sidecar, certificates):
    """Makes a client of httpx with this workload's certificate; h1 or h2."""
    clients = {}
    usual = sidecar

    def make(workload="shop-checkout", protocol="h1", sidecar=usual):
        key = workload, protocol, sidecar.port
        if key not in clients:
            tls = ssl.create_default_context(cafile=certificates / "ca.crt")
            tls.minimum_version = ssl.TLSVersion.TLSv1_3
            tls.load_cert_chain(certificates / f"{workload}.crt", certificates / f"{workload}.key")
            clients[key] = httpx.Client(
                base_url=sidecar.url,
                verify=tls,
                http1=protocol == "h1",
                http2=protocol == "h2",
                trust_env=False,
                timeout=PATIENCE,
                headers={"content-type": "application/avro"},
            )
        return clients[key]

    yield make
    for client in clients.values():
        client.close()
