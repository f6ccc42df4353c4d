#!/usr/bin/env python3
"""manifests.py COMMAND: tests the objects of examples/kubernetes and those that `proclens inject` and the policy make.

privilege DIRECTORY       no manifest there requests a privilege
valid FILE...             each document passes strict validation
recorded FILE             the recorded pods pass strict validation
admit PROGRAM POLICY PODS prints the result of the admission program for PODS, as lines of JSON
hard PROGRAM POLICY       pods at the limits of Kubernetes
inject TOOL               `proclens inject` on every kind of workload, and on the pods of the policy
component TOOL            the Kustomize component, by kubectl
"""

import copy
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

VERSION = "1.36"
IMAGE = "registry.example/proclens:0.2.0"


def documents(file):
    with open(file) as opened:
        return [document for document in yaml.safe_load_all(opened) if document]


def validate(thing):
    """The strict schema of the API server: no unknown field."""
    try:
        kubernetes_validate.validate(thing, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        sys.exit(f"{thing['kind']} {thing.get('metadata', {}).get('name')}: {error.message} at {list(error.path)}")


# --- privilege --------------------------------------------------------------

FORBIDDEN_KINDS = {
    "Secret", "Service", "DaemonSet", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "CustomResourceDefinition",
}  # fmt: skip
FORBIDDEN_KEYS = {"privileged", "hostPath", "hostPID", "hostIPC", "hostNetwork", "hostPort", "hostUsers", "webhooks"}


def forbidden(node):
    if isinstance(node, list):
        return [found for entry in node for found in forbidden(entry)]
    if not isinstance(node, dict):
        return []
    found = [key for key in node if key in FORBIDDEN_KEYS]
    if node.get("kind") in FORBIDDEN_KINDS and "apiVersion" in node:
        found.append(node["kind"])
    if node.get("allowPrivilegeEscalation") is True or (node.get("capabilities") or {}).get("add"):
        found.append("capabilities")
    return found + [entry for value in node.values() for entry in forbidden(value)]


def privilege(directory):
    files = glob.glob(directory + "/**/*.yaml", recursive=True)
    assert len(files) >= 5, files
    for file in files:
        found = forbidden(documents(file))
        assert not found, f"{file} requests {found}"
    # Test the test.
    assert forbidden({"spec": {"volumes": [{"hostPath": {}}]}}) and forbidden([{"apiVersion": "v1", "kind": "Secret"}])


# The volumes that PodSecurity's profile "restricted" allows (kubernetes.io/docs/concepts/security/pod-security-standards).
RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def not_restricted(pod):
    spec = pod["spec"]
    found = forbidden(spec)
    for volume in spec.get("volumes", []):
        found += [kind for kind in volume if kind != "name" and kind not in RESTRICTED_VOLUMES]
    for container in spec.get("initContainers", []) + spec["containers"]:
        own = container.get("securityContext", {})
        security = {**spec.get("securityContext", {}), **own}
        holds = {
            "runAsNonRoot": security.get("runAsNonRoot") is True,
            "runAsUser": security.get("runAsUser") != 0,
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": "ALL" in own.get("capabilities", {}).get("drop", []),
            "seccompProfile": security.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        }
        found += [f"{container['name']}: {name}" for name, is_true in holds.items() if not is_true]
    return found


# --- the policy -------------------------------------------------------------


def admit(program, policy, text):
    result = subprocess.run([program, policy, "--fail"], input=text, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    for line in map(json.loads, result.stdout.splitlines()):
        del line["milliseconds"]
        line["pod"].pop("status", None)
        yield line


def recorded(file):
    with open(file) as opened:
        lines = [json.loads(line) for line in opened]
    by_name = {line["name"]: line for line in lines}
    assert len(by_name) == len(lines) >= 20
    for line in lines:
        assert "error" not in line and not line["changed_again"], line["name"]
        validate(line["pod"])
        assert not forbidden(line["pod"]) or line["name"] == "host-pid", line["name"]
    assert not not_restricted(by_name["restricted"]["pod"]), not_restricted(by_name["restricted"]["pod"])
    assert not_restricted(by_name["plain"]["pod"])
    # Test the test.
    wrong = copy.deepcopy(by_name["plain"]["pod"])
    wrong["spec"]["containers"][0]["env"][0]["valu"] = ""
    try:
        kubernetes_validate.validate(wrong, VERSION, strict=True)
        sys.exit("the validation is not strict")
    except kubernetes_validate.ValidationError:
        pass
    unchanged = {line["name"] for line in lines if not line["changed"]}
    assert unchanged == {
        "other-namespace", "opted-out", "nothing-to-do", "windows-os", "windows-selector", "own-volume", "mirror",
        "injected-by-tool",
    }, unchanged  # fmt: skip
    for line in lines:
        annotations = line["pod"]["metadata"].get("annotations", {})
        done = annotations.get("proclens.dev/injected", "")
        assert done.startswith("image volume, version ") == line["changed"], line["name"]


def hard_pods():
    def pod(name, containers, **spec):
        return {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {"proclens-env": "on"}},
            "spec": {"containers": containers, "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}, **spec},
        }  # fmt: skip

    env = [{"name": f"VARIABLE_{number}", "value": "x" * 100} for number in range(100)]
    return [
        pod("fifty", [{"name": f"c{number}", "image": "a", "env": env} for number in range(50)]),
        pod("p" * 253, [{"name": "c" * 63, "image": "i" * 200, "volumeMounts": [{"name": "v" * 63, "mountPath": "/" + "m" * 200}]}],
            volumes=[{"name": "v" * 63, "emptyDir": {}}]),
        pod("host-pid", [{"name": "a", "image": "a"}], hostPID=True),
        pod("ephemeral", [{"name": "a", "image": "a"}], ephemeralContainers=[{"name": "debug", "image": "a"}]),
    ]  # fmt: skip


def hard(program, policy):
    pods = hard_pods()
    text = "---\n".join(
        yaml.safe_dump(thing)
        for thing in [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"proclens": "enabled"}}}, *pods]
    )
    results = list(admit(program, policy, text))
    assert len(results) == len(pods)
    for line in results:
        assert "error" not in line, line["error"]
        assert line["changed"] and not line["changed_again"], line["name"]
        validate(line["pod"])
        for container in line["pod"]["spec"]["containers"]:
            assert [e["value"] for e in container["env"] if e["name"] == "GOMAXPROCS"] == ["2"]
    debug = results[3]["pod"]["spec"]["ephemeralContainers"]
    assert debug == [{"name": "debug", "image": "a", "resources": {}}], debug


