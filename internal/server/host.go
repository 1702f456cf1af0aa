package server

import (
	"math"

	"lambent.dev/lambent/internal/config"
)

// headroom tells how many MB the host can give to new instances and keep spare:
// what the kernel says is available without swapping (proc_meminfo(5)). Where
// that cannot be told, there is no such limit.
func headroom(spare config.Size) func() int {
	return func() int {
		available, ok := config.MemInfo("MemAvailable")
		if !ok {
			return math.MaxInt32
		}
		return int(available>>20) - int(spare>>20)
	}
}
