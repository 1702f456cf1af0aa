package server

import (
	"context"

	"lambent.dev/lambent/internal/telemetry"
)

// openTraces starts to send traces, where there is somebody to take them. It comes
// before all that is traced, so that it ends after it.
func (s *Server) openTraces(context.Context) (err error) {
	c := s.config.Traces
	s.traces, err = telemetry.NewTraces(telemetry.TraceOptions{
		Endpoint: c.Endpoint, Service: c.Service, Sample: c.Sample,
		Region: s.config.Region, Metrics: s.metrics, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.traces.Close)
	return nil
}
