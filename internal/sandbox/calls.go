package sandbox

import (
	"net"

	"lambent.dev/lambent"
)

// APIAddress is where the process in a sandbox finds the Runtime API and, at the same
// place, the one that everybody calls: each sandbox has a loopback of its own.
const APIAddress = "127.0.0.1:9001"

// Caller is an instance as somebody who calls the API.
type Caller struct {
	ID      string
	Version *lambent.Version
	// Trace is the tracing header of the invocation that the instance has, or had
	// last; "" before the first.
	Trace func() string
}

// Calls is asked once for each instance for who takes the connections on which its
// function calls the API. Such a connection is take's to close; a driver closes it,
// too, when the instance ends. take must not wait for the other side.
type Calls func(from Caller) (take func(c net.Conn))
