package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/uuid"
)

// Addresses tells where the server answers. Valid after New.
func (s *Server) Addresses() Addresses {
	a := Addresses{API: "http://" + s.api.Addr().String(), Gateway: "http://" + s.gateway.Addr().String()}
	if s.tls != nil {
		a.TLS = "https://" + s.tls.Addr().String()
	}
	return a
}

func (s *Server) endpointsFile() string { return filepath.Join(s.config.Data, "endpoints.json") }

// announce writes endpoints.json, whose presence tells other programs that the
// server is ready, and marks it so.
func (s *Server) announce() error {
	body, err := json.MarshalIndent(s.Addresses(), "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", s.endpointsFile(), err)
	}
	temp := s.endpointsFile() + ".tmp"
	if err := os.WriteFile(temp, append(body, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", temp, err)
	}
	if err := os.Rename(temp, s.endpointsFile()); err != nil {
		return fmt.Errorf("write %s: %w", s.endpointsFile(), err)
	}
	s.ready.Store(true)
	if s.hooks.Ready != nil {
		s.hooks.Ready(s.Addresses())
	}
	return nil
}

// plain is the part of a network error that a person can act on.
func plain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return errors.New("address already in use; is another server running? (--listen and --gateway choose other ones, port 0 a free one)")
	}
	return err
}

// closeListener closes l unless the HTTP server has done so already.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// newInstanceID makes the 32 hex digits that name an instance and its log stream.
func newInstanceID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }
