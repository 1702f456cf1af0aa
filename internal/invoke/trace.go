package invoke

import (
	"lambent.dev/lambent/internal/pool"
	"lambent.dev/lambent/internal/telemetry"
)

// note tells a call's trace what it runs on.
func note(call *telemetry.Call, lease *pool.Lease) {
	if call == nil {
		return
	}
	cold, waited := lease.Cold()
	i := telemetry.Instance{Stream: cold.Stream, Thaw: lease.Thaw(), Failed: lease.Failed() != nil}
	if waited {
		start := cold.Trace()
		i.Cold = &start
	}
	call.Got(i)
}
