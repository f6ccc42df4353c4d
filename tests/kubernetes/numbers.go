// numbers: the CPUs and the memory limit of the Go runtime.
package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

func main() {
	fmt.Printf("cpus %d memory %d\n", runtime.GOMAXPROCS(0), debug.SetMemoryLimit(-1))
}
