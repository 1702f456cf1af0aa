package httpwire

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// acceptPause is the wait after an accept that failed for want of descriptors or
// memory, which the rest of the process may give back.
const acceptPause = 20 * time.Millisecond

// Accept hands what connects to l to take, one after the other, until closing is
// closed and l after it; then it returns nil. Another error of l ends it, unless that
// passes by itself.
func Accept(l net.Listener, closing <-chan struct{}, take func(net.Conn)) error {
	for {
		c, err := l.Accept()
		if err == nil {
			take(c)
			continue
		}
		select {
		case <-closing:
			return nil
		default:
		}
		if !isShortage(err) {
			return err
		}
		select {
		case <-time.After(acceptPause):
		case <-closing:
		}
	}
}

// isShortage tells whether an accept failed for a reason that passes.
func isShortage(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
