"""agreement.py SETTLE WORK CADVISOR METRICS MODE MEMORY CPUACCT PIDS BLKIO: see scripts/lab/agreement. The container is
called `busy`. SETTLE are seconds to wait first, CADVISOR and METRICS ports, the last four directories of controllers.

The result hardly depends on other work of the machine. A thread records the cgroup's files all the time. The value of
another program is compared with the content of the files between the begin and the end of that program's reading, and is
read again if they changed much meanwhile, or if the program disagrees."""

import bisect
import glob
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

settle, work, cadvisor_port, metrics_port, mode, memory_at, cpu_at, pids_at, io_at = sys.argv[1:]
v2 = mode == "v2"
CPUS = 2  # that programs see: the quota is 1.5
WINDOW = 60 if v2 else 30
KIB, MIB = 2**10, 2**20
docker_id, pid1 = subprocess.run(
    ["docker", "inspect", "--format", "{{.Id}} {{.State.Pid}}", "busy"], stdout=subprocess.PIPE, text=True, check=True
).stdout.split()
# Runs before other programs: a late record is less exact.
os.setpriority(os.PRIO_PROCESS, 0, -15)


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


# --- the cgroup's files ---


def group(at):
    return f"{at}/docker/{docker_id}"


def read(path):
    with open(path) as file:
        return file.read()


def keyed(path):
    return {line.split()[0]: int(line.split()[1]) for line in read(path).splitlines()}


def counted():
    """The values of the files now."""
    own = group(memory_at)
    stat = keyed(f"{own}/memory.stat")
    if v2:
        busy = keyed(f"{own}/cpu.stat")["usage_usec"] / 1e6
        usage, tasks = int(read(f"{own}/memory.current")), int(read(f"{own}/pids.current"))
        anon, cache, inactive, active, slab = (
            stat[name] for name in ("anon", "file", "inactive_file", "active_file", "slab_reclaimable"))
        written = re.findall(r"wbytes=(\d+)", read(f"{own}/io.stat"))
    else:
        busy = int(read(f"{group(cpu_at)}/cpuacct.usage")) / 1e9
        usage, tasks = int(read(f"{own}/memory.usage_in_bytes")), int(read(f"{group(pids_at)}/pids.current"))
        anon, cache, inactive, active = (
            stat[f"total_{name}"] for name in ("rss", "cache", "inactive_file", "active_file"))
        slab = 0
        io = f"{group(io_at)}/blkio.throttle.io_service_bytes"
        written = re.findall(r" Write (\d+)", read(io + "_recursive" if glob.glob(io + "_recursive") else io))
    return {
        "busy": busy, "working": usage - inactive, "unavailable": usage - inactive - active - slab, "free": limit - usage,
        "cache": cache, "slab": slab, "anon": anon, "tasks": tasks, "written": sum(map(int, written)),
    }


limit = int(read(f"{group(memory_at)}/memory.max" if v2 else f"{group(memory_at)}/memory.limit_in_bytes"))
moments, records = [], []


def record():
    while True:
        now = counted()
        records.append(now)
        moments.append(time.time())
        time.sleep(0.02)


threading.Thread(target=record, daemon=True).start()


def between(begin, end, name):
    """The least and the most value of the files between two moments, and right before and after."""
    while not moments or moments[-1] <= end:
        time.sleep(0.02)
    first = max(bisect.bisect_left(moments, begin) - 1, 0)
    values = [now[name] for now in records[first:bisect.bisect_right(moments, end) + 1]]
    return min(values), max(values)


def busy_until(moment):
    """CPU time used until that moment."""
    while not moments or moments[-1] <= moment:
        time.sleep(0.02)
    after = max(bisect.bisect_left(moments, moment), 1)
    (t0, t1), (b0, b1) = moments[after - 1:after + 1], (now["busy"] for now in records[after - 1:after + 1])
    return b0 + (b1 - b0) * (moment - t0) / (t1 - t0)


def rates(begins, ends, shortest=0.1):
    """The least and the most CPUs used in a window that began and ended within these times."""
    found = []
    for i in range(9):
        for j in range(9):
            begin = begins[0] + (begins[1] - begins[0]) * i / 8
            end = ends[0] + (ends[1] - ends[0]) * j / 8
            if end - begin >= shortest:
                found.append((busy_until(end) - busy_until(begin)) / (end - begin))
    return min(found), max(found)


