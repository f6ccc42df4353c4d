#!/usr/bin/env python3
"""pods.py SOCKET DIRECTORY CGROUP_PARENT TOOL ADMITTED [CHECK...]

Runs pods on the container runtime at SOCKET with the calls of a kubelet, and reads the numbers inside. TOOL is the
`proclens` whose `inject` makes pods; ADMITTED has the pods that the policy makes (pods.json). Prints `ok NAME` or
`not ok NAME: WHY` for each CHECK, by default for all that need no other image than `app`."""

import json
import os
import subprocess
import sys
import time

import yaml

from kubelet import Failed, Kubelet

IMAGE = "registry.example/proclens:0.2.0"
HOST_CPUS = len(os.sched_getaffinity(0))
CGROUPS = "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1"


def container(name, image="app:1", cpu=None, memory=None, command=("sleep", "1000"), **more):
    limits = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    return {"name": name, "image": image, "command": list(command), "resources": {"limits": limits}, **more}


def pod(*containers, **more):
    metadata = {"name": "test", "labels": more.pop("labels", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": list(containers), **more}}


def wanted_pod(name):
    """The pod `name` of pods.yaml."""
    with open(os.path.join(os.path.dirname(ADMITTED), "pods.yaml")) as opened:
        return next(document for document in yaml.safe_load_all(opened) if document["metadata"]["name"] == name)


def admitted_as(name):
    """That pod as the policy changes it. It mounts the release image, which containerd 1 does not support."""
    with open(ADMITTED) as opened:
        return next(line["pod"] for line in map(json.loads, opened) if line["name"] == name)


def injected(pod, *options):
    result = subprocess.run(
        [TOOL, "inject", "--image", IMAGE, *options], input=json.dumps(pod), capture_output=True, text=True, check=True
    )
    assert not result.stderr, result.stderr
    return json.loads(result.stdout)


def equal(got, wanted, what=""):
    if got != wanted:
        raise Failed(f"{what} is {got!r} instead of {wanted!r}")


def numbers(running, name, megabytes, processors, *prefix):
    """Megabytes of `free`, and `nproc`. One exec, because each takes seconds in an emulated machine."""
    result = running.exec(name, *prefix, "sh", "-c", "free -m; nproc").split()
    equal((result[7], result[-1]), (str(megabytes), str(min(processors, HOST_CPUS))), "the values of free and nproc")


def made(kubelet, name):
    """The pod `name` of pods.yaml with the library, in the way that the runtime supports."""
    return injected(wanted_pod(name)) if kubelet.version()[1].startswith("1.") else admitted_as(name)


def resized(running, name, limits, megabytes, processors):
    """New limits show in the next read, of new processes and of the pod's own process, which did not restart."""
    before = running.log(name).splitlines()[-1]
    running.resize(name, limits)
    numbers(running, name, megabytes, processors)
    online = "0" if min(processors, HOST_CPUS) == 1 else f"0-{min(processors, HOST_CPUS) - 1}"
    after, end = f"{megabytes * 1024} {online}", time.monotonic() + 120
    while running.log(name).splitlines()[-1] != after and time.monotonic() < end:
        time.sleep(0.2)
    # Between two files of one reading the limits may have changed.
    seen = {field for line in running.log(name).splitlines() for field in line.split()}
    equal(running.log(name).splitlines()[-1], after, f"what the process reads after {before}")
    equal(seen, set(f"{before} {after}".split()), "all that the process has read")


def maps(running, name):
    return running.exec(name, "cat", "/proc/self/maps")


# --- checks -----------------------------------------------------------------


def restricted(kubelet):
    """Way 2 within PodSecurity "restricted", and the init container within 10m and 8Mi."""
    with_library = injected(wanted_pod("restricted"))
    with_library["spec"]["initContainers"][0]["resources"]["limits"] = {"cpu": "10m", "memory": "8Mi"}
    began = time.monotonic()
    running = kubelet.run(with_library)
    numbers(running, "app", 256, 1)
    uptime, *top = running.exec("app", "sh", "-c", "cat /proc/uptime; top -b -n 1").splitlines()
    assert float(uptime.split()[0]) < time.monotonic() - began, f"up {uptime} seconds"
    tasks = int(next(line for line in top if line.startswith("Tasks:")).split()[1])
    assert tasks < 10, top
    assert any("256.0 total" in line for line in top), top
    equal(running.exec("app", "/opt/proclens/proclens", "check", "--json", "--", "nproc").count('"active": true'), 1, "active")
    resized(running, "app", {"cpu": "2", "memory": "384Mi"}, 384, 2)
    running.remove()


def file(kubelet):
    """An image with an LD_PRELOAD of its own keeps it with a mounted file, and loses it with the variable."""
    wanted = pod(container("app", "app-preload:1", cpu="1", memory="128Mi"))
    running = kubelet.run(injected(wanted, "--preload", "file"))
    numbers(running, "app", 128, 1)
    for library in ("libproclens.so", "libown.so"):
        assert library in maps(running, "app"), f"{library} is not loaded"
    running.remove()
    running = kubelet.run(injected(wanted))
    numbers(running, "app", 128, 1)
    assert "libown.so" not in maps(running, "app"), "the documentation states that the image's own is lost"
    running.remove()


def two(kubelet, share):
    busy = container("busy", cpu="1", memory="512Mi", command=["sh", "-c", "while :; do :; done"])
    idle = container("idle", cpu="2", memory="128Mi")
    running = kubelet.run(injected(pod(busy, idle, shareProcessNamespace=share)))
    running.began = time.monotonic()
    return running


def two_after_a_while(running):
    numbers(running, "busy", 512, 1)
    numbers(running, "idle", 128, 2)
    # No sampler runs below this process 1: each reading extrapolates the averages from the CPU time that the container
    # got. On a busy machine this is less than the container wants.
    while True:
        loads = [float(running.exec(name, "cat", "/proc/loadavg").split()[0]) for name in ("busy", "idle")]
        if loads[0] >= 0.04 or time.monotonic() > running.began + 240:
            break
        time.sleep(2)
    assert loads[0] >= 0.04 and loads[1] <= 0.02, f"load averages {loads}"


def pod_limits(kubelet):
    """Limits of the pod only, and in-place resizes of a container and of the pod."""
    wanted = pod(container("app"), container("own", memory="64Mi"), resources={"limits": {"cpu": "1", "memory": "200Mi"}})
    running = kubelet.run(injected(wanted))
    numbers(running, "app", 200, 1)
    numbers(running, "own", 64, 1)
    running.resize("own", {"memory": "96Mi"})
    numbers(running, "own", 96, 1)
    running.resize_pod({"cpu": "2", "memory": "300Mi"})
    numbers(running, "own", 96, 1)
    # As documented, the variables keep the pod's old limits.
    numbers(running, "app", 200, 1)
    # They can lower a limit, and so can the container's own new limit.
    running.resize("app", {"memory": "100Mi"})
    numbers(running, "app", 100, 1)
    running.remove()


def init_and_sidecar(kubelet):
    wanted = pod(container("app", cpu="1", memory="128Mi"))
    wanted["spec"]["initContainers"] = [
        container("first", cpu="1", memory="96Mi", command=["sh", "-c", "free -m; nproc"]),
        container("sidecar", cpu="1", memory="64Mi", restartPolicy="Always"),
    ]
    running = kubelet.run(injected(wanted))
    result = running.log("first").split()
    equal((result[7], result[-1]), ("96", "1"), "the init container's")
    numbers(running, "sidecar", 64, 1)
    running.remove()


def runtime_class(kubelet):
    """No variable; all programs but static ones; as a user, on a read-only root."""
    wanted = wanted_pod("restricted")
    wanted["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    wanted["spec"]["containers"].append(container("own", "app-preload:1", cpu="1", memory="64Mi"))
    running = kubelet.run(wanted, "proclens")
    numbers(running, "app", 256, 1)
    numbers(running, "app", 256, 1, "env", "-i", "PATH=/bin")
    equal(running.exec("app", "nproc-setuid"), "1", "a setuid nproc")
    equal(running.exec("app", "busybox", "nproc"), str(HOST_CPUS), "a static nproc")
    numbers(running, "own", 64, 1)
    for library in ("libproclens.so", "libown.so"):
        assert library in maps(running, "own"), f"{library} is not loaded"
    running.remove()


def admitted(kubelet):
    """A restricted pod as the policy changes it, with the release image as a volume."""
    running = kubelet.run(admitted_as("restricted"))
    numbers(running, "app", 256, 1)
    equal(running.exec("app", "/opt/proclens/usr/bin/proclens", "check", "--json", "--", "nproc").count('"active": true'), 1, "active")
    resized(running, "app", {"cpu": "2", "memory": "384Mi"}, 384, 2)
    running.remove()


def musl(kubelet):
    running = kubelet.run(made(kubelet, "musl"))
    equal(running.exec("app", "probe"), "cpus 1 memory 131072", "a program with musl")
    running.remove()


def java(kubelet):
    running = kubelet.run(made(kubelet, "java"))
    result = running.exec("app", "/jre/bin/java", "-XX:+UseSerialGC", "-cp", "/", "Numbers")
    equal(result, "cpus 1 memory 256", "Java")
    running.remove()


def go(kubelet):
    """A static Go program gets variables by label, and LD_PRELOAD does not disturb it."""
    running = kubelet.run(made(kubelet, "go"))
    equal(running.exec("app", "/numbers"), f"cpus 1 memory {100 * 2**20 - 10 * 2**20}", "Go")
    running.remove()


# --- main -------------------------------------------------------------------


def main():
    failed = []

    def check(name, *steps):
        value, began = None, time.monotonic()
        try:
            for step in steps:
                value = step() if value is None else step(value)
            print(f"ok {LABEL}: {name} ({time.monotonic() - began:.0f} s)", flush=True)
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            print(f"not ok {LABEL}: {name}: {why[-800:]}", flush=True)
            failed.append(name)
        return value

    kubelet = Kubelet(SOCKET, DIRECTORY, CGROUP_PARENT)
    LABEL = " ".join(kubelet.version()) + ", cgroup " + CGROUPS
    try:
        shared = check("two containers with a shared PID namespace start", lambda: two(kubelet, True))
        own = check("two containers start", lambda: two(kubelet, False))
        alone = {
            "restricted": restricted,
            "file": file,
            "pod_limits": pod_limits,
            "init_and_sidecar": init_and_sidecar,
            "runtime_class": runtime_class,
            "admitted": admitted,
            "musl": musl,
            "java": java,
            "go": go,
        }
        for name in CHECKS:
            check(name, lambda: alone[name](kubelet))
        for name, running in (("two containers with a shared PID namespace", shared), ("two containers", own)):
            if running:
                check(name, lambda: two_after_a_while(running))
    finally:
        kubelet.close()
    return 1 if failed else 0


if __name__ == "__main__":
    SOCKET, DIRECTORY, CGROUP_PARENT, TOOL, ADMITTED, *CHECKS = sys.argv[1:]
    sys.exit(main())
