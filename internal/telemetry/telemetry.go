// Package telemetry owns how the server tells an operator what it does: it
// builds the process logger, holds the Prometheus registry with every metric of
// the platform defined on one page (metrics.go), and sends traces of invocations
// and cold starts to an OTLP receiver (traces.go). It refuses to be the log of
// functions, which is the logs room, never takes a label value that a tenant can
// choose freely, and keeps no call waiting. The spine and the pool call its small
// methods.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger makes the process logger. Level is debug, info, warn or error;
// format is text or json.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %q: want text or json", format)
}