# --- the sources ---


requested = None  # when the last request began and ended


def samples(port, within=False):
    """Samples of an exporter: `name{labels}` to (value, seconds or None)."""
    global requested
    script = (
        "import sys, time, urllib.request; begin = time.time(); "
        "text = urllib.request.urlopen(sys.argv[1], timeout=120).read().decode(); print(begin, time.time()); print(text)"
    )
    enter = ["nsenter", "--net", "--target", pid1] if within else []
    head, text = run(*enter, sys.executable, "-c", script, f"http://127.0.0.1:{port}/metrics").split("\n", 1)
    requested = tuple(map(float, head.split()))
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z_0-9A-Z:]+)(\{.*\})? ([^ ]+)(?: (\d+))?", line)
        if match:
            name, labels, value, stamp = match.groups()
            found[name + (labels or "")] = (float(value), int(stamp) / 1000 if stamp else None)
    return found


def pick(of, name, *words):
    """The sum of the samples called `name` with all of these words in their labels, and their time."""
    chosen = [v for k, v in of.items() if k.split("{")[0] == name and all(word in k for word in words)]
    assert chosen, (name, words)
    return sum(value for value, _ in chosen), chosen[0][1]


def cadvisor(name):
    """On a busy machine cAdvisor omits containers for which it was late."""
    for _ in range(60):
        of = samples(cadvisor_port)
        if any(series.startswith(name) and docker_id in series for series in of):
            break
        time.sleep(1)
    return pick(of, name, docker_id)


def metrics(name):
    return pick(samples(metrics_port), name, docker_id)[0]


def node(name, *words):
    return pick(samples(9100, within=True), name, *words)[0]


def inside(*command):
    """Runs a program in the container without runc, which would be counted there too."""
    tops = {memory_at, cpu_at, pids_at, io_at}
    enter = "".join(f"echo $$ >{group(top)}/cgroup.procs; " for top in sorted(tops) if top)
    enter += 'exec nsenter --all --target "$0" env LD_PRELOAD=/lab/libproclens.so "$@"'
    return run("sh", "-c", enter, pid1, *command)


def snmp(*oids):
    output = run("nsenter", "--net", "--target", pid1, "snmpget", "-t10", "-v2c", "-c", "public", "-Oqv", "-On",
               "udp:127.0.0.1:1610", *oids)
    return [float(line.strip('"').split()[0]) for line in output.splitlines()]


def zabbix(key):
    script = (
        "import socket, struct, sys; k = sys.argv[1].encode(); s = socket.create_connection(('127.0.0.1', 10050), 60); "
        "s.sendall(b'ZBXD\\1' + struct.pack('<Q', len(k)) + k); print(s.makefile('rb').read()[13:].decode())"
    )
    return float(run("nsenter", "--net", "--target", pid1, sys.executable, "-c", script, key))


def collectd(name, lines=1):
    """The values of the last lines, each with its time first."""
    text = "".join(read(path) for path in sorted(glob.glob(f"{work}/csv/inside/{name}-2*"))[-2:])
    rows = [line for line in text.splitlines() if not line.startswith("epoch")]
    assert len(rows) >= lines, (name, rows)
    return [[float(value) for value in row.split(",")] for row in rows[-lines:]]


def latest(name):
    [[when, value, *_]] = collectd(name)
    return value, when


def bytes_of(text):
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", text).groups()
    power = {"k": 1, "K": 1, "M": 2, "G": 3}.get(unit[0], 0)
    return float(number) * (1024 if "i" in unit else 1000) ** power


def docker():
    # On a slow machine the client gives up: "timeout waiting for stats".
    for _ in range(10):
        try:
            return json.loads(run("docker", "stats", "--no-stream", "--format", "{{json .}}", "busy"))
        except subprocess.CalledProcessError:
            time.sleep(1)
    raise AssertionError("docker stats has no answer")


def docker_cpu():
    """The container's CPU time and the host's, which `docker stats` divides, from Docker's API, and when it was asked."""
    begin = time.time()
    connection = http.client.HTTPConnection("docker", timeout=120)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))
    connection.request("GET", f"/containers/{docker_id}/stats?stream=0")
    cpu = json.load(connection.getresponse())["cpu_stats"]
    return cpu["cpu_usage"]["total_usage"], cpu["system_cpu_usage"], (begin, time.time())


