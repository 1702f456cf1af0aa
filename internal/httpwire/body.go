package httpwire

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// Ended tells whether the body has been read to its end.
func (r *Reader) Ended() bool { return r.ended }

// Read reads the body. The client is told to send it first, if it waits for that.
func (r *Reader) Read(p []byte) (int, error) {
	switch {
	case r.ended:
		return 0, io.EOF
	case r.broken:
		return 0, errBroken
	case len(p) == 0:
		return 0, nil
	}
	n, err := r.read(p)
	r.broken = err != nil && !r.ended
	return n, err
}

// Ready tells that Read will not wait for the peer, because more of the body has
// been read ahead. Near the end of the body it may be false although that is so.
func (r *Reader) Ready() bool {
	if r.ended || r.broken || r.Head.Expect {
		return false
	}
	ahead := r.buf.b[r.buf.r:r.buf.w]
	if !r.Head.Chunked || r.left > 0 {
		return len(ahead) > 0
	}
	if r.chunk {
		var whole bool
		if ahead, whole = bytes.CutPrefix(ahead, []byte("\r\n")); !whole {
			return false
		}
	}
	size, data, whole := bytes.Cut(ahead, []byte("\n"))
	return whole && len(data) > 0 && !bytes.HasPrefix(size, []byte("0")) // trailers follow the last chunk
}

// here tells that the body is of a known length, and that all of it was read ahead.
func (r *Reader) here() bool {
	return r.ended || !r.broken && !r.Head.Chunked && !r.Head.Expect && int64(r.buf.w-r.buf.r) >= r.left
}

// errBroken follows an error of a body.
var errBroken = errors.New("the body broke off")

func (r *Reader) read(p []byte) (int, error) {
	if r.Head.Expect {
		r.Head.Expect = false
		if _, err := io.WriteString(r.out, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return 0, err
		}
	}
	if r.Head.Chunked && r.left == 0 {
		if err := r.nextChunk(); err != nil {
			return 0, noEOF(err)
		}
		if r.ended {
			return 0, io.EOF
		}
	}
	n, err := r.buf.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if r.left == 0 && !r.Head.Chunked {
		r.ended = true
	}
	if n > 0 {
		err = nil // it comes again
	}
	return n, noEOF(err)
}

// nextChunk reads the line that begins the next chunk, and after the last one
// the trailers.
func (r *Reader) nextChunk() error {
	r.budget = r.limits.Header
	if r.chunk {
		end, err := r.line()
		if err != nil {
			return err
		}
		if len(end) != 0 {
			return errChunk
		}
	}
	r.chunk = true
	line, err := r.line()
	if err != nil {
		return err
	}
	size, extension, _ := bytes.Cut(line, []byte(";"))
	r.waste += len(extension)
	if len(line) > maxChunkEx || r.waste > maxWaste { // nobody knows one: they only keep a reader busy
		return errChunk
	}
	if r.left, err = chunkSize(bytes.TrimRight(size, " \t")); err != nil {
		return err
	}
	if r.left > 0 {
		return nil
	}
	if err := r.trailers(); err != nil {
		return err
	}
	r.ended = true
	return nil
}

func chunkSize(b []byte) (int64, error) {
	if len(b) == 0 || len(b) > 15 {
		return 0, errChunk
	}
	var n int64
	for _, c := range b {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || c < '0' {
			return 0, errChunk
		}
		n = n<<4 | int64(digit)
	}
	return n, nil
}

func (r *Reader) trailers() error {
	for {
		line, err := r.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		f, err := parseField(line)
		if err != nil {
			return err
		}
		for i, wanted := range r.wanted {
			if is(line[:f.nameEnd], wanted) {
				r.values[i] = string(line[f.value:f.valueEnd])
			}
		}
	}
}

// Trailer is a trailer that NewReader was told to keep, once the body has ended.
func (r *Reader) Trailer(name string) string {
	for i, wanted := range r.wanted {
		if wanted == name {
			return r.values[i]
		}
	}
	return ""
}

// unwanted tells that it is not worth reading what is left of the body.
func (r *Reader) unwanted() bool {
	return !r.ended && (r.broken || r.Head.Expect || r.Head.Length > maxSkip)
}

// Skip reads what is left of the body, at most limit bytes, so that the next
// request can be read; it is false when the connection is no longer good for one.
func (r *Reader) Skip(limit int64) bool {
	if r.ended {
		return true
	}
	if r.Head.Expect { // nobody knows whether the body comes (RFC 9110, section 10.1.1)
		return false
	}
	_, err := io.CopyN(io.Discard, r, limit)
	return errors.Is(err, io.EOF)
}
