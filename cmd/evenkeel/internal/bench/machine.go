package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

func machine() Machine {
	return Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), CPU: cpuName(), Go: runtime.Version(), Load: loadAverage()}
}

// cpuName is the processor's name, where the system tells it in a file.
func cpuName() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	_, rest, found := strings.Cut(string(info), "model name")
	if !found {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimLeft(line, " \t:")
}

// loadAverage is that of the last minute, where the system tells it in a file.
func loadAverage() float64 {
	averages, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(averages), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}
