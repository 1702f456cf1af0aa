package server

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// callers are the clients' connections that net/http reads, which cannot be handed over
// to a successor.
type callers struct {
	mu   sync.Mutex             // guards used
	used map[net.Conn]time.Time // when each was last seen to be opened, or a request on it to begin or end
}

// watch is for [http.Server.ConnState].
func (c *callers) watch(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateHijacked, http.StateClosed:
		delete(c.used, conn)
	default:
		if c.used == nil {
			c.used = map[net.Conn]time.Time{}
		}
		c.used[conn] = time.Now()
	}
}

// Times of the wait for clients to leave: the least of it, within which who was accepted
// last has sent his request, and that between two looks.
const (
	callersLeast = 50 * time.Millisecond
	callersLook  = 5 * time.Millisecond
)

// leave returns when no connection is left that was used lately, that is within twice
// lingering; at the latest after lingering. Who has not called for so long is not
// likely to call just now.
func (c *callers) leave() {
	began := time.Now()
	time.Sleep(callersLeast)
	for c.since(began.Add(-2*lingering)) && time.Since(began) < lingering {
		time.Sleep(callersLook)
	}
}

// since tells whether there is a connection that was used after t.
func (c *callers) since(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, used := range c.used {
		if used.After(t) {
			return true
		}
	}
	return false
}
