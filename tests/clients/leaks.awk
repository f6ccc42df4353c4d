# leaks.awk: the host's values that a program got, from `strace -ff -k -y`.
#
#   awk -v files='/proc/meminfo /proc/stat …' -v others='/proc/vmstat …' -f leaks.awk TRACE...
#
# One line per finding, KIND CALL WHAT ENTRY, where ENTRY is the function of libc that the
# program called (- if none), and KIND is
#   leak   the host's data or number where the library should have given the container's
#   other  data of a host's file that is not virtual
#   noise  libc read it for itself (qsort, malloc, pthread_getattr_np); the program does not see it
# The stack shows the library's own calls: the library is its first object that is not libc. If
# libc cannot be unwound (musl), a number counts as the library's if the next call comes from the
# library, which then corrects the number.

BEGIN {
  n = split(files, list, " "); for (i = 1; i <= n; i++) kind_of[list[i]] = "leak"
  n = split(others, list, " "); for (i = 1; i <= n; i++) kind_of[list[i]] = "other"
  noise = "^(__)?(qsort(_r)?|bsearch|pthread_getattr_np|pthread_create|malloc|calloc|realloc|free|memalign|posix_memalign|aligned_alloc|valloc|pvalloc|cfree)$"
}

FNR == 1 { classify(); report(); call = "" }

/^ > unexpected_backtracing_error/ { next }

/^ > / {
  object = substr($0, 4); sub(/\(.*| \[.*/, "", object); sub(/.*\//, "", object)
  if (waiting != "") { if (object ~ /^libproclens/) waiting = ""; report() }
  if (call == "" || classified) next
  if (object ~ /^(libc|libpthread|ld)[-.]/) {
    if (!outside) { entry = $0; if (entry !~ /\(/) entry = "-"; sub(/^[^(]*\(/, "", entry); sub(/[+)@].*/, "", entry) }
  } else if (!outside) outside = object
  next
}

{
  classify()
  call = "" 
  if (match($0, /^[a-z_0-9]+\(/)) start(substr($0, 1, RLENGTH - 1), $0)
}

END { classify(); report() }

function start(name, line,    result, rest, path) {
  outside = ""; entry = "-"; classified = 0; what = ""
  if (!match(line, /\) += -?[0-9]/)) return
  result = line; sub(/.*\) += /, "", result); result += 0
  if (name ~ /^(sysinfo|sched_getaffinity|io_uring_setup)$/) {
    if (result >= 0) { call = name; what = "-"; kind = "leak" }
    return
  }
  # Data of a descriptor; a call without data does not count.
  if (name ~ /^(p?readv?2?|pread64|sendfile|sendfile64|copy_file_range|splice|getdents64|mmap)$/) {
    if (result <= 0) return
    for (rest = line; match(rest, /<\/[^>]*>/); rest = substr(rest, RSTART + RLENGTH)) {
      path = substr(rest, RSTART + 1, RLENGTH - 2)
      if (path in kind_of) { call = name; what = path; kind = kind_of[path]; return }
    }
    return
  }
  # Names: an entry of the CPU directory that should be hidden.
  if (result >= 0 && match(line, /"[^"]*"/)) {
    path = substr(line, RSTART + 1, RLENGTH - 2)
    if (path in kind_of && path ~ /\/cpu[0-9]/) { call = name; what = path; kind = kind_of[path] }
  }
}

function classify() {
  if (call == "" || classified) return
  classified = 1
  if (outside ~ /^libproclens/) return
  if (entry ~ noise) kind = "noise"
  waiting = kind " " call " " what " " entry
  if (outside != "" || what != "-") report()
}

function report() {
  if (waiting != "") print waiting
  waiting = ""
}