def from_cadvisor(name):
    """The source of a figure that Debian's cAdvisor (0.38) looks for under its name of v1; it reports 0 on v2."""
    return {} if v2 else {"cAdvisor": (lambda: cadvisor(name), 1, 0)}


def host_ticks():
    """The host's CPU time without steal, as docker stats adds it."""
    with open("/proc/stat", encoding="ascii") as file:
        return sum(map(int, file.readline().split()[1:8]))


def show():
    rows = json.loads(run(f"{work}/proclens", "show", "--all", "--json"))
    [row] = [row for row in rows if docker_id in row["cgroup"]]
    return row


def free():
    fields = inside("free", "-b", "-w").splitlines()[1].split()[1:]
    return dict(zip(("total", "used", "free", "shared", "buffers", "cache", "available"), map(int, fields)))


def top():
    # The second reading: the records then contain the memory that top uses for itself.
    output = inside("top", "-b", "-n", "2", "-d", "2", "-w", "200")
    found = re.findall(r"MiB Mem : +([0-9.]+) total, +([0-9.]+) free, +([0-9.]+) used, +([0-9.]+) buff/cache", output)
    return [float(value) * MIB for value in found[-1]]


def vmstat():
    lines = inside("vmstat", "-s").splitlines()
    return {line.strip().split(" K ")[1]: int(line.split()[0]) * KIB for line in lines if " K " in line}


# --- the comparison ---

results = {}  # what `compare` found: by title, the function that prints a value, and the results by source


def compare(title, percent, digits, unit, found, slack=0):
    """`found`: for each source its value, the least and the most value of the cgroup, and its rounding.
    `slack`: the difference of least and most that always counts as none. Keeps what agreed in an earlier round. Returns
    true if all sources agree."""
    text = lambda value: f"{value / unit:.{digits}f}"
    _, by_source = results.setdefault(title, (text, {}))
    for source, (value, least, most, rounding) in found.items():
        middle = (least + most) / 2
        off = max(least - value, value - most, 0) - rounding
        difference = max(off, 0) / max(abs(middle), 1e-9) * 100
        width = (most - least) / max(abs(middle), 1e-9) * 100
        what = f"{title}: {source} has {text(value)}, the cgroup {text(least)} to {text(most)}"
        print(f"{what}, {difference:.2f} %", file=sys.stderr)
        wrong = ""
        if difference > percent:
            wrong = f"{what}: they differ by {difference:.1f} %"
        if width > 2 * percent and most - least > 2 * rounding + slack:
            wrong = f"{what}: it changed too much to tell"
        if source not in by_source or by_source[source][0]:
            by_source[source] = wrong, value, middle, difference
    return not any(wrong for wrong, *_ in by_source.values())


def until_all_agree(measure):
    """Measures up to four times, until all sources agree. A source that is wrong disagrees each time."""
    for _ in range(4):
        if measure():
            break


def gauges(*arguments, **options):
    until_all_agree(lambda: gauges_once(*arguments, **options))


def gauges_once(title, name, sources, percent=1, digits=1, unit=MIB, slack=0):
    """`sources`: for each the function that reads it, the seconds for which it may cache a value, and its rounding."""
    found = {}
    for source, (reader, age, rounding) in sources.items():
        best = None
        for _ in range(8):
            begin = time.time()
            value = reader()
            end = time.time()
            if isinstance(value, tuple):
                value, when = value
                if when is not None:
                    begin, end = when - 0.5, when + 0.5
            least, most = between(begin - age, end, name)
            if best is None or most - least < best[2] - best[1]:
                best = value, least, most, rounding
            if best[2] - best[1] <= abs(best[2]) * percent / 100:
                break
            time.sleep(1)
        found[source] = best
    return compare(title, percent, digits, unit, found, slack)


