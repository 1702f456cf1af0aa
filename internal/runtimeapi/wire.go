package runtimeapi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
)

// This file is the HTTP/1.1 that runtimes speak (RFC 9112), and no more of it:
// requests with a path, bodies with a length or in chunks with trailers,
// Expect: 100-continue, connections that stay open. Whatever is ambiguous is
// refused: the peer is a tenant's process.

// Bounds of a request, in bytes. The X-Ray cause of an error comes as a header,
// up to 1 MiB of it.
const (
	readBuffer = 4 << 10
	maxHeader  = 1<<20 + 64<<10 // of the request line and all header lines
	maxLine    = 1 << 20        // of one line, save for what CR and LF take
	maxChunkEx = 256            // of a chunk's size line
	keepLine   = 16 << 10       // of line buffer that a connection keeps
)

// requestError is why a request cannot be understood. The connection cannot be
// used any further.
type requestError struct {
	status int
	reason string
}

func (e *requestError) Error() string { return e.reason }

func bad(reason string) error { return &requestError{400, reason} }

// Errors that come from more than one place.
var (
	errHeaderSize = &requestError{431, "request header too large"}
	errTrailing   = bad("malformed chunk")
)

// request is what the protocol needs of a request's head.
type request struct {
	method, path string
	post         post
	keepAlive    bool
	expect       bool // 100-continue is awaited
	host         bool
	old          bool // HTTP/1.0
	lengthSeen   bool
	chunked      bool
}

// reader reads requests from one connection.
type reader struct {
	c       net.Conn
	r       *bufio.Reader
	long    []byte // a line that is longer than r's buffer
	budget  int    // bytes of header that may still come
	req     request
	left    int64 // of the body, or of the chunk that is being read
	ended   bool  // the body has been read to its end
	started bool  // a chunk was read
	errType string
	errBody string
}

func newReader(c net.Conn) *reader {
	r := &reader{c: c, r: bufio.NewReaderSize(c, readBuffer)}
	r.req.post.trailer = r.trailer
	return r
}

// next reads the head of the next request. The error is io.EOF when the
// connection ended between requests, a *requestError when what came is no request.
func (r *reader) next() (*request, error) {
	r.req = request{post: post{trailer: r.req.post.trailer, body: r}, keepAlive: true}
	r.budget, r.left, r.ended, r.started = maxHeader, 0, false, false
	r.errType, r.errBody = "", ""
	line, err := r.line()
	if err != nil {
		return nil, err
	}
	if err := r.requestLine(line); err != nil {
		return nil, err
	}
	for {
		line, err := r.line()
		if err != nil {
			return nil, noEOF(err)
		}
		if len(line) == 0 {
			return &r.req, r.frame()
		}
		name, value, err := field(line)
		if err != nil {
			return nil, err
		}
		if err := r.header(name, value); err != nil {
			return nil, err
		}
	}
}

// line reads a line without its end, which must be CR LF: readers differ in what
// else they take for one (RFC 9112, section 2.2). It is valid until the next call.
func (r *reader) line() ([]byte, error) {
	part, err := r.r.ReadSlice('\n')
	line := part
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.longLine(part)
	}
	if err != nil {
		if len(line) > 0 {
			err = noEOF(err)
		}
		return nil, err
	}
	if r.budget -= len(line); r.budget < 0 {
		return nil, errHeaderSize
	}
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return nil, bad("line ends without CR")
	}
	return line, nil
}

// longLine reads on where a line does not fit the buffer.
func (r *reader) longLine(part []byte) ([]byte, error) {
	if cap(r.long) > keepLine {
		r.long = nil
	}
	r.long = append(r.long[:0], part...)
	for {
		part, err := r.r.ReadSlice('\n')
		r.long = append(r.long, part...)
		if len(r.long) > maxLine+2 || len(r.long) > r.budget {
			return nil, errHeaderSize
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return r.long, err
		}
	}
}

// noEOF is err for a place where the connection must not end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *reader) requestLine(line []byte) error {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !isToken(method) || len(target) == 0 || target[0] != '/' {
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
		r.req.old, r.req.keepAlive = true, false
	default:
		return &requestError{505, "unsupported HTTP version"}
	}
	r.req.method = knownMethod(method)
	target, _, _ = bytes.Cut(target, []byte("?"))
	if r.req.path = pathNext; string(target) != pathNext { // most often it is that one
		r.req.path = string(target)
	}
	return nil
}

// knownMethod spares the allocation of the usual methods.
func knownMethod(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	}
	return string(b)
}

// field splits a header line. A name with a space before its colon, and a line
// that continues another, are refused: proxies differ in how they read them
// (RFC 9112, section 5).
func field(line []byte) (name, value []byte, err error) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) {
		return nil, nil, bad("malformed header line")
	}
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return nil, nil, bad("malformed header value")
		}
	}
	return name, bytes.Trim(value, " \t"), nil
}

