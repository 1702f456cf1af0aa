package server

import (
	"math"
	"os"
	"strconv"
	"strings"

	"lambent.dev/lambent/internal/config"
)

// headroom tells how many MB the host can give to new instances and keep spare:
// what the kernel says is available without swapping (proc_meminfo(5)). Where
// that cannot be told, there is no such limit.
func headroom(spare config.Size) func() int {
	return func() int {
		const name = "MemAvailable:"
		text, err := os.ReadFile("/proc/meminfo")
		if err != nil {
			return math.MaxInt32
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, name); ok {
				kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
				if err != nil {
					break
				}
				return kb>>10 - int(spare>>20)
			}
		}
		return math.MaxInt32
	}
}
