package server

import (
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestLeave is about how long a server that is replaced waits for clients whose
// connections it cannot hand over.
func TestLeave(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(c *callers, conn net.Conn)
		want    time.Duration
	}{
		"nobody":  {func(*callers, net.Conn) {}, callersLeast},
		"resting": {func(c *callers, conn net.Conn) { c.watch(conn, http.StateIdle); time.Sleep(time.Minute) }, callersLeast},
		"calling": {func(c *callers, conn net.Conn) { c.watch(conn, http.StateIdle); time.Sleep(time.Second / 2) }, lingering},
		"left":    {func(c *callers, conn net.Conn) { c.watch(conn, http.StateActive); c.watch(conn, http.StateClosed) }, callersLeast},
		"upgraded": {func(c *callers, conn net.Conn) {
			c.watch(conn, http.StateActive)
			c.watch(conn, http.StateHijacked)
		}, callersLeast},
		"leaving": {func(c *callers, conn net.Conn) {
			c.watch(conn, http.StateActive)
			time.AfterFunc(98*time.Millisecond, func() { c.watch(conn, http.StateClosed) })
		}, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				defer func() { _, _ = here.Close(), there.Close() }()
				clients := &callers{}
				c.prepare(clients, here)
				began := time.Now()
				clients.leave()
				if took := time.Since(began); took != c.want {
					t.Errorf("it waited %v, want %v", took, c.want)
				}
			})
		})
	}
}