// header takes the headers that mean something here; of the Runtime API's own
// the first one counts, as in net/http.
func (r *reader) header(name, value []byte) error {
	is := func(want string) bool { return len(name) == len(want) && strings.EqualFold(string(name), want) }
	p := &r.req.post
	first := func(s *string) {
		if *s == "" {
			*s = string(value)
		}
	}
	switch {
	case is("Content-Length"):
		return r.contentLength(value)
	case is("Transfer-Encoding"):
		if r.req.chunked || r.req.old || !strings.EqualFold(string(value), "chunked") {
			return &requestError{501, "unsupported transfer encoding"}
		}
		r.req.chunked = true
	case is("Connection"):
		r.connection(value)
	case is("Expect"):
		if !strings.EqualFold(string(value), "100-continue") {
			return &requestError{417, "unsupported expectation"}
		}
		r.req.expect = !r.req.old
	case is("Host"):
		if r.req.host {
			return bad("more than one host")
		}
		r.req.host = true
	case is("Content-Type"):
		first(&p.contentType)
	case is(headerInvocationID):
		first(&p.invocation)
	case is(headerErrorType):
		first(&p.errorType)
	case is(headerResponseMode):
		first(&p.mode)
	}
	return nil
}

func (r *reader) contentLength(value []byte) error {
	for _, b := range value {
		if b < '0' || b > '9' { // ParseInt would take a sign
			return bad("malformed content length")
		}
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || r.req.lengthSeen && n != r.req.post.length {
		return bad("malformed content length")
	}
	r.req.lengthSeen, r.req.post.length = true, n
	return nil
}

func (r *reader) connection(value []byte) {
	for option := range strings.SplitSeq(string(value), ",") {
		switch option = strings.TrimSpace(option); {
		case strings.EqualFold(option, "close"):
			r.req.keepAlive = false
		case strings.EqualFold(option, "keep-alive") && r.req.old:
			r.req.keepAlive = true
		}
	}
}

// frame decides how the body comes, once all headers are there. A length beside
// chunks is how requests are smuggled (RFC 9112, section 6.1).
func (r *reader) frame() error {
	switch {
	case !r.req.host && !r.req.old:
		return bad("no host")
	case r.req.chunked && r.req.lengthSeen:
		return bad("both a content length and chunks")
	case r.req.chunked:
		r.req.post.length = -1
	default:
		r.left = r.req.post.length
		r.ended = r.left == 0
	}
	if r.ended {
		r.req.expect = false
	}
	return nil
}

// Read reads the body.
func (r *reader) Read(p []byte) (int, error) {
	if r.ended {
		return 0, io.EOF
	}
	if r.req.expect {
		r.req.expect = false
		if _, err := io.WriteString(r.c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return 0, err
		}
	}
	if r.req.chunked && r.left == 0 {
		if err := r.chunk(); err != nil {
			return 0, noEOF(err)
		}
		if r.ended {
			return 0, io.EOF
		}
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.r.Read(p)
	r.left -= int64(n)
	if r.left == 0 && !r.req.chunked {
		r.ended = true
	}
	if n > 0 {
		err = nil // it comes again
	}
	return n, noEOF(err)
}

// chunk reads the line that begins the next chunk, and after the last one the
// trailers.
func (r *reader) chunk() error {
	r.budget = maxHeader
	if r.started {
		end, err := r.line()
		if err != nil {
			return err
		}
		if len(end) != 0 {
			return errTrailing
		}
	}
	r.started = true
	line, err := r.line()
	if err != nil {
		return err
	}
	if len(line) > maxChunkEx {
		return errTrailing
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
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
		return 0, errTrailing
	}
	var n int64
	for _, c := range b {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || c < '0' {
			return 0, errTrailing
		}
		n = n<<4 | int64(digit)
	}
	return n, nil
}

func (r *reader) trailers() error {
	for {
		line, err := r.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		name, value, err := field(line)
		if err != nil {
			return err
		}
		switch {
		case strings.EqualFold(string(name), headerErrorType):
			r.errType = string(value)
		case strings.EqualFold(string(name), trailerErrorBody):
			r.errBody = string(value)
		}
	}
}

func (r *reader) trailer(name string) string {
	switch name {
	case headerErrorType:
		return r.errType
	case trailerErrorBody:
		return r.errBody
	}
	return ""
}

// skip reads what is left of the body, so that the next request can be read; it
// is false when the connection is no longer good for one.
func (r *reader) skip() bool {
	if r.ended {
		return true
	}
	if r.req.expect { // nobody knows whether the body comes (RFC 9110, 10.1.1)
		return false
	}
	_, err := io.CopyN(io.Discard, r, maxDrain)
	return errors.Is(err, io.EOF)
}

// isToken tells whether b is a token (RFC 9110, section 5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		alpha := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		if !alpha && !digit && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}
