"""What is deployed speaks of what there is: dashboard, alarms, documentation, unit, image."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ihomer.stream.cli.run import STOP_SECONDS
from ihomer.stream.exposition import Exposition
from ihomer.stream.metrics import CATALOGUE, Kind
from ihomer.stream.settings import OTHER_VARIABLES, Settings
from ihomer.stream.status import Status

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "operations" / "monitoring.md").read_text(encoding="utf-8")
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"

FUNCTIONS = {
    *("sum", "max", "by", "rate", "increase", "deriv", "changes", "histogram_quantile", "and"),
    *("avg_over_time", "offset", "on", "or", "label_values", "count"),
}
# Given by Prometheus to each series, and to each histogram's buckets.
TARGET = {"instance", "job", "le"}


def shown_by_process() -> set[str]:
    """Names that are no business of the catalogue: prometheus_client's own."""
    text = Exposition(Status()).render("")[0].decode()
    return set(re.findall(r"^(process_\w+) ", text, re.MULTILINE))


def series() -> dict[str, set[str]]:
    """Each name that a query may use, with its labels."""
    found: dict[str, set[str]] = {name: set() for name in (*shown_by_process(), "up")}
    for metric in CATALOGUE:
        ends = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        found |= {metric.name + end: set(metric.labels) for end in ends}
    return found


def check_query(query: str) -> set[str]:
    """The names of the series in `query`; fails where it speaks of something that is not there."""
    known = series()
    plain = re.sub(r"\$\{?\w+\}?", "", query)
    selected = re.findall(r"(\w+)\{([^}]*)\}", plain)
    for name, selector in selected:
        labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"', selector))
        assert labels <= known[name] | TARGET, query
    plain = re.sub(r"\{[^}]*\}", "", plain)
    plain = re.sub(r"\[[^\]]*\]|\boffset \w+", "", plain)
    grouped = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", plain)
    plain = re.sub(r"\b(?:by|on)\s*\([^)]*\)", "", plain)
    words = set(re.findall(r"\b[A-Za-z_]\w*", plain)) - FUNCTIONS
    names = words & set(known)
    assert names, query
    rest = words - names
    if "label_values" in query:
        rest -= TARGET
    assert not rest, f"{query}: {rest}"
    labels = set().union(*(known[name] for name in names)) | TARGET
    for group in grouped:
        assert {label.strip() for label in group.split(",")} <= labels, query
    return names


def test_the_check_of_queries_can_fail() -> None:
    assert check_query('sum by (slot) (rate(ihomer_events_total{slot="0"}[5m])) > 1') == {
        "ihomer_events_total"
    }
    for wrong in (
        "ihomer_event_total",
        'ihomer_events_total{label="sport"}',
        "sum by (label) (ihomer_events_total)",
        "rate(ihomer_predict_seconds[5m])",
        "frobnicate(ihomer_ready)",
        "1 + 1",
    ):
        with pytest.raises((AssertionError, KeyError)):
            check_query(wrong)


