"""What `check` and `policy test` write for CI systems, read by others' parsers."""

import json
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from orders import EXAMPLE
from sidecar import PATIENCE

BROKEN = """\
apiVersion: avrogate.dev/v1alpha1
kind: PolicyTest
cases:
  - name: health & <all> that\tis "quoted"
    request: {method: GET, path: /healthz}
    expect: {decision: Pass}
  - name: denied
    request: {method: GET, path: /healthz}
    expect: {decision: Refuse, reason: identity_missing}
"""


@pytest.fixture
def report(binary, tmp_path):
    """Two cases, of which the first comes out otherwise, in a format."""
    (tmp_path / "cases.yaml").write_text(BROKEN)

    def report(format):
        command = [binary, "policy", "test", "cases.yaml", "--format", format, "--config", EXAMPLE / "avrogate.yaml"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
        assert (ran.returncode, ran.stderr) == (100, "")
        return ran.stdout

    return report


def test_junit_is_well_formed(report):
    suites = ElementTree.fromstring(report("junit"))
    assert (suites.tag, suites.get("tests"), suites.get("failures")) == ("testsuites", "2", "1")
    failed, passed = suites.findall("./testsuite[@name='cases.yaml']/testcase")
    assert failed.get("name") == 'health & <all> that\tis "quoted"' and passed.get("name") == "denied"
    failure = failed.find("failure")
    assert failure.get("type") == "case-failed" and failure.text.startswith("cases.yaml:6:")
    assert passed.find("failure") is None


def test_gitlab_has_what_it_wants(report):
    (entry,) = json.loads(report("gitlab-code-quality"))
    assert entry["location"] == {"path": "cases.yaml", "lines": {"begin": 6}}
    assert entry["severity"] == "major" and len(entry["fingerprint"]) == 32 and entry["description"]


def test_sarif_has_what_it_wants(report):
    log = json.loads(report("sarif"))
    (run,) = log["runs"]
    (result,) = run["results"]
    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "avrogate")
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "case-failed"
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "cases.yaml" and location["region"]["startLine"] == 6


def test_github_annotates_a_line(report):
    assert report("github-actions").startswith("::error file=cases.yaml,line=6,col=")