def cpu():
    """CPUs used: for each source its value, and when its window began and ended."""

    def counter(reader):
        best = None
        for _ in range(5):
            value, when = reader()
            bracket = (when - 0.1, when + 0.1) if when else requested
            if best is None or bracket[1] - bracket[0] < best[1][1] - best[1][0]:
                best = value, bracket
            if bracket[1] - bracket[0] < 0.3:
                break
        return best

    def snmp_busy():
        # ssCpuRawUser, Nice, System, in ticks of all CPUs. snmpd renews them every few seconds: wait for that.
        oids = [f".1.3.6.1.4.1.2021.11.{n}.0" for n in (50, 51, 52)]
        last = time.time()
        before = snmp(*oids)
        for _ in range(400):
            begin = time.time()
            after = snmp(*oids)
            if after != before:
                return sum(after) / 100, (last, time.time())
            last = begin
            time.sleep(0.05)
        raise AssertionError("snmpd keeps its counters")

    def node_busy():
        of = samples(9100, within=True)
        return sum(pick(of, "node_cpu_seconds_total", f'mode="{m}"')[0] for m in ("user", "nice", "system")), None

    counters = {
        "cAdvisor": lambda: counter(lambda: cadvisor("container_cpu_usage_seconds_total")),
        "`metrics`": lambda: counter(lambda: (metrics("container_cpu_usage_seconds_total"), None)),
        "node_exporter": lambda: counter(node_busy),
        "snmpd": snmp_busy,
    }
    found = {}
    begun = time.time()
    # docker stats prints a line at any time; each is about the last second. On a slow machine it fails, so it runs in a loop.
    # In the VM it prints almost none ("timeout waiting for stats"). There, apply its formula to the whole window.
    ticks, lines = host_ticks(), []
    if v2:
        of_docker = docker_cpu()
    else:
        stats = subprocess.Popen(["sh", "-c", "while :; do docker stats --format '{{.CPUPerc}}' busy; sleep 1; done"],
                                 stdout=subprocess.PIPE, text=True, start_new_session=True)
        threading.Thread(target=lambda: lines.extend((time.time(), line) for line in stats.stdout), daemon=True).start()

    def columns(source, command, seconds):
        begin = time.time()
        output = inside(*command)
        end = time.time()
        found[source] = output, (begin, max(end - seconds, begin)), (begin + seconds, max(end, begin + seconds))

    waiting = [threading.Thread(target=columns, args=args) for args in (
        ("top", ("top", "-b", "-n", "2", "-d", str(WINDOW), "-w", "200"), WINDOW),
        ("vmstat", ("vmstat", str(WINDOW), "2"), WINDOW))]
    for thread in waiting:
        thread.start()
    before = {source: reader() for source, reader in counters.items()}
    time.sleep(WINDOW)
    after = {source: reader() for source, reader in counters.items()}
    for thread in waiting:
        thread.join()
    if v2:
        cpu_ns, host_ns, asked = docker_cpu()
    else:
        os.killpg(stats.pid, signal.SIGKILL)
    # docker stats divides by the CPU time that the host counted, which in an emulated machine is less than passed.
    host = (host_ticks() - ticks) / os.sysconf("SC_CLK_TCK") / os.cpu_count() / (time.time() - begun)
    print(f"the host counted {host:.3f} of its CPUs' time", file=sys.stderr)
    tops, *window = found["top"]
    tops = re.findall(r"^%Cpu\(s\): +([0-9.]+) us, +([0-9.]+) sy, +([0-9.]+) ni", tops, re.M)[-1]
    found["top"] = sum(map(float, tops)) / 100 * CPUS, *window, 0.1 / 100 * CPUS
    output, *window = found["vmstat"]
    fields = output.splitlines()[-1].split()
    # Whole percents; two values are added.
    found["vmstat"] = (int(fields[12]) + int(fields[13])) / 100 * CPUS, *window, 1 / 100 * CPUS
    for source, (value, begins) in before.items():
        until, ends = after[source]
        found[source] = until - value, begins, ends, 0.01
    values = [float(line[1]) / 100 for line in
              ((at, re.search(r"([0-9.]+)%", text).group(1)) for at, text in lines if re.search(r"[1-9][0-9.]*%", text))]
    if v2:
        found["docker stats"] = (host * CPUS * (cpu_ns - of_docker[0]) / (host_ns - of_docker[1]), of_docker[2], asked, 0.0001)
    else:
        found["docker stats"] = (host * sum(values) / len(values), (begun, lines[0][0]), (lines[-1][0] - 1, lines[-1][0]), 0.0001)
    # The agent's collector measures every second, and reports the mean of a minute.
    begin = time.time()
    value = sum(zabbix(f"system.cpu.util[,{m}]") for m in ("user", "nice", "system")) / 100 * CPUS
    end = time.time()
    found["zabbix_agentd"] = value, (begin - 61, end - 60), (begin - 1, end), 0.0001
    rows = [collectd(f"cpu/percent-{m}", 4) for m in ("user", "nice", "system")]
    value = sum(row[1] for mode in rows for row in mode) / 4 / 100 * CPUS
    first, last = rows[0][0][0] - 10, rows[0][-1][0]
    found["collectd"] = value, (first - 0.2, first + 0.2), (last - 0.2, last + 0.2), 0.0001
    shown = []
    for _ in range(9):
        begin = time.time()
        value = show()["cpu_percent"] / 100
        end = time.time()
        # It measures for 0.2 s, or 0.1 s at least.
        shown.append((value, (begin, end - 0.1), (begin + 0.1, end), 0))
    spread = lambda one: (lambda least, most: most - least)(*rates(one[1], one[2]))
    found["`show --all`"] = min(shown, key=spread)  # the one whose time is known best
    for source, (value, begins, ends, rounding) in found.items():
        if source not in counters:
            found[source] = value, *rates(begins, ends), rounding
            continue
        # A counter rose by what the cgroup used between these moments.
        least, most = busy_until(ends[0]) - busy_until(begins[1]), busy_until(ends[1]) - busy_until(begins[0])
        seconds = sum(ends) / 2 - sum(begins) / 2
        found[source] = value / seconds, least / seconds, most / seconds, rounding / seconds
    return compare("CPU time, CPUs", 3, 2, 1, found)


