"""zabbix_server.py FRONTEND AGENT TEMPLATE CONTAINER: lets a real Zabbix server import the template, makes a host whose
agent listens on the port AGENT, and waits until every item of the discovered CONTAINER has a value."""

import json
import sys
import time
import urllib.request

import yaml

frontend, agent, template, container = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
token = None
TEXT = open(template).read()
[TEMPLATE] = yaml.safe_load(TEXT)["zabbix_export"]["templates"]
PATIENCE = 300


def call(method, params):
    body = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1, "auth": token}
    request = urllib.request.Request(
        f"http://127.0.0.1:{frontend}/api_jsonrpc.php", json.dumps(body).encode(), {"Content-Type": "application/json-rpc"})
    response = json.load(urllib.request.urlopen(request, timeout=300))
    assert "error" not in response, (method, response["error"])
    return response["result"]


def until(what, ask):
    end = time.monotonic() + PATIENCE
    while not (found := ask()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE} s"
        time.sleep(2)
    return found


def listens():
    try:
        return call("apiinfo.version", [])
    except (OSError, ValueError):
        return None


version = until("the API", listens)
token = call("user.login", {"username": "Admin", "password": "zabbix"})
new = {"createMissing": True, "updateExisting": True}
rules = {name: new for name in ("groups", "templates", "items", "discoveryRules", "triggers")}
assert call("configuration.import", {"format": "yaml", "rules": rules, "source": TEXT}) is True
# A second import, as in an upgrade.
assert call("configuration.import", {"format": "yaml", "rules": rules, "source": TEXT}) is True

[[of_templates], groups] = (
    call("template.get", {"filter": {"host": TEMPLATE["template"]}}), call("hostgroup.get", {"limit": 1}))
host = call("host.create", {
    "host": "docker host", "groups": [{"groupid": groups[0]["groupid"]}], "templates": [{"templateid": of_templates["templateid"]}],
    "interfaces": [{"type": 1, "main": 1, "useip": 1, "ip": "127.0.0.1", "dns": "", "port": agent}]})["hostids"][0]
[master] = call("item.get", {"hostids": host, "filter": {"key_": TEMPLATE["items"][0]["key"]}})
prototypes = {item["key"] for item in TEMPLATE["discovery_rules"][0]["item_prototypes"]}
wanted = {key.replace("{#CGROUP}", container) for key in prototypes}


def measured():
    """The container's items, once all have a value. Until then the server is made to update them at once, which it
    otherwise does once a minute."""
    try:
        call("task.create", [{"type": 6, "request": {"itemid": master["itemid"]}}])
    except AssertionError:
        pass  # the server does not have the item yet
    items = call("item.get", {"hostids": host, "output": ["key_", "lastvalue", "lastclock", "state", "error"]})
    wrong = [item for item in items if item["state"] != "0"]
    assert not wrong, wrong
    found = {item["key_"]: item for item in items if item["key_"] in wanted}
    whole = set(found) == wanted and all(int(item["lastclock"]) for item in found.values())
    return {key: float(item["lastvalue"]) for key, item in found.items()} if whole else None


values = until(f"values of {container}", measured)
of = lambda name: values[f'{name}["{container}"]']
# A busy container of 128 MiB and half a CPU.
assert of("proclens.memory.limit") == 128 << 20, values
assert of("proclens.cpus") == 1, values
assert of("proclens.load1") > 0 and of("proclens.cpu") > 0 and of("proclens.steal") >= 0, values
triggers = call("trigger.get", {"hostids": host, "output": ["description", "state", "error"]})
ours = [one for one in triggers if container.rsplit("/", 1)[1] in one["description"]]
assert len(ours) == len(TEMPLATE["discovery_rules"][0]["trigger_prototypes"]), triggers
print(f"Zabbix {version}: {len(values)} items, {len(ours)} triggers of {container}")
