"""watcher.py SECONDS: one long-lived process that reads the virtual files all the time, by new descriptors
and by open ones, and prints "bad watcher: WHY" if a counter steps back, a text is incomplete, or
descriptors or memory leak."""

import os
import sys
import time


def bad(why):
    print("bad watcher:", why, flush=True)


def read(path):
    with open(path) as file:
        return file.read()


def resident():
    return int(read("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


end = time.monotonic() + float(sys.argv[1])
kept = {path: os.open(path, os.O_RDONLY) for path in ("/proc/stat", "/proc/uptime", "/proc/meminfo")}
last, rounds, descriptors, memory = {}, 0, None, None
while time.monotonic() < end:
    try:
        texts = {path: read(path) for path in ("/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/cpuinfo", "/proc/meminfo", "/proc/vmstat")}
        # In the order in which they are read: a later value must not be less.
        again = {path: os.pread(fd, 1 << 20, 0).decode() for path, fd in kept.items()}
    except OSError as error:
        # The machine itself may be out of descriptors or memory; then the kernel's files fail too.
        if error.errno not in (12, 23, 24):
            bad(f"{error}")
        continue
    for source in texts, again:
        row = [int(n) for n in source["/proc/stat"].splitlines()[0].split()[1:]]
        now = {"uptime": float(source["/proc/uptime"].split()[0])} | {f"stat field {i}": n for i, n in enumerate(row)}
        for name, value in now.items():
            if value < last.get(name, 0):
                bad(f"{name} from {last[name]} to {value}")
        last.update(now)
        if "DirectMap" not in source["/proc/meminfo"] and "HugePages" not in source["/proc/meminfo"]:
            bad("meminfo is incomplete")
    if not texts["/proc/cpuinfo"].endswith("\n") or len(texts["/proc/loadavg"].split()) != 5:
        bad("a text is incomplete")
    rounds += 1
    if rounds == 50:
        descriptors, memory = len(os.listdir("/proc/self/fd")), resident()
    time.sleep(0.02)
if rounds > 100:
    if len(os.listdir("/proc/self/fd")) > descriptors:
        bad(f"{len(os.listdir('/proc/self/fd'))} descriptors, {descriptors} before")
    if resident() > memory + (8 << 20):
        bad(f"{resident()} bytes resident, {memory} before")
with open("/run/soak/watcher.runs", "w") as file:
    print(rounds, file=file)
