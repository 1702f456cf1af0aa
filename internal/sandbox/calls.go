package sandbox

import (
	"net"

	"lambent.dev/lambent"
)

// APIAddress is where the process in a sandbox finds the Runtime API and, at the same
// place, the one that everybody calls: each sandbox has a loopback of its own.
const APIAddress = "127.0.0.1:9001"

// CallsAddress is where the process of v finds the API that everybody calls. An
// application has no Runtime API, and expects that ports are free which programs use:
// it has one that none is known for, or the next one if that is its own.
func CallsAddress(v *lambent.Version) string {
	const port = 29001
	switch {
	case v.App == nil:
		return APIAddress
	case v.App.Port == port:
		return "127.0.0.1:29002"
	}
	return "127.0.0.1:29001"
}

// Caller is an instance as somebody who calls the API.
type Caller struct {
	ID      string
	Version *lambent.Version
	// Trace is the tracing header of the invocation that the instance has, or had
	// last; "" before the first, and of an application, which has many at once.
	Trace func() string
}

// Calls is asked once for each instance for who takes the connections on which its
// function calls the API. Such a connection is take's to close; a driver closes it,
// too, when the instance ends. take must not wait for the other side.
type Calls func(from Caller) (take func(c net.Conn))
