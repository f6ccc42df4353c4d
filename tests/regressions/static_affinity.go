// A Go program that saves its affinity mask, pins itself and restores the mask. Runs with a quota of 1 CPU and
// 2 CPUs or more allowed.
package main

import (
	"bytes"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

const words = 16

type mask [words]uint64

func call(number uintptr, set *mask) {
	if _, _, err := syscall.RawSyscall(number, 0, unsafe.Sizeof(*set), uintptr(unsafe.Pointer(set))); err != 0 {
		fmt.Println(err)
		os.Exit(1)
	}
}

func (set mask) count() (count int) {
	for _, word := range set {
		count += bits.OnesCount64(word)
	}
	return
}

// The kernel's own mask of this thread, as text.
func real() string {
	status, _ := os.ReadFile("/proc/thread-self/status")
	_, after, _ := bytes.Cut(status, []byte("\nCpus_allowed:\t"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return string(line)
}

func main() {
	runtime.LockOSThread()
	all := real()
	if all == "1" {
		os.Exit(77)
	}
	var seen, pinned mask
	fmt.Println("CPUs", runtime.NumCPU())
	call(syscall.SYS_SCHED_GETAFFINITY, &seen)
	fmt.Println("seen", seen.count())
	call(syscall.SYS_SCHED_SETAFFINITY, &seen)
	restored := real() == all
	// A CPU that is hidden from it.
	pinned[0] = seen[0] << 1
	call(syscall.SYS_SCHED_SETAFFINITY, &pinned)
	isPinned := real() == fmt.Sprintf("%x", pinned[0])
	call(syscall.SYS_SCHED_SETAFFINITY, &seen)
	fmt.Println("restored", restored && real() == all)
	fmt.Println("pinned", isPinned)
}
