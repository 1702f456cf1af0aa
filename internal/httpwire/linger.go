package httpwire

import (
	"net"
	"time"
)

// lingerTime and lingerQuiet bound how long a connection that is to be closed is
// read from: in all, and while nothing comes.
const (
	lingerTime  = 5 * time.Second
	lingerQuiet = 500 * time.Millisecond
)

// linger lets the peer read the last answer: closing a connection on which bytes
// have not been read destroys what is on its way (RFC 9112, section 9.6).
func linger(nc net.Conn) {
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	rest := make([]byte, 16<<10)
	now := time.Now()
	for until := now.Add(lingerTime); now.Before(until); now = time.Now() {
		if nc.SetReadDeadline(now.Add(min(lingerQuiet, until.Sub(now)))) != nil {
			return
		}
		if _, err := nc.Read(rest); err != nil {
			return
		}
	}
}

// Gently is l for a server that closes connections on which peers still send: until
// closing is closed, its connections let the peer read the last answer first, for up to
// five seconds, which Close then takes. l is of TCP.
func Gently(l net.Listener, closing <-chan struct{}) net.Listener { return gentle{l, closing} }

type gentle struct {
	net.Listener
	closing <-chan struct{}
}

// Accept implements net.Listener.
func (g gentle) Accept() (net.Conn, error) {
	nc, err := g.Listener.Accept()
	if tcp, ok := nc.(*net.TCPConn); ok && err == nil {
		return &gentleConn{tcp, g.closing}, nil
	}
	return nc, err
}

type gentleConn struct {
	*net.TCPConn
	closing <-chan struct{}
}

// Close implements net.Conn.
func (c *gentleConn) Close() error {
	select {
	case <-c.closing:
	default:
		if unread(c.TCPConn) {
			linger(c.TCPConn)
		}
	}
	return c.TCPConn.Close()
}
