"""Runs one Pod as a kubelet does, with the same calls of the Container Runtime Interface: sandbox, pod cgroup, volumes
(emptyDir, image, downwardAPI), init containers in order, sidecars, limits, security contexts, exec, resize.

Pods are on the host's network, so no CNI plugin is needed. The images must exist."""

import decimal
import itertools
import os
import re
import shutil
import time
import uuid

import grpc

SUFFIXES = {"": 1, "m": decimal.Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text):
    number, suffix = re.fullmatch(r"([0-9.e+]+?)([a-zA-Z]*)", str(text)).groups()
    return decimal.Decimal(number) * SUFFIXES[suffix]


# Seconds. A call takes minutes in an emulated machine on a busy host.
TIME_LIMIT = 900


class Failed(Exception):
    pass


class Kubelet:
    def __init__(self, socket, directory, cgroup_parent):
        # The compiler searches the file in sys.path, which contains the directory of the program.
        self.cri, services = grpc.protos_and_services("cri.proto")
        channel = grpc.insecure_channel("unix://" + socket, options=[("grpc.default_authority", "localhost")])
        grpc.channel_ready_future(channel).result(timeout=TIME_LIMIT)
        self.runtime = services.RuntimeServiceStub(channel)
        self.directory, self.cgroup_parent = directory, cgroup_parent
        self.pods = []
        self.numbers = itertools.count(1)

    def version(self):
        result = self.runtime.Version(self.cri.VersionRequest(), timeout=TIME_LIMIT)
        return result.runtime_name, result.runtime_version

    def run(self, pod, handler=""):
        """Starts `pod` up to its main containers."""
        new = Pod(self, pod, handler)
        self.pods.append(new)
        new.start()
        return new

    def close(self):
        for pod in list(self.pods):
            pod.remove()


