"""prometheus.py PORT DASHBOARD v1|v2 CONTAINER: a Prometheus that scrapes proclens and node_exporter. Every query of the
dashboard has a result, and both ways give the same values for CONTAINER (the label `id`)."""

import json
import sys
import time
import urllib.parse
import urllib.request

port, dashboard, mode, container = sys.argv[1:]


def api(path, **parameters):
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    return json.load(urllib.request.urlopen(url, timeout=30))["data"]


def query(text):
    return api("query", query=text)["result"]


def labels(which):
    """label_values(SELECTOR, LABEL), which Grafana gets from another interface."""
    selector, label = which.removeprefix("label_values(").removesuffix(")").rsplit(",", 1)
    return {series.get(label.strip()) for series in api("series", **{"match[]": selector})} - {None}


deadline = time.monotonic() + 180
while True:
    up = {target["labels"]["job"]: target for target in api("targets")["activeTargets"]}
    enough = query(f'count_over_time(proclens_cpus{{job="proclens",id="{container}"}}[1m]) > 3')
    if enough and query(f'proclens_cpus{{job="node",id="{container}"}}'):
        break
    assert time.monotonic() < deadline, {job: target["lastError"] for job, target in up.items()}
    time.sleep(1)
assert {job: target["health"] for job, target in up.items()} == {"proclens": "up", "node": "up"}
assert [result["value"][1] for result in query("node_textfile_scrape_error")] == ["0"]

definition = json.load(open(dashboard))


def filled(text):
    for variable in definition["templating"]["list"]:
        text = text.replace("$" + variable["name"], ".*")
    return text.replace("$__rate_interval", "1m")


for variable in definition["templating"]["list"]:
    if variable["type"] == "query":
        assert labels(filled(variable["query"])), variable["query"]
titles = set()
for panel in definition["panels"]:
    titles.add(panel["title"])
    for target in panel["targets"]:
        text = filled(target["expr"].replace("$__rate_interval", "1m"))
        mine = [r for r in query(text) if r["metric"].get("id") == container]
        if "_pressure_" in text and mode != "v2":
            assert not mine, "cgroup v1 counts no pressure"
            continue
        # One of node_exporter, one of proclens.
        assert {r["metric"]["job"] for r in mine} == {"proclens", "node"}, (text, mine)
assert titles == {"CPU, with steal", "Memory", "Load average", "Pressure"}, titles
for name in "proclens_memory_total_bytes", "proclens_cpus":
    values = {r["value"][1] for r in query(f'{name}{{id="{container}"}}')}
    assert len(values) == 1, values
types = api("metadata", metric="proclens_cpu_seconds_total").values()
assert all(entry["type"] == "counter" for entries in types for entry in entries), types
rules = [rule for group in api("rules")["groups"] for rule in group["rules"]]
assert len(rules) == 3 and all(rule["health"] == "ok" for rule in rules), rules
