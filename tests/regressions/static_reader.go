// Prints the values that a Go program reads: no call goes through libc.
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

func main() {
	var info syscall.Sysinfo_t
	syscall.Sysinfo(&info)
	fmt.Println("totalram", info.Totalram*uint64(info.Unit)/1024)
	fmt.Println("cpus", runtime.NumCPU())
	fmt.Println("maxprocs", runtime.GOMAXPROCS(0))
	file, _ := os.Open("/proc/uptime")
	first, sought, at := make([]byte, 64), make([]byte, 64), make([]byte, 64)
	file.Read(first)
	time.Sleep(50 * time.Millisecond)
	file.Seek(0, 0)
	file.Read(sought)
	fmt.Println("sought", string(first) != string(sought))
	time.Sleep(50 * time.Millisecond)
	file.ReadAt(at, 0)
	fmt.Println("at", string(sought) != string(at))
	text, _ := os.ReadFile("/proc/meminfo")
	fmt.Print(string(text))
}
