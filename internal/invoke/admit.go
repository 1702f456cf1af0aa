package invoke

import (
	"sync"
	"sync/atomic"

	"lambent.dev/lambent"
)

// admission counts the calls inside the platform against the account's limit
// and the functions' reserved concurrency. A call of a function with a
// reservation counts against that alone, as on AWS, where the reservation is
// taken out of the account's limit beforehand.
type admission struct {
	limit   int64
	running atomic.Int64

	mu       sync.Mutex // guards reserved
	reserved map[functionKey]int
}

type functionKey struct{ namespace, function string }

// enter admits a call of v, or refuses it with CodeThrottled. The returned
// function is called when the call is over.
func (a *admission) enter(v *lambent.Version, reserved *int) (func(), error) {
	if reserved == nil {
		if a.running.Add(1) > a.limit {
			a.running.Add(-1)
			return nil, throttled("ConcurrentInvocationLimitExceeded")
		}
		return func() { a.running.Add(-1) }, nil
	}
	k := functionKey{v.Namespace, v.Function}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reserved[k] >= *reserved {
		return nil, throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
	}
	if a.reserved == nil {
		a.reserved = make(map[functionKey]int)
	}
	a.reserved[k]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.reserved[k]--; a.reserved[k] == 0 {
			delete(a.reserved, k)
		}
	}, nil
}

func throttled(reason string) error {
	return lambent.Errorf(lambent.CodeThrottled, "Rate Exceeded.").WithReason(reason)
}