class Pod:
    def __init__(self, kubelet, pod, handler):
        self.kubelet, self.cri, self.runtime = kubelet, kubelet.cri, kubelet.runtime
        self.pod, self.spec, self.handler = pod, pod["spec"], handler
        self.uid = str(uuid.uuid4())
        self.directory = os.path.join(kubelet.directory, self.uid)
        self.cgroup = f"{kubelet.cgroup_parent}/pod{self.uid}"
        self.containers, self.sandbox = {}, None

    def start(self):
        os.makedirs(self.directory + "/log")
        self.resize_pod(self.spec.get("resources", {}).get("limits", {}))
        self.volumes = {volume["name"]: self.make_volume(volume) for volume in self.spec.get("volumes", [])}
        share = self.spec.get("shareProcessNamespace", False)
        self.namespaces = self.cri.NamespaceOption(
            network=self.cri.NODE,
            pid=self.cri.NODE if self.spec.get("hostPID") else self.cri.POD if share else self.cri.CONTAINER,
        )
        self.config = self.cri.PodSandboxConfig(
            metadata=self.cri.PodSandboxMetadata(name=self.pod["metadata"]["name"], uid=self.uid, namespace="default"),
            log_directory=self.directory + "/log",
            linux=self.cri.LinuxPodSandboxConfig(
                cgroup_parent=self.cgroup,
                security_context=self.cri.LinuxSandboxSecurityContext(
                    namespace_options=self.namespaces, seccomp=self.cri.SecurityProfile()
                ),
            ),
        )
        request = self.cri.RunPodSandboxRequest(config=self.config, runtime_handler=self.handler)
        self.sandbox = self.runtime.RunPodSandbox(request, timeout=TIME_LIMIT).pod_sandbox_id
        for container in self.spec.get("initContainers", []):
            identifier = self.start_container(container)
            if container.get("restartPolicy") != "Always":
                self.wait(container["name"], identifier)
        for container in self.spec["containers"]:
            self.start_container(container)

    def resize_pod(self, limits):
        """Gives the pod's own cgroup the limits of the pod, as on a node with the driver cgroupfs. Makes a missing
        cgroup; without limits the runtime makes it."""
        values = {}
        if "memory" in limits:
            memory = int(quantity(limits["memory"]))
            values["memory"] = [("memory.limit_in_bytes", memory), ("memory.max", memory)]
        if "cpu" in limits:
            quota = int(quantity(limits["cpu"]) * 100000)
            values["cpu"] = [("cpu.cfs_quota_us", quota), ("cpu.max", f"{quota} 100000")]
        for controller, files in values.items():
            root = f"/sys/fs/cgroup/{controller}"
            if not os.path.isdir(root):
                root = "/sys/fs/cgroup"
                for parent in ("", self.kubelet.cgroup_parent):
                    os.makedirs(root + parent, exist_ok=True)
                    with open(f"{root}{parent}/cgroup.subtree_control", "w") as file:
                        file.write("+cpu +memory")
            os.makedirs(root + self.cgroup, exist_ok=True)
            for name, value in files:
                if os.path.exists(f"{root}{self.cgroup}/{name}"):
                    with open(f"{root}{self.cgroup}/{name}", "w") as file:
                        file.write(str(value))

    def make_volume(self, volume):
        """The fields of `Mount` for the volume."""
        if "image" in volume:
            return {"image": self.cri.ImageSpec(image=volume["image"]["reference"])}
        path = f"{self.directory}/{volume['name']}"
        os.makedirs(path)
        os.chmod(path, 0o777)
        for item in volume.get("downwardAPI", {}).get("items", []):
            key = re.fullmatch(r"metadata\.annotations\['(.*)'\]", item["fieldRef"]["fieldPath"])[1]
            with open(f"{path}/{item['path']}", "w") as file:
                file.write(self.pod["metadata"]["annotations"][key])
            os.chmod(file.name, 0o644)
        return {"host_path": path}

    def resources(self, limits):
        result = self.cri.LinuxContainerResources(cpu_period=100000, cpu_shares=2, oom_score_adj=1000)
        if "cpu" in limits:
            result.cpu_quota = max(1000, int(quantity(limits["cpu"]) * 100000))
            result.cpu_shares = max(2, int(quantity(limits["cpu"]) * 1024))
        if "memory" in limits:
            result.memory_limit_in_bytes = int(quantity(limits["memory"]))
        return result

    def start_container(self, container):
        security = {**self.spec.get("securityContext", {}), **container.get("securityContext", {})}
        context = self.cri.LinuxContainerSecurityContext(
            namespace_options=self.namespaces,
            readonly_rootfs=security.get("readOnlyRootFilesystem", False),
            no_new_privs=not security.get("allowPrivilegeEscalation", True),
            capabilities=self.cri.Capability(drop_capabilities=security.get("capabilities", {}).get("drop", [])),
            masked_paths=["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            readonly_paths=["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            seccomp=self.cri.SecurityProfile(profile_type="RuntimeDefault" if "seccompProfile" in security else "Unconfined"),
        )
        if "runAsUser" in security:
            context.run_as_user.value = security["runAsUser"]
        mounts = []
        for mount in container.get("volumeMounts", []):
            found = dict(self.volumes[mount["name"]])
            if "subPath" in mount:
                found["host_path"] += "/" + mount["subPath"]
            mounts.append(self.cri.Mount(container_path=mount["mountPath"], readonly=mount.get("readOnly", False), **found))
        config = self.cri.ContainerConfig(
            metadata=self.cri.ContainerMetadata(name=container["name"]),
            image=self.cri.ImageSpec(image=container["image"]),
            command=container.get("command", []),
            args=container.get("args", []),
            envs=[self.cri.KeyValue(key=e["name"], value=str(e.get("value", "")).encode()) for e in container.get("env", [])],
            mounts=mounts,
            log_path=container["name"] + ".log",
            linux=self.cri.LinuxContainerConfig(
                resources=self.resources(container.get("resources", {}).get("limits", {})), security_context=context
            ),
        )
        request = self.cri.CreateContainerRequest(pod_sandbox_id=self.sandbox, config=config, sandbox_config=self.config)
        identifier = self.runtime.CreateContainer(request, timeout=TIME_LIMIT).container_id
        self.containers[container["name"]] = identifier
        self.runtime.StartContainer(self.cri.ContainerRequest(container_id=identifier), timeout=TIME_LIMIT)
        return identifier

    def wait(self, name, identifier):
        """Waits until an init container has succeeded."""
        end = time.monotonic() + TIME_LIMIT
        while time.monotonic() < end:
            request = self.cri.ContainerRequest(container_id=identifier)
            status = self.runtime.ContainerStatus(request, timeout=TIME_LIMIT).status
            if status.state == self.cri.CONTAINER_EXITED:
                if status.exit_code:
                    raise Failed(f"{name} ended with {status.exit_code} {status.reason}: {self.log(name)}")
                return
            time.sleep(0.05)
        raise Failed(f"{name} does not end: {self.log(name)}")

    def log(self, name):
        """Everything that a container wrote, without the times."""
        with open(f"{self.directory}/log/{name}.log") as file:
            return "".join(line.split(" ", 3)[3] for line in file)

    def exec(self, name, *command):
        """As `kubectl exec`: returns stdout. Output on stderr, or another exit code than 0, is a failure."""
        request = self.cri.ExecSyncRequest(container_id=self.containers[name], cmd=command, timeout=TIME_LIMIT)
        result = self.runtime.ExecSync(request, timeout=TIME_LIMIT)
        if result.exit_code or result.stderr:
            raise Failed(f"{' '.join(command)}: exit {result.exit_code}: {result.stdout.decode()}{result.stderr.decode()}")
        return result.stdout.decode().strip()

    def resize(self, name, limits):
        request = self.cri.UpdateContainerResourcesRequest(container_id=self.containers[name], linux=self.resources(limits))
        self.runtime.UpdateContainerResources(request, timeout=TIME_LIMIT)

    def remove(self):
        self.kubelet.pods.remove(self)
        if self.sandbox:
            request = self.cri.PodSandboxRequest(pod_sandbox_id=self.sandbox)
            self.runtime.StopPodSandbox(request, timeout=TIME_LIMIT)
            self.runtime.RemovePodSandbox(request, timeout=TIME_LIMIT)
        shutil.rmtree(self.directory)
