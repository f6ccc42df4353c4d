# lib.sh: the functions that the lab's programs share. bash programs source this file.
#
# - `need`: installs programs, with the table of Debian packages that contain them;
# - `cgroup_at`, `cgroup_is`: where each cgroup controller is mounted on this machine, v1, v2 or hybrid;
# - `check`: one check that passes or fails, for programs that end with `N passed, N failed, N skipped`;
# - `undo`: commands that run when a program ends, for whatever reason.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repo=$(cd "$here/../.." && pwd -P)
cache=${PROCLENS_LAB_CACHE:-/var/cache/proclens-lab}
# The directory for cargo's output. cargo runs in the clone, so a relative path is relative to the clone.
target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$repo/$target ;; esac
me=$(basename "$0")

say() { printf '%s: %s\n' "$me" "$*" >&2; }
die() { say "$*"; exit "${status:-1}"; }

# The comment block at the top of a program is its help text.
usage() { sed -n '2,/^[^#]/{/^#/!q;s/^# \{0,1\}//p}' "$0"; exit "${1:-0}"; }

is_count() { [[ $1 =~ ^[1-9][0-9]*$ ]]; }
is_decimal() { [[ $1 =~ ^[0-9]+(\.[0-9]*)?$|^\.[0-9]+$ ]]; }

# preloadable FILE: copies FILE into the caller's $work, so that LD_PRELOAD can name it: in LD_PRELOAD spaces and
# colons are separators. Pages that are not on the disk yet would count as a program's dirty memory.
preloadable() {
  case $work in *[[:space:]:]*) die "needs a TMPDIR without spaces and colons: LD_PRELOAD cannot name $work" ;; esac
  local name=${1##*/}
  name=$work/${name//[[:space:]:]/_}
  install -m 755 "$1" "$name" && sync "$name" && echo "$name"
}

# --- packages ---------------------------------------------------------------

# program -> Debian package; a program that is not listed has its package's name.
package_of() {
  case $1 in
    free | top | vmstat | uptime | ps) echo procps ;;
    iostat | mpstat | sar) echo sysstat ;;
    lstopo-no-graphics) echo hwloc-nox ;;
    unshare | setpriv | prlimit | setarch | taskset | nsenter | mount) echo util-linux ;;
    qemu-system-x86_64) echo qemu-system-x86 ;;
    qemu-system-aarch64) echo qemu-system-arm ;;
    dockerd) echo docker.io ;;
    ctr) echo containerd ;;
    # Newer Debians have the client in a package of its own; the package `docker` is another program.
    docker) if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; else echo docker.io; fi ;;
    mkfs.ext4) echo e2fsprogs ;;
    promtool) echo prometheus ;;
    zabbix_agentd) echo zabbix-agent ;;
    collectd) echo collectd-core ;;
    snmpget | snmpwalk) echo snmp ;;
    musl-gcc) echo musl-tools ;;
    cc | gcc) echo gcc ;;
    fusermount3) echo fuse3 ;;
    setcap) echo libcap2-bin ;;
    aarch64-linux-gnu-gcc) echo gcc-aarch64-linux-gnu ;;
    x86_64-linux-gnu-gcc) echo gcc-x86-64-linux-gnu ;;
    qemu-*-static) echo qemu-user-static ;;
    ld.lld) echo lld ;;
    redis-benchmark) echo redis-tools ;;
    xz) echo xz-utils ;;
    depmod | modprobe) echo kmod ;;
    s6-svscan) echo s6 ;;
    supervisord) echo supervisor ;;
    nginx) echo nginx-light ;;
    java | javac | jlink) echo default-jdk-headless ;;
    node) echo nodejs ;;
    R) echo r-base-core ;;
    perf) echo linux-perf ;;
    lttng) echo lttng-tools ;;
    dpkg-source) echo dpkg-dev ;;
    *) echo "$1" ;;
  esac
}