def loads():
    """Load averages: nothing outside proclens counts them. The other values are between two values of proclens."""
    others = {
        "`metrics`": lambda: (metrics("proclens_load1"), None),
        "uptime, top": lambda: (float(re.search(r"load average: ([0-9.]+)", inside("uptime")).group(1)), None),
        "zabbix_agentd": lambda: (zabbix("system.cpu.load[all,avg1]"), None),
        "snmpd": lambda: (snmp(".1.3.6.1.4.1.2021.10.1.3.1")[0], None),
        "node_exporter": lambda: (node("node_load1"), None),
        "collectd": lambda: latest("load/load"),
    }
    found, known = {}, []

    def note():
        known.append((time.time(), show()["load"][0]))

    for _ in range(5):
        note()
        time.sleep(3)
    for source, reader in others.items():
        begin = known[-1][0]
        value, when = reader()
        note()
        begin = min(begin, when - 6) if when else begin
        near = [load for at, load in known if at >= begin]
        found[source] = value, min(near), max(near), 0.006
    return compare("load average of a minute (`show --all`)", 1, 2, 1, found)


# Wait until the load average of a minute is almost constant. Zabbix and collectd report means of the last minute.
time.sleep(max(float(settle), 65))
until_all_agree(cpu)
now, slow = 0, 6  # seconds; snmpd caches its values
limits = {
    "docker stats": bytes_of(docker()["MemUsage"].split(" / ")[1]), "cAdvisor": cadvisor("container_spec_memory_limit_bytes")[0],
    "`show --all`": show()["memory_limit"], "`metrics`": metrics("proclens_memory_total_bytes"), "free": free()["total"],
    "top": top()[0], "vmstat": vmstat()["total memory"], "zabbix_agentd": zabbix("vm.memory.size[total]"),
    "snmpd": snmp(".1.3.6.1.4.1.2021.4.5.0")[0] * KIB, "node_exporter": node("node_memory_MemTotal_bytes"),
}
compare("memory limit, MiB", 1, 1, MIB, {source: (value, limit, limit, 0) for source, value in limits.items()})
gauges("memory without inactive page cache, MiB", "working", {
    "docker stats": (lambda: bytes_of(docker()["MemUsage"].split(" / ")[0]), 3, 0.05 * MIB),
    "cAdvisor": (lambda: cadvisor("container_memory_working_set_bytes"), 1, 0),
    "`show --all`": (lambda: show()["memory_used"], now, 0),
    "`metrics`": (lambda: metrics("container_memory_working_set_bytes"), now, 0)})


