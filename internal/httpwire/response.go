package httpwire

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// response is the http.ResponseWriter of one request after another. Trailers are
// set with [http.TrailerPrefix]. Without a
// Content-Length a short body gets one when the handler returns, and a longer one
// goes out in chunks.
type response struct {
	c      *conn
	header http.Header
	names  []string // sorted, of header
	out    []byte   // the head, until it is sent
	body   []byte   // the beginning of a body of unknown length
	status int      // 0 before WriteHeader
	length int64    // as declared, -1 if it is not
	left   int64    // of a declared length
	sent   bool     // the head is out
	chunks bool     // the body goes out in chunks
	close  bool     // the connection ends with this answer
	failed bool     // the body is not what was declared, or could not be written
	duplex bool     // somebody reads the request's body meanwhile
}

// hold is how much of a body is held back to find its length.
const hold = 4 << 10

func (w *response) begin(keepAlive bool) {
	if w.header == nil {
		w.header = make(http.Header, 8)
	}
	clear(w.header)
	w.out, w.body = w.out[:0], w.body[:0]
	w.status, w.length = 0, -1
	w.sent, w.chunks, w.failed, w.duplex = false, false, false, false
	w.close = !keepAlive
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// SetReadDeadline is for http.ResponseController, as long as the body is being
// read.
func (w *response) SetReadDeadline(at time.Time) error {
	if w.duplex {
		return w.c.nc.SetReadDeadline(at)
	}
	if w.c.r.Ended() {
		if w.c.custom && at.IsZero() { // what was set is over with the body
			return w.c.nc.SetReadDeadline(at)
		}
		return nil
	}
	w.c.set, w.c.custom = phaseBody, true
	return w.c.nc.SetReadDeadline(at)
}

// EnableFullDuplex is for http.ResponseController: from now on the body may be read
// by another goroutine than the one that answers, until the handler returns. Who
// then sets a read deadline lifts it when the body has ended.
func (w *response) EnableFullDuplex() error {
	w.duplex = true
	w.c.set, w.c.custom = phaseBody, true
	return nil
}

// SetWriteDeadline is for http.ResponseController. The connection keeps it.
func (w *response) SetWriteDeadline(at time.Time) error { return w.c.nc.SetWriteDeadline(at) }

// FlushError is for http.ResponseController: what was written goes out now. The
// length of what follows is then not known any more.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	var err error
	switch {
	case w.length >= 0 && !w.sent:
		_, err = w.send(nil)
	case w.length >= 0 || w.chunks || !hasBody(w.status):
	default:
		w.chunks = true
		if len(w.body) > 0 {
			_, err = w.sendChunk(w.body)
		} else {
			_, err = w.send(nil)
		}
	}
	return err
}

// WriteHeader implements http.ResponseWriter. As with net/http, one that only
// informs goes out at once, and another may follow.
func (w *response) WriteHeader(status int) {
	if w.status != 0 || status < 200 {
		w.inform(status)
		return
	}
	w.status = status
	b := appendStatus(w.out[:0], status)
	w.names = w.names[:0]
	for name := range w.header {
		w.names = append(w.names, name)
	}
	slices.Sort(w.names)
	for _, name := range w.names {
		switch name {
		case "Content-Length":
			w.declare(first(w.header[name]))
			continue
		case "Connection":
			w.close = w.close || strings.EqualFold(first(w.header[name]), "close")
			continue
		case "Transfer-Encoding":
			continue
		case "Content-Type":
			if status == http.StatusNotModified {
				continue
			}
		}
		b = appendField(b, name, w.header[name])
	}
	if _, set := w.header["Date"]; !set {
		b = append(b, date()...)
	}
	w.out = b
}

func appendStatus(b []byte, status int) []byte {
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10)
	return append(append(append(b, ' '), http.StatusText(status)...), "\r\n"...)
}

// inform sends what goes before an answer (RFC 9110, section 15.2). 101 is no such
// answer: the connection would not be HTTP's any more.
func (w *response) inform(status int) {
	if w.status != 0 || status < 100 || status == http.StatusSwitchingProtocols {
		return
	}
	b := appendStatus(nil, status)
	for name, values := range w.header {
		if name != "Content-Length" && name != "Transfer-Encoding" && name != "Connection" {
			b = appendField(b, name, values)
		}
	}
	_, _ = w.c.nc.Write(append(b, "\r\n"...)) // an error comes again
}

