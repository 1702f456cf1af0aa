package linux

import (
	"context"
	"net"
	"net/netip"
	"time"

	"lambent.dev/lambent/internal/runtimeapi"
	"lambent.dev/lambent/internal/sandbox"
)

// telemetryBudget is how much memory all instances together may have the server hold
// for extensions that take telemetry, in bytes. What exceeds it is dropped, and told of.
const telemetryBudget = 64 << 20

// runtimeAPI is runtimeAPIAddress.
var runtimeAPI = netip.MustParseAddrPort(runtimeAPIAddress)

// telemetry is what the session needs to serve the Telemetry API.
func (i *Instance) telemetry(spec sandbox.Spec) runtimeapi.Telemetry {
	return runtimeapi.Telemetry{Port: int(runtimeAPI.Port()), Budget: i.driver.telemetry, Begun: spec.Begun,
		Objects: spec.Version.Logging.Format == "JSON",
		Dial: func(ctx context.Context, port int) (net.Conn, error) {
			return dialIn(ctx, i.network(), netip.AddrPortFrom(runtimeAPI.Addr(), uint16(port)))
		},
		Tap: func() { i.tap(spec.Output) },
	}
}

// tap has the session see what the function and its extensions write from now on.
func (i *Instance) tap(to sandbox.Output) {
	i.output.redirect(&tee{i: i, to: to})
	if i.aside != nil {
		i.aside.redirect(&tee{i: i, to: to, extension: true})
	}
}

// tee passes lines on, and shows them to the session.
type tee struct {
	i         *Instance
	to        sandbox.Output
	extension bool
}

func (t *tee) WriteLine(at time.Time, p []byte) {
	t.i.writing.Lock()
	t.to.WriteLine(at, p)
	t.i.writing.Unlock()
	t.i.session.Line(at, t.extension, p)
}

// Listening is the session's.
func (i *Instance) Listening() bool { return i.session.Listening() }

// Tell is the session's, too.
func (i *Instance) Tell(event []byte) { i.session.Tell(event) }

// freezePatience is for extensions that do not take what they have asked for.
const freezePatience = time.Second

// holdTelemetry has extensions get what there is before they are frozen.
func (i *Instance) holdTelemetry() {
	ctx, cancel := context.WithTimeout(context.Background(), freezePatience)
	defer cancel()
	i.session.Pause(ctx)
}

// lastTelemetry has them get it before they are told of the end, for at most so long.
func (i *Instance) lastTelemetry(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	i.session.Resume()
	i.session.Flush(ctx)
}
