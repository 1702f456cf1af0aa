package httpwire

import (
	"bytes"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
)

// Limits bound what one request may cost, in bytes.
type Limits struct {
	Header int // of the request line and all header lines, and of all trailers
	Line   int // of one of these lines, without its end
}

// Head is the first part of a request, up to the empty line.
type Head struct {
	Method string
	// Target is as it was sent; it is valid until the next request.
	Target    []byte
	Length    int64 // of the body; -1 when it comes in chunks
	Old       bool  // HTTP/1.0
	KeepAlive bool  // the client wants to send more requests
	Expect    bool  // the client waits for 100 Continue before it sends the body
	Chunked   bool
	Host      []byte // valid until the next request

	lengthSeen, hostSeen bool
	preface              bool // it is the first line of HTTP/2 (RFC 9113, section 3.4)
}

// span is where a header line is in the buffer.
type span struct{ name, nameEnd, value, valueEnd int }

// Reader reads the requests of one connection, one after the other: the head by
// Next, the body by Read until io.EOF. It is for one goroutine at a time.
type Reader struct {
	Head   Head
	limits Limits
	out    io.Writer // gets 100 Continue
	buf    buffer
	budget int // bytes of header that may still come
	fields []span
	left   int64 // of the body, or of the chunk that is being read
	ended  bool  // the body has been read to its end
	chunk  bool  // a chunk was read
	waste  int   // bytes of chunk extensions so far
	broken bool  // the body cannot be read
	wanted []string
	values []string // of the wanted trailers
}

// NewReader reads requests from in and writes 100 Continue to out. Of trailers
// those that are named are kept.
func NewReader(in io.Reader, out io.Writer, limits Limits, trailers ...string) *Reader {
	return &Reader{out: out, limits: limits, buf: buffer{in: in}, wanted: trailers, values: make([]string, len(trailers))}
}

// Next reads the head of the next request; the body of the one before must have
// been read. The error is io.EOF when the connection ended between requests and
// an [*Error] when what came is no request.
func (r *Reader) Next() error {
	if err := r.nextLine(); err != nil {
		return err
	}
	if r.Head.preface {
		return errVersion
	}
	return noEOF(r.nextFields())
}

// nextLine reads the request line, the first part of Next.
func (r *Reader) nextLine() error {
	r.Head = Head{KeepAlive: true}
	r.budget, r.left, r.waste, r.ended, r.chunk, r.broken = r.limits.Header, 0, 0, false, false, false
	r.fields = r.fields[:0]
	clear(r.values)
	r.buf.next()
	line, err := r.line()
	if err != nil {
		return err
	}
	r.buf.keep = r.buf.r
	return r.requestLine(line)
}

// nextFields reads the header lines, the second part of Next.
func (r *Reader) nextFields() error {
	for {
		line, err := r.line()
		if err != nil {
			return err
		}
		at := r.buf.keep
		r.buf.keep = r.buf.r
		if len(line) == 0 {
			return r.frame()
		}
		f, err := parseField(line)
		if err != nil {
			return err
		}
		r.fields = append(r.fields, span{at, at + f.nameEnd, at + f.value, at + f.valueEnd})
		if err := r.header(line[:f.nameEnd], line[f.value:f.valueEnd]); err != nil {
			return err
		}
	}
}

func (r *Reader) line() ([]byte, error) {
	line, n, err := r.buf.line(min(r.limits.Line, r.budget))
	r.budget -= n
	return line, err
}

func (r *Reader) requestLine(line []byte) error {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !IsToken(method) || len(target) == 0 {
		return bad("malformed request line")
	}
	for _, b := range target {
		if b <= ' ' || b == 0x7f {
			return bad("malformed request target")
		}
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.Head.Old, r.Head.KeepAlive = true, false
	default:
		r.Head.preface = string(line) == "PRI * HTTP/2.0"
		switch {
		case r.Head.preface:
		case !bytes.HasPrefix(version, []byte("HTTP/")):
			return bad("malformed request line")
		default:
			return errVersion
		}
	}
	r.Head.Method, r.Head.Target = knownMethod(method), target
	return nil
}

// knownMethod spares the allocation of the usual methods.
func knownMethod(b []byte) string {
	switch string(b) {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodPost:
		return http.MethodPost
	}
	return string(b)
}

// parseField splits a header line. A name with a space before its colon, and a
// line that continues another, are refused: proxies differ in how they read them
// (RFC 9112, section 5).
func parseField(line []byte) (span, error) {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 || !IsToken(line[:colon]) {
		return span{}, bad("malformed header line")
	}
	s := span{nameEnd: colon, value: colon + 1, valueEnd: len(line)}
	if !all(line[s.value:], text) {
		return span{}, bad("malformed header value")
	}
	for s.value < s.valueEnd && isBlank(line[s.value]) {
		s.value++
	}
	for s.value < s.valueEnd && isBlank(line[s.valueEnd-1]) {
		s.valueEnd--
	}
	return s, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// header takes the headers that say how the request is framed.
func (r *Reader) header(name, value []byte) error {
	switch h := &r.Head; {
	case is(name, "Content-Length"):
		return r.contentLength(value)
	case is(name, "Transfer-Encoding"):
		if h.Chunked || h.Old || !is(value, "chunked") {
			return &Error{http.StatusNotImplemented, "unsupported transfer encoding"}
		}
		h.Chunked = true
	case is(name, "Connection"):
		r.connection(value)
	case is(name, "Expect"):
		if !is(value, "100-continue") {
			return &Error{http.StatusExpectationFailed, "unsupported expectation"}
		}
		h.Expect = !h.Old
	case is(name, "Host"):
		if h.hostSeen {
			return bad("more than one host")
		}
		if !all(value, host) {
			return bad("malformed host")
		}
		h.hostSeen, h.Host = true, value
	}
	return nil
}

// is tells whether b is s in any case.
func is(b []byte, s string) bool {
	return len(b) == len(s) && strings.EqualFold(string(b), s)
}

func (r *Reader) contentLength(value []byte) error {
	for _, b := range value {
		if b < '0' || b > '9' { // ParseInt would take a sign
			return bad("malformed content length")
		}
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || r.Head.lengthSeen && n != r.Head.Length {
		return bad("malformed content length")
	}
	r.Head.lengthSeen, r.Head.Length = true, n
	return nil
}

func (r *Reader) connection(value []byte) {
	for option := range bytes.SplitSeq(value, []byte(",")) {
		switch option = bytes.TrimSpace(option); {
		case is(option, "close"):
			r.Head.KeepAlive = false
		case is(option, "keep-alive") && r.Head.Old:
			r.Head.KeepAlive = true
		}
	}
}

// frame decides how the body comes, once all headers are there. A length beside
// chunks is how requests are smuggled (RFC 9112, section 6.1).
func (r *Reader) frame() error {
	h := &r.Head
	switch {
	case !h.hostSeen && !h.Old:
		return bad("no host")
	case h.Chunked && h.lengthSeen:
		return bad("both a content length and chunks")
	case h.Chunked:
		h.Length = -1
	default:
		r.left = h.Length
		r.ended = r.left == 0
	}
	if r.ended {
		h.Expect = false
	}
	return nil
}

// Fields are the header lines in order. They are valid until the next request.
func (r *Reader) Fields() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for _, s := range r.fields {
			if !yield(r.buf.b[s.name:s.nameEnd], r.buf.b[s.value:s.valueEnd]) {
				return
			}
		}
	}
}

// received is every byte since the beginning of the current request, as long as
// its body has not been read.
func (r *Reader) received() []byte { return r.buf.b[:r.buf.w] }
