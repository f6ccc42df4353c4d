"""zabbix.py PORT TEMPLATE CONTAINER: gets the master item from a Zabbix agent, and applies the template to it: every
item of the discovered CONTAINER has a value."""

import json
import re
import socket
import struct
import sys

import yaml

port, template, container = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def ask(key):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as agent:
        agent.sendall(b"ZBXD\1" + struct.pack("<Q", len(key)) + key.encode())
        response = b""
        while more := agent.recv(65536):
            response += more
    assert response[:5] == b"ZBXD\1", response
    length, _ = struct.unpack("<II", response[5:13])
    assert len(response) == 13 + length
    assert not response[13:].startswith(b"ZBX_NOTSUPPORTED"), response
    return response[13:].decode()


[template] = yaml.safe_load(open(template))["zabbix_export"]["templates"]
items = {item["key"]: item for item in template["items"]}
[rule] = template["discovery_rules"]
master = rule["master_item"]["key"]
assert items[master]["value_type"] == "TEXT" and items[master]["history"] == "0"

rows = json.loads(ask(master))
assert any(row["cgroup"] == container for row in rows), (container, rows)


def field(row, path):
    for name in re.findall(r"[a-z0-9_]+", path):
        row = row[int(name) if name.isdigit() else name]
    return row


macros = {macro["lld_macro"]: macro["path"] for macro in rule["lld_macro_paths"]}
wanted = re.compile(r'\$\[\?\(@\.cgroup=="\{#CGROUP\}"\)\]\.([a-z0-9_.\[\]]+)\.first\(\)')
keys, uuids = set(), [template["uuid"], rule["uuid"]] + [item["uuid"] for item in template["items"]]
for item in rule["item_prototypes"]:
    uuids.append(item["uuid"])
    keys.add(item["key"])
    assert item["master_item"]["key"] == master and item["delay"] == "0"
    path = wanted.fullmatch(item["preprocessing"][0]["parameters"][0]).group(1)
    for row in rows:
        assert isinstance(field(row, path), (int, float)), (path, row)
        assert all(field(row, macro) for macro in macros.values()), row
for trigger in rule["trigger_prototypes"]:
    uuids.append(trigger["uuid"])
    used = re.findall(r"/%s/([^,)]+)" % template["name"], trigger["expression"])
    assert used and set(used) <= keys, (used, keys)
assert all(re.fullmatch("[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", uuid) for uuid in uuids)
assert len(uuids) == len(set(uuids))
names = " ".join(keys)
assert all(word in names for word in ("load1", "cpu[", "memory.used", "steal"))
