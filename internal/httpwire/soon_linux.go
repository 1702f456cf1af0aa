package httpwire

import (
	"net"
	"runtime"
	"time"
)

// soon is how long a peer's answer is looked for before its reader goes to sleep.
// It is about what an application takes that has next to nothing to do, when its
// processor has to be woken for it.
const soon = 80 * time.Microsecond

// lookEvery is how often it is looked for: a look keeps from the socket what comes
// meanwhile.
const lookEvery = 2 * time.Microsecond

// answers decides whether it pays to look for what comes. While a lone request waits
// for its answer the processor has nothing else to do, and if it sleeps meanwhile,
// it is the waking that the answer waits for. The zero value never looks.
type answers struct {
	expected bool
	missed   uint8 // how often there was none, less how often there was one since
	skip     uint8 // how many answers are not looked for
}

// mostMissed bounds how many answers of a peer that takes longer are not looked for:
// one in 128 is. A peer that is quick only now and then counts as one that is not.
const mostMissed = 7

// worth tells whether to look for the next one, with so many requests under way.
func (a *answers) worth(requests int32) bool {
	switch {
	case !a.expected || requests != 1:
		return false
	case a.skip > 0:
		a.skip--
		return false
	}
	return true
}

// looked notes whether it has come soon.
func (a *answers) looked(found bool) {
	if found {
		a.missed -= min(a.missed, 1)
		return
	}
	a.missed = min(a.missed+1, mostMissed)
	a.skip = 1<<a.missed - 1
}

// Expect has reads of c, if Quick made it, look a moment for what may come at once,
// as long as there is no more than one request under way, and another processor for
// who answers. It is for connections whose reader has just asked for something.
func Expect(c net.Conn) net.Conn {
	if q, ok := c.(*quick); ok {
		q.answers.expected = runtime.NumCPU() > 1
	}
	return c
}
