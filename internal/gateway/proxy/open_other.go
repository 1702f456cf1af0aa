//go:build !unix

package proxy

// open cannot look here: a request finds out.
func (u *upstream) open() bool { return true }