// declare takes the handler's Content-Length. One that is no length is left out,
// as by net/http.
func (w *response) declare(value string) {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 && hasBody(w.status) {
		w.length, w.left = n, n
	}
}

// hasBody tells whether answers of this status have one (RFC 9110, section 6.4.1).
func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// appendField appends a header's lines. A line break in a value would begin
// another header, or the body.
func appendField(b []byte, name string, values []string) []byte {
	if !IsToken(name) {
		return b
	}
	for _, v := range values {
		b = append(append(b, name...), ": "...)
		from := len(b)
		b = append(b, strings.Trim(v, " \t\r\n")...)
		for i := from; i < len(b); i++ {
			if b[i] == '\r' || b[i] == '\n' {
				b[i] = ' '
			}
		}
		b = append(b, "\r\n"...)
	}
	return b
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case !hasBody(w.status):
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && int64(len(p)) > w.left:
		w.failed = true
		return 0, http.ErrContentLength
	case w.length >= 0:
		w.left -= int64(len(p))
		return w.send(p)
	case !w.chunks && len(w.body)+len(p) <= hold:
		w.body = append(w.body, p...)
		return len(p), nil
	case !w.chunks:
		w.chunks = true
		if _, err := w.sendChunk(w.body); err != nil {
			return 0, err
		}
	}
	return w.sendChunk(p)
}

// send writes p, behind the head if that is not out yet.
func (w *response) send(p []byte) (n int, err error) {
	if w.sent {
		n, err = w.c.nc.Write(p)
	} else {
		w.endHead(p)
		if w.out, err = WriteParts(w.c.nc, w.out, p); err == nil {
			n = len(p)
		}
	}
	if err != nil {
		w.failed = true
	}
	return n, err
}

func (w *response) sendChunk(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	chunk := strconv.AppendInt(make([]byte, 0, len(p)+24), int64(len(p)), 16)
	chunk = append(append(append(chunk, "\r\n"...), p...), "\r\n"...)
	if _, err := w.send(chunk); err != nil {
		return 0, err
	}
	return len(p), nil
}

// endHead appends what depends on the body, of which p is the beginning.
func (w *response) endHead(p []byte) {
	w.sent = true
	b := w.out
	if _, set := w.header["Content-Type"]; !set && len(p) > 0 {
		if w.chunks {
			p = w.body
		}
		b = append(append(append(b, "Content-Type: "...), http.DetectContentType(p)...), "\r\n"...)
	}
	switch {
	case !hasBody(w.status):
	case w.chunks:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	default:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), w.length, 10), "\r\n"...)
	}
	if !w.duplex && w.c.r.unwanted() || w.c.s.isClosing() {
		w.close = true
	}
	if w.close {
		b = append(b, "Connection: close\r\n"...)
	}
	w.out = append(b, "\r\n"...)
}

// finish sends what is left when the handler has returned; it is false when the
// client did not get the whole answer.
func (w *response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	trailers := w.trailers()
	if len(trailers) > 0 && !w.chunks && w.length < 0 && hasBody(w.status) {
		_ = w.FlushError() // an error comes again
	}
	var err error
	switch {
	case w.chunks:
		_, err = w.send(append(append([]byte("0\r\n"), trailers...), "\r\n"...))
	case w.length >= 0 && w.sent:
	case w.length >= 0:
		_, err = w.send(nil)
	default:
		w.length = int64(len(w.body))
		_, err = w.send(w.body)
		w.left = 0
	}
	return err == nil && !w.failed && w.left == 0
}

// trailers are the lines of what was set with [http.TrailerPrefix] since the head
// was made.
func (w *response) trailers() (lines []byte) {
	if len(w.header) <= len(w.names) {
		return nil
	}
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			lines = appendField(lines, name, values)
		}
	}
	return lines
}

func first(v []string) string {
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

// stamp is a Date header and the second that it is of.
type stamp struct {
	second int64
	line   string
}

var today atomic.Pointer[stamp]

// date is the Date header's line of now, which is made once a second (RFC 9110,
// section 6.6.1).
func date() string {
	now := time.Now()
	s := today.Load()
	if s == nil || s.second != now.Unix() {
		s = &stamp{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
		today.Store(s)
	}
	return s.line
}
