// Prints the numbers of gopsutil, which Telegraf and the OpenTelemetry collector use.
package main

import (
	"fmt"

	"github.com/shirou/gopsutil/cpu"
	"github.com/shirou/gopsutil/host"
	"github.com/shirou/gopsutil/load"
	"github.com/shirou/gopsutil/mem"
)

func main() {
	memory, _ := mem.VirtualMemory()
	cpus, _ := cpu.Counts(true)
	average, _ := load.Avg()
	up, _ := host.Uptime()
	fmt.Println("total", memory.Total/1024)
	fmt.Println("cpus", cpus)
	fmt.Println("load", average.Load1)
	fmt.Println("uptime", up)
}