def used_of_metrics():
    of = samples(metrics_port)
    return pick(of, "proclens_memory_total_bytes", docker_id)[0] - pick(of, "proclens_memory_available_bytes", docker_id)[0]


def used_of_node():
    of = samples(9100, within=True)
    return pick(of, "node_memory_MemTotal_bytes")[0] - pick(of, "node_memory_MemAvailable_bytes")[0]


gauges("memory that is not available, MiB", "unavailable", {
    "`show --all`": (lambda: limit - show()["memory_available"], now, 0),
    "`metrics`": (used_of_metrics, now, 0),
    "free": (lambda: limit - free()["available"], now, 0),
    "zabbix_agentd": (lambda: limit - zabbix("vm.memory.size[available]"), now, 0),
    "node_exporter": (used_of_node, now, 0)})
gauges("free memory, MiB", "free", {
    "`metrics`": (lambda: metrics("proclens_memory_free_bytes"), now, 0),
    "free": (lambda: free()["free"], now, 0), "top": (lambda: top()[1], now, 0.05 * MIB),
    "vmstat": (lambda: vmstat()["free memory"], now, 0), "zabbix_agentd": (lambda: zabbix("vm.memory.size[free]"), now, 0),
    "snmpd": (lambda: snmp(".1.3.6.1.4.1.2021.4.6.0")[0] * KIB, slow, 0),
    "collectd": (lambda: latest("memory/memory-free"), now, 0),
    "node_exporter": (lambda: node("node_memory_MemFree_bytes"), now, 0)})
# free and vmstat count reclaimable kernel memory as cache.
gauges("page cache, MiB", "cache", {
    **from_cadvisor("container_memory_cache"),
    "`metrics`": (lambda: metrics("container_memory_cache"), now, 0),
    "free": (lambda: free()["cache"] - counted()["slab"], now, 0),
    "vmstat": (lambda: vmstat()["swap cache"] - counted()["slab"], now, 0),
    "zabbix_agentd": (lambda: zabbix("vm.memory.size[cached]"), now, 0),
    "snmpd": (lambda: snmp(".1.3.6.1.4.1.2021.4.15.0")[0] * KIB, slow, 0),
    "collectd": (lambda: latest("memory/memory-cached"), now, 0),
    "node_exporter": (lambda: node("node_memory_Cached_bytes"), now, 0)})
gauges("anonymous memory, MiB", "anon", {
    **from_cadvisor("container_memory_rss"),
    "`metrics`": (lambda: metrics("container_memory_rss"), now, 0),
    "node_exporter": (lambda: node("node_memory_AnonPages_bytes"), now, 0)})
until_all_agree(loads)
gauges("processes and threads", "tasks", {
    "docker stats": (lambda: float(docker()["PIDs"]), 3, 0), "cAdvisor": (lambda: cadvisor("container_threads"), 1, 0),
    "`show --all`": (lambda: show()["tasks"], now, 0), "`metrics`": (lambda: metrics("container_threads"), now, 0)},
    digits=0, unit=1, slack=1)
gauges("written to disk, MiB", "written", {
    "docker stats": (lambda: bytes_of(docker()["BlockIO"].split(" / ")[1]), 3, 0.05e6),
    **from_cadvisor("container_fs_writes_bytes_total"),
    "`metrics`": (lambda: metrics("container_fs_writes_bytes_total"), now, 0),
    "node_exporter": (lambda: node("node_disk_written_bytes_total"), now, 0)})

print(f"| cgroup {mode} | the cgroup's files | the others, from least to most | largest difference | sources |")
print("| --- | --- | --- | --- | --- |")
failed = []
for title, (text, by_source) in results.items():
    values = [value for _, value, _, _ in by_source.values()]
    middles = sorted(middle for _, _, middle, _ in by_source.values())
    print(f"| {title} | {text(middles[len(middles) // 2])} | {text(min(values))} to {text(max(values))} "
          f"| {max(difference for *_, difference in by_source.values()):.1f} % | {', '.join(by_source)} |")
    failed += [wrong for wrong, *_ in by_source.values() if wrong]
print("\n".join(failed), file=sys.stderr)
sys.exit(bool(failed))
