package httpwire

import (
	"bytes"
	"io"
)

// buffer holds what was read of a connection: at its beginning the head of the
// current request, which stays where it is until the next one, then what was read
// ahead.
type buffer struct {
	in   io.Reader
	b    []byte
	keep int // b[:keep] is the head, or as much of it as has been read
	r, w int // b[r:w] has not been consumed
}

// next forgets the head and makes room for another.
func (b *buffer) next() {
	unread := b.b[b.r:b.w]
	switch {
	case len(b.b) > keepBuffer && len(unread) <= readBuffer, b.b == nil:
		b.b = make([]byte, readBuffer)
		fallthrough
	case b.r > 0:
		b.w = copy(b.b, unread)
	}
	b.r, b.keep = 0, 0
}

// fill waits for more bytes and reads them.
func (b *buffer) fill() error {
	if b.r == b.w {
		b.r, b.w = b.keep, b.keep
	}
	if b.w == len(b.b) {
		if b.r > b.keep {
			b.w = b.keep + copy(b.b[b.keep:], b.b[b.r:b.w])
			b.r = b.keep
		} else {
			b.b = append(b.b, make([]byte, len(b.b))...)
		}
	}
	n, err := b.in.Read(b.b[b.w:])
	b.w += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// line consumes a line of at most limit bytes and returns it without its end,
// which must be CR LF: readers differ in what else they take for one (RFC 9112,
// section 2.2). It is valid until the next fill. n is what it took of the buffer.
func (b *buffer) line(limit int) (line []byte, n int, err error) {
	for scanned := 0; ; {
		i := bytes.IndexByte(b.b[b.r+scanned:b.w], '\n')
		if i >= 0 {
			n = scanned + i + 1
			break
		}
		if scanned = b.w - b.r; scanned > limit+2 {
			return nil, 0, errHeaderSize
		}
		if err := b.fill(); err != nil {
			if scanned > 0 {
				err = noEOF(err)
			}
			return nil, 0, err
		}
	}
	if n > limit+2 {
		return nil, 0, errHeaderSize
	}
	line, ok := bytes.CutSuffix(b.b[b.r:b.r+n], []byte("\r\n"))
	b.r += n
	if !ok {
		return nil, 0, bad("line ends without CR")
	}
	return line, n, nil
}

// Read takes what is buffered, else reads from the connection; a large read goes
// past the buffer.
func (b *buffer) Read(p []byte) (int, error) {
	if b.r == b.w {
		if len(p) >= readBuffer {
			return b.in.Read(p)
		}
		if err := b.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.b[b.r:b.w])
	b.r += n
	return n, nil
}