def queries_of(dashboard: Any) -> Iterator[str]:
    """Every query in a dashboard, wherever it stands."""
    if isinstance(dashboard, dict):
        for key, value in dashboard.items():
            if key in ("expr", "definition") and isinstance(value, str):
                yield value
            else:
                yield from queries_of(value)
    elif isinstance(dashboard, list):
        for item in dashboard:
            yield from queries_of(item)


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "ihomer.json").read_bytes())
    names = set().union(*(check_query(query) for query in queries_of(dashboard)))
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in names}
    assert {metric.name for metric in CATALOGUE} <= shown
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        for column in range(place["x"], place["x"] + place["w"]):
            for line in range(place["y"], place["y"] + place["h"]):
                assert 0 <= column < 24
                assert (column, line) not in taken, f"{panel['title']} covers another panel"
                taken.add((column, line))
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
    for variable in dashboard["templating"]["list"]:
        assert f"${variable['name']}" in json.dumps(panels) or variable["name"] == "datasource"
    assert "${datasource}" in json.dumps(panels)


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_each_alarm_is_about_something_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    names = check_query(rule["expr"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert told <= set().union(*(series()[name] for name in names)) | TARGET
    section = re.search(rf"^### {rule['alert']}\n(.+?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert len(section[1].split()) > 10


def test_the_page_has_every_metric_with_its_labels_and_every_alarm() -> None:
    rows = re.findall(r"^\| (`.*`) \| .+ \|$", PAGE, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row) if name[0] != "/"}
    expected = {
        metric.name + (f"{{{','.join(metric.labels)}}}" if metric.labels else "")
        for metric in CATALOGUE
    }
    assert told == expected | shown_by_process()
    alarms = re.findall(r"^### (Ihomer\w+)$", PAGE, re.MULTILINE)
    assert alarms == [rule["alert"] for rule in rules()]


def test_the_page_tells_the_bounds_that_hold() -> None:
    from ihomer.stream import health, server, status

    for sentence in (
        f"one stage for more than {health.LIVE_SECONDS:.0f} s",
        f"been in one stage for more than {health.READY_SECONDS:.0f} s",
        f"at most {status.GATHER_SHARE:.0%} of its time",
        f"up to {status.LONGEST_SECONDS:.0f} s\nold",
        f"{server.MAX_REQUEST_BYTES // 1024} KiB and {server.REQUEST_SECONDS:.0f} s",
        f"{server.MAX_CONNECTIONS} connections at a time",
    ):
        assert sentence in PAGE


@pytest.mark.parametrize(
    "arguments", [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]]
)
def test_promtool_agrees(arguments: list[str]) -> None:
    _run([_tool("promtool"), *arguments], ALERTS.parent)


def test_hadolint_agrees() -> None:
    _run([_tool("hadolint"), "deploy/Dockerfile"], ROOT)


def test_the_image_is_not_root_and_holds_to_hashes() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(stages) == 2
    assert all(re.search(r":\d", stage) for stage in stages), "a version for each base"
    assert "pip install --require-hashes -r requirements.lock" in text
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name
            ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")
            assert f"!{name}\n" in ignored, f"{name} would not be seen"
    _check_variables(re.findall(r"\b(IHOMER_\w+)=", text))


def test_compose_holds_together() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    for name, service in services.items():
        assert "image" in service, name
        for other in service.get("depends_on", {}):
            assert other in services
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            there = source in compose["volumes"] or (DEPLOY / source).is_dir()
            assert there, volume
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is put on the network"
    assert (DEPLOY / services["ihomer"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / services["ihomer"]["build"]["dockerfile"]).is_file()
    environment = services["ihomer"]["environment"]
    _check_variables(environment)
    (target,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())[
        "scrape_configs"
    ][0]["static_configs"][0]["targets"]
    assert target == f"ihomer:{environment['IHOMER_HTTP'].rpartition(':')[2]}"
    # The topics that it makes are those that the daemon is given.
    made = re.search(r"for topic in (.+); do", services["topics"]["command"][0])
    assert made is not None
    wanted = {
        re.split(r"[/?]", environment[f"IHOMER_{key}"])[3]
        for key in ("SOURCE", "SINK", "DEAD_LETTERS")
    }
    assert set(made[1].split()) == wanted


def service() -> dict[str, str]:
    """The unit's section of that name; of a key that stands several times all values."""
    text = (DEPLOY / "ihomer.service").read_text(encoding="utf-8")
    section = text.partition("[Service]\n")[2].partition("\n[")[0]
    found: dict[str, str] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
        found[key] = f"{found[key]} {value}" if key in found else value
    return found


def test_the_unit_allows_what_the_daemon_promises() -> None:
    found = service()
    assert found["Type"] == "notify"
    assert float(found["TimeoutStopSec"].removesuffix("s")) > STOP_SECONDS
    assert float(found["WatchdogSec"].removesuffix("s")) >= 10.0
    assert set(found["RestartPreventExitStatus"].split()) == {"2", "65"}
    assert found["DynamicUser"] == found["NoNewPrivileges"] == "yes"
    assert found["ProtectSystem"] == "strict"
    assert found["CapabilityBoundingSet"] == ""
    _check_variables(re.findall(r"\b(IHOMER_\w+)=", found["Environment"]))


def test_systemd_agrees(tmp_path: Path) -> None:
    tool = _tool("systemd-analyze")
    text = (DEPLOY / "ihomer.service").read_text(encoding="utf-8")
    # It looks whether the program is there.
    here = text.replace("/opt/ihomer/bin/ihomer", str(Path(sys.executable).with_name("ihomer")))
    assert here != text
    path = tmp_path / "ihomer.service"
    path.write_text(here, encoding="utf-8")
    done = _run([tool, "verify", "--man=no", str(path)], tmp_path)
    assert "ihomer.service" not in done.stderr, done.stderr
    # 10 is a service that may do everything; up to 2 it calls OK.
    _run([tool, "security", "--offline=yes", "--threshold=20", str(path)], tmp_path)


def _check_variables(names: Any) -> None:
    keys = {f"IHOMER_{key.upper()}" for key in Settings.model_fields} | OTHER_VARIABLES
    assert names
    assert set(names) <= keys


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
