// Package httpwire is HTTP/1.1 for the paths where net/http's server costs more
// than what it serves. [Reader] reads requests strictly (RFC 9112) and without
// garbage: whatever two readers could understand differently is refused. [Server]
// answers the requests that its owner picks with an ordinary http.Handler, and
// hands a connection that begins with any other request, with every byte read so
// far, to a net/http server. It knows no dialect and no route. The Runtime API
// stands on the reader, the front doors on the server; below it is only the
// standard library.
package httpwire

import (
	"errors"
	"io"
	"net/http"
)

// Error is why a request cannot be understood. The connection cannot be used any
// further.
type Error struct {
	Status int // to answer with
	Reason string
}

func (e *Error) Error() string { return e.Reason }

func bad(reason string) error { return &Error{http.StatusBadRequest, reason} }

// Errors that come from more than one place.
var (
	errHeaderSize = &Error{http.StatusRequestHeaderFieldsTooLarge, "request header too large"}
	errVersion    = &Error{http.StatusHTTPVersionNotSupported, "unsupported HTTP version"}
	errChunk      = bad("malformed chunk")
)

// Bounds that no caller has a use for setting, in bytes.
const (
	readBuffer = 4 << 10
	keepBuffer = 16 << 10 // of read buffer that a connection keeps between requests
	maxChunkEx = 256      // of a chunk's size line
	maxWaste   = 16 << 10 // of extensions of all chunks of a body
	// SmallBody is the size up to which a body is copied behind its head, to leave
	// in one write.
	SmallBody = 16 << 10
)

// noEOF is err for a place where the connection must not end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// IsToken tells whether s is a token, such as a header's name (RFC 9110, section
// 5.6.2).
func IsToken[T string | []byte](s T) bool {
	for i := range len(s) {
		if class[s[i]]&token == 0 {
			return false
		}
	}
	return len(s) > 0
}

// Classes of bytes.
const (
	token = 1 << iota // may be in a method or a header's name
	text              // may be in a header's value (RFC 9110, section 5.5)
	host              // may be in Host (RFC 3986, section 3.2), roughly
	plain             // stands for itself in a path
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[c] |= text
		}
	}
	set := func(chars string, kind uint8) {
		for i := range len(chars) {
			t[chars[i]] |= kind
		}
	}
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	set(alnum, token|host|plain)
	set("!#$%&'*+-.^_`|~", token)
	set("!$%&'()*+,;=:.-_~[]@", host)
	set("-._~$:@/", plain)
	return t
}()

// all tells whether every byte of b is of the class.
func all[T []byte | string](b T, kind uint8) bool {
	for i := range len(b) {
		if class[b[i]]&kind == 0 {
			return false
		}
	}
	return true
}