# --- inject -----------------------------------------------------------------

TEMPLATE = {
    "metadata": {"labels": {"app": "web", "proclens-env": "on"}},
    "spec": {
        "containers": [
            {"name": "app", "image": "a", "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1500m"}}},
            {"name": "other", "image": "b", "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        ],
        "initContainers": [{"name": "sidecar", "image": "c", "restartPolicy": "Always"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "resources": {"limits": {"memory": "1.5Gi"}},
        "restartPolicy": "Always",
    },
}
SELECTOR = {"matchLabels": {"app": "web"}}


def workloads():
    def workload(version, kind, **spec):
        return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}

    template = lambda: copy.deepcopy(TEMPLATE)
    once = template()
    once["spec"]["restartPolicy"] = "Never"
    items = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", **TEMPLATE["metadata"]}, "spec": template()["spec"]},
        workload("apps/v1", "Deployment", selector=SELECTOR, template=template()),
        workload("apps/v1", "StatefulSet", selector=SELECTOR, serviceName="web", template=template()),
        workload("apps/v1", "DaemonSet", selector=SELECTOR, template=template()),
        workload("apps/v1", "ReplicaSet", selector=SELECTOR, template=template()),
        workload("v1", "ReplicationController", selector={"app": "web"}, template=template()),
        workload("batch/v1", "Job", template=copy.deepcopy(once)),
        workload("batch/v1", "CronJob", schedule="* * * * *", jobTemplate={"spec": {"template": copy.deepcopy(once)}}),
    ]
    return [*items, {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": copy.deepcopy(items)}]


def run(tool, text, *options):
    result = subprocess.run([tool, "inject", *options], input=text, capture_output=True)
    assert result.returncode == 0 and not result.stderr, result.stderr
    return result.stdout


def inject(tool):
    for thing in workloads():
        for text in (json.dumps(thing, indent=4), yaml.safe_dump(thing)):
            for way in ("env", "file"):
                options = ["--image", IMAGE, "--preload", way]
                once = run(tool, text.encode(), *options)
                [result] = yaml.safe_load_all(once)
                assert result != thing, thing["kind"]
                for item in result.get("items", [result]):
                    validate(item)
                assert not [found for found in forbidden(result) if found != "DaemonSet"]
                assert run(tool, once, *options) == once
                assert yaml.safe_load(run(tool, once, "--remove")) == thing, thing["kind"]
    here = os.path.dirname(os.path.abspath(__file__))
    pod = next(document for document in documents(here + "/pods.yaml") if document["metadata"]["name"] == "restricted")
    for way in ("env", "file"):
        result = json.loads(run(tool, json.dumps(pod).encode(), "--image", IMAGE, "--preload", way))
        assert len(result["spec"]["initContainers"]) == 1 and not not_restricted(result), not_restricted(result)
    broken = subprocess.run([tool, "inject", "--image", IMAGE], input=b"kind: Service\n---\na: [\n", capture_output=True)
    lines = broken.stderr.decode().splitlines()
    assert (broken.returncode, broken.stdout, len(lines)) == (1, b"", 1) and "line " in lines[0], broken
    pods = [document for document in documents(here + "/pods.yaml") if document["kind"] == "Pod"] + hard_pods()
    unchanged = set()
    for pod in pods:
        name, text = pod["metadata"]["name"], json.dumps(pod).encode()
        once = run(tool, text, "--image", IMAGE)
        result = json.loads(once)
        validate(result)
        assert run(tool, once, "--image", IMAGE) == once, name
        assert json.loads(run(tool, once, "--remove"))["spec"] == pod["spec"], name
        if once == text:
            unchanged.add(name)
        elif pod in hard_pods():
            for container in result["spec"]["containers"]:
                assert [e["value"] for e in container["env"] if e["name"] == "GOMAXPROCS"] == ["2"]
            assert result["spec"].get("ephemeralContainers") == pod["spec"].get("ephemeralContainers")
    # The same as with the policy. But only the policy reads a label of the namespace, and a volume of the pod that
    # has the name proclens gets another one beside it.
    wanted = {"opted-out", "nothing-to-do", "windows-os", "windows-selector", "mirror", "injected-by-tool"}
    assert unchanged == wanted, unchanged


def component(tool):
    """The Kustomize component makes the same pod as `proclens inject`, or fails."""
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(here + "/../../examples/kubernetes/component", directory + "/component")
        os.mkdir(directory + "/app")
        with open(directory + "/app/kustomization.yaml", "w") as file:
            yaml.safe_dump({"resources": ["web.yaml"], "components": ["../component"]}, file)

        def build(thing):
            with open(directory + "/app/web.yaml", "w") as file:
                yaml.safe_dump(thing, file)
            return subprocess.run(["kubectl", "kustomize", directory + "/app"], capture_output=True, text=True)

        for thing in workloads():
            if thing["kind"] not in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
                continue
            refused = build(thing)
            assert refused.returncode and "test failed" in refused.stderr, refused
            spec = thing["spec"]["template"]["spec"]
            spec["containers"] = [{"name": "app", "image": "a"}]
            del spec["resources"]
            built = build(thing)
            assert built.returncode == 0, built.stderr
            result = yaml.safe_load(built.stdout)
            validate(result)
            del thing["spec"]["template"]["metadata"]["labels"]["proclens-env"]
            wanted = yaml.safe_load(run(tool, json.dumps(thing).encode(), "--image", IMAGE))
            got, wanted = result["spec"]["template"]["spec"], wanted["spec"]["template"]["spec"]
            # The component does not reach a sidecar.
            del wanted["initContainers"][1]["env"], wanted["initContainers"][1]["volumeMounts"]
            for pod in (got, wanted):
                pod["volumes"].sort(key=lambda volume: volume["name"])
            assert got == wanted, (got, wanted)


# --- main -------------------------------------------------------------------


def main(command, *arguments):
    if command == "valid":
        for file in arguments:
            for document in documents(file):
                validate(document)
    elif command == "admit":
        program, policy, pods = arguments
        with open(pods) as file:
            for line in admit(program, policy, file.read()):
                print(json.dumps(line, sort_keys=True))
    else:
        commands = {"privilege": privilege, "recorded": recorded, "hard": hard, "inject": inject, "component": component}
        commands[command](*arguments)


if len(sys.argv) < 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