# debian_processor x86_64|aarch64: Debian's name of that processor, which is Docker's name too.
debian_processor() { case $1 in x86_64) echo amd64 ;; aarch64) echo arm64 ;; *) echo "$1" ;; esac; }

# need PROGRAM...: installs the missing ones, in one run of apt. Waits for the lock of
# another apt.
need() {
  local missing=() p
  for p in "$@"; do command -v "$p" >/dev/null || missing+=("$(package_of "$p")"); done
  [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
  for p in "$@"; do command -v "$p" >/dev/null || die "needs $p ($(package_of "$p"))"; done
}

install_packages() {
  local list
  list=$(printf '%s\n' "$@" | sort -u | tr '\n' ' ')
  command -v apt-get >/dev/null || die "needs these packages, and there is no apt-get to install them: $list"
  [ "$(id -u)" = 0 ] || die "needs these packages (as root: apt-get install $list)"
  say "installing $list"
  # shellcheck disable=SC2086 # a list of names
  quiet_apt install $list || { quiet_apt update && quiet_apt install $list; } ||
    die "apt-get could not install $list"
}

quiet_apt() {
  local verb=$1 out
  shift
  out=$(DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
    --no-install-recommends "$verb" "$@" 2>&1) || { printf '%s\n' "$out" | tail -n 5 >&2; return 1; }
}

# need_file FILE PACKAGE: as need, for a file that is not a program (headers, a Python module)
need_file() { [ -e "$1" ] || install_packages "$2"; [ -e "$1" ] || die "needs $1 ($2)"; }

# --- clean-up ---------------------------------------------------------------

undo_list=()
watched= watched_signal=TERM # see run_watched
# undo COMMAND, undo PROGRAM ARGUMENT...: runs it at the end, the last one first
undo() {
  [ $# = 1 ] || set -- "$(printf '%q ' "$@")"
  undo_list=("$1" "${undo_list[@]}")
}
undo_all() {
  local c
  trap '' INT TERM HUP
  [ -z "$watched" ] || { kill "-$watched_signal" "$watched"; wait "$watched"; } 2>/dev/null
  for c in "${undo_list[@]}"; do eval "$c"; done
  undo_list=()
}
# A program that makes things calls `undo_at_exit` once, then `undo` as often as needed.
# A signal can come just before bash runs the trap of EXIT; an `exit` would then end that trap.
undo_at_exit() {
  trap undo_all EXIT
  trap 'undo_all; exit 130' INT
  trap 'undo_all; exit 143' TERM
  trap 'undo_all; exit 129' HUP
}

# run_watched COMMAND...: runs COMMAND so that a signal to this program ends it at once
# (bash runs a trap only after the foreground command has ended). A function must
# `exec` its program, or the signal ends only its shell.
run_watched() {
  "$@" <&0 &
  watched=$!
  local rc=0
  wait "$watched" || rc=$?
  watched=
  return "$rc"
}

# True if the cargo tools of scripts/package are installed.
package_tools() {
  local tool
  PATH=$PATH:$target/tools/bin
  for tool in cargo-deb cargo-generate-rpm; do command -v "$tool" >/dev/null || return; done
}

# After `cargo test` or `cargo bench`: these replace the static tool of scripts/build by a dynamic one.
undo_cargo() { [ -n "${LAB_BUILT:-}" ] || undo '"$repo/scripts/build" >/dev/null 2>&1'; }

# podman_runtime FILE: makes a runtime for Podman that does not change process limits. Podman would raise them, which
# not every machine allows.
podman_runtime() {
  local runtime=crun
  cgroup_scan
  [ "$(cgroup_mode)" = v2 ] || runtime=runc # crun supports no hybrid
  need "$runtime" python3
  cat >"$1" <<RUNTIME
#!/bin/sh
bundle=\$(echo "\$*" | sed -n 's/.*--bundle \([^ ]*\).*/\1/p')
[ -z "\$bundle" ] || python3 - "\$bundle/config.json" <<PYTHON
import json, sys
config = json.load(open(sys.argv[1]))
config["process"].pop("rlimits", None)
json.dump(config, open(sys.argv[1], "w"))
PYTHON
exec $(command -v $runtime) "\$@"
RUNTIME
  chmod +x "$1"
}

# --- checks -----------------------------------------------------------------

# The numbers of the last line, for every program that sources this file.
passed=0 failed=0 skipped=0
# check NAME COMMAND...: passes if COMMAND and each of its steps succeed. The output goes to the caller's $work/output.
# A failed COMMAND runs once more: a failure that does not repeat has another cause, such as other work on the machine.
check() {
  local name=$1 try
  shift
  for try in 1 2; do
    # In a condition bash would ignore `set -e`.
    (set -e; "$@") >"$work/output" 2>&1
    if [ $? = 0 ]; then
      echo "ok $name"
      passed=$((passed + 1))
      return
    fi
    [ $try = 2 ] || echo "unsteady $name: $(tail -n 8 "$work/output"): once more"
  done
  echo "not ok $name: $(tail -n 8 "$work/output")"
  failed=$((failed + 1))
}

skip() { # skip NAME WHY
  echo "skipped: $1: $2"
  skipped=$((skipped + 1))
}

# within SECONDS COMMAND...: repeats COMMAND until it succeeds
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || { echo "$* did not succeed in time"; return 1; }
    sleep 0.2
  done
}

# --- cgroups ----------------------------------------------------------------

# cgroup_dir CONTROLLER: the mount point of that controller's hierarchy.
# cgroup_version CONTROLLER: 1 or 2. Both are empty if no hierarchy has the controller.
cgroup_scan() {
  local c
  while read -r line; do
    local left=${line%% - *} right=${line#* - } point
    # shellcheck disable=SC2086
    set -- $left
    point=$5
    # shellcheck disable=SC2086
    set -- $right
    case $1 in
      cgroup) for c in ${3//,/ }; do cgroup_at[$c]=$point cgroup_is[$c]=1; done ;;
      cgroup2) v2_root=$point ;;
    esac
  done </proc/self/mountinfo
  if [ -n "$v2_root" ]; then
    for c in $(cat "$v2_root/cgroup.controllers" 2>/dev/null); do
      [ -n "${cgroup_at[$c]:-}" ] || cgroup_at[$c]=$v2_root cgroup_is[$c]=2
    done
    # On v2 the CPU time is part of every cgroup.
    [ -n "${cgroup_at[cpuacct]:-}" ] || [ "${cgroup_is[cpu]:-}" != 2 ] ||
      cgroup_at[cpuacct]=$v2_root cgroup_is[cpuacct]=2
  fi
}
declare -A cgroup_at cgroup_is
v2_root=

# cgroup_mode: v1, v2, memory-v1 or cpu-v1 (hybrids, named by the controllers on v1), or none
cgroup_mode() {
  case ${cgroup_is[memory]:-}${cgroup_is[cpu]:-} in
    11) echo v1 ;;
    22) echo v2 ;;
    12) echo memory-v1 ;;
    21) echo cpu-v1 ;;
    *) echo none ;;
  esac
}

# bytes 1.5G -> 1610612736; fails for text that is not a size
bytes() {
  local unit=0
  case $1 in
    max | -1) echo max; return ;;
    *[Kk]) unit=10 ;;
    *[Mm]) unit=20 ;;
    *[Gg]) unit=30 ;;
  esac
  set -- "${1%[KkMmGg]}"
  is_decimal "$1" || return
  case $unit$1 in
    *.* | [!0]*) awk -v n="$1" -v unit=$unit 'BEGIN { printf "%.0f\n", int(n * 2 ^ unit) }' ;;
    *) echo "$1" ;; # awk's numbers have 53 bits
  esac
}

# put VALUE FILE: writes VALUE, and prints the kernel's error
put() {
  local err
  err=$( (echo "$1" >"$2") 2>&1) || { say "cannot write $1 to $2: ${err##*: }"; return 1; }
}
