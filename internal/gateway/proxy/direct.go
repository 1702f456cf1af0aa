package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/httpwire"
	"lambent.dev/lambent/internal/invoke"
)

// smallBody is the size up to which a request's body is read before anything is
// sent, to leave with the head in one write.
const smallBody = 16 << 10

// bodyIdle is how long a caller may take for the next part of its body.
const bodyIdle = time.Minute

// direct passes a request of HTTP/1.1: the caller's goroutine writes it to the
// instance and reads the answer. Only a body that does not fit the first write
// has a goroutine of its own, because the application may answer while it comes.
func (x *exchange) direct(ctx context.Context, h *home) error {
	for {
		u, reused, err := h.take(ctx, !repeatable(x.r.Method))
		if err != nil {
			return invoke.UnsentError{Cause: err}
		}
		d := &u.way
		*d = way{x: x, h: h, u: u, ctx: ctx, watch: d.watch}
		again, err := d.run(reused)
		if !again {
			return err
		}
	}
}

// repeatable tells whether a request may be sent twice without harm (RFC 9110,
// section 9.2.2).
func repeatable(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// way is the way of one exchange over one connection.
type way struct {
	x   *exchange
	h   *home
	u   *upstream
	ctx context.Context

	// stop ends the wait for the caller's going away; nil before there is one.
	stop func() bool
	// watch is the function that interrupts the connection, kept to be used again.
	watch  func()
	upload *upload // nil when the body went with the head
	sent   time.Time
	parts  int // of the answer that have been waited for
	// patient is when the bound on the caller was last set; zero if it is not.
	patient time.Time
}

// run is one attempt. It is to be repeated when the application has closed a
// connection that had been used before instead of answering a request that does no
// harm twice: most likely it has not seen it.
func (d *way) run(reused bool) (again bool, err error) {
	kept, err := d.request()
	if err == nil {
		err = d.fill(d.untilHead)
	}
	if err != nil {
		body := d.upload.fault() // before the upload is interrupted
		d.unwatch()
		d.abandon()
		if reused && kept && repeatable(d.x.r.Method) && isClosed(err) && d.x.r.Context().Err() == nil {
			return true, nil
		}
		return false, d.word(err, body)
	}
	reuse, err := d.answer()
	body := d.upload.fault()
	d.unwatch()
	if !d.finishUpload(err != nil) {
		reuse = false
	}
	if err != nil || !reuse {
		d.u.close()
	}
	if err != nil {
		return false, d.word(err, body)
	}
	if reuse {
		d.h.put(d.u) // with d: it is another exchange's from here on
	}
	return false, nil
}

// unwatch ceases to wait for the caller's going away.
func (d *way) unwatch() {
	if d.stop != nil {
		d.stop()
	}
}

// abandon ends the connection and what still goes over it.
func (d *way) abandon() {
	d.u.close()
	d.finishUpload(true)
}

// isClosed tells that the application has closed the connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, errReset) || isReset(err)
}

// word makes an error what the caller is told; body is what its own sending ended by.
func (d *way) word(err, body error) error {
	var f *failure
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, errCaller), d.x.r.Context().Err() != nil:
		return errGone
	case isReset(body), errors.Is(body, errReset), errors.Is(body, io.ErrUnexpectedEOF):
		return errGone
	case body != nil:
		return bodyError(body)
	}
	return d.h.broken(err)
}

// errCaller is an error of the caller's connection.
var errCaller = errors.New("caller")

// request writes the request. kept tells that all of it is in the buffer, so that
// it can be written again.
func (d *way) request() (kept bool, err error) {
	r, u := d.x.r, d.u
	if kept = r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody; !kept && r.ContentLength > 0 && r.ContentLength <= smallBody {
		if err := d.readSmall(); err != nil {
			return false, err
		}
		kept = true
	}
	if u.out, err = d.x.appendHead(u.out[:0]); err != nil {
		return false, err
	}
	if d.x.small != nil {
		u.out = append(u.out, d.x.small...)
	}
	if _, err := u.nc.Write(u.out); err != nil {
		return kept, err
	}
	d.sent = time.Now()
	if !kept {
		d.startUpload()
	}
	return kept, nil
}

// readSmall reads a short body.
func (d *way) readSmall() error {
	x := d.x
	if x.small != nil { // by an attempt before
		return nil
	}
	if b, ok := x.r.Body.(interface{ Here() bool }); !ok || !b.Here() {
		control := http.NewResponseController(x.w)
		_ = control.SetReadDeadline(time.Now().Add(bodyIdle)) // only a connection has one
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	}
	body := make([]byte, x.r.ContentLength)
	if _, err := io.ReadFull(x.r.Body, body); err != nil {
		return bodyError(err)
	}
	x.small = body
	return nil
}

// errBody is that a caller did not send its body to the end: what follows on the connection
// is no request.
var errBody = errors.New("the body is not whole")

// bodyError words the failure of a caller to send its body.
func bodyError(err error) error {
	var limit *lambent.Error
	err = fmt.Errorf("%w: %w", errBody, err)
	switch {
	case errors.As(err, &limit) && limit.Code == lambent.CodeTooLarge:
		return &failure{http.StatusRequestEntityTooLarge, "route", "body", limit.Message, err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{http.StatusRequestTimeout, "gateway", "body " + bodyIdle.String(), "The request's body did not arrive", err}
	}
	return &failure{http.StatusBadRequest, "gateway", "body", "The request's body could not be read", err}
}

// appendHead appends the request's head as the application gets it.
func (x *exchange) appendHead(b []byte) ([]byte, error) {
	r, t := x.r, x.t
	for _, s := range [2]string{t.Path, t.Query} {
		for i := range len(s) {
			if s[i] <= ' ' || s[i] == 0x7f {
				return b, &failure{http.StatusBadRequest, "gateway", "request target", "The request's target is malformed", nil}
			}
		}
	}
	b = append(append(append(b, r.Method...), ' '), t.Path...)
	if t.Query != "" {
		b = append(append(b, '?'), t.Query...)
	}
	b = appendLine(append(b, " HTTP/1.1\r\n"...), "Host", r.Host)
	for name, values := range r.Header {
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Expect",
			"Content-Length", "Host":
			continue
		}
		if isOurs(name) || named(r.Header["Connection"], name) {
			continue
		}
		for _, v := range values {
			b = appendLine(b, name, v)
		}
	}
	b = appendLine(b, "X-Forwarded-For", hostOf(r.RemoteAddr))
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	b = appendLine(b, "X-Forwarded-Proto", proto)
	b = appendLine(b, "X-Forwarded-Host", r.Host)
	if t.Prefix != "" {
		b = appendLine(b, "X-Forwarded-Prefix", t.Prefix)
	}
	if r.Header["X-Request-Id"] == nil && t.RequestID != "" {
		b = appendLine(b, "X-Request-Id", t.RequestID)
	}
	switch {
	case r.ContentLength > 0 || r.ContentLength == 0 && r.Header["Content-Length"] != nil:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, r.ContentLength, 10), "\r\n"...)
	case r.ContentLength < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// isOurs tells of headers that say whom a request came from and where to: callers do not
// say that. Programs that see headers as variables, by CGI, WSGI or Rack, take the low
// line in a name for a hyphen.
func isOurs(name string) bool {
	if strings.IndexByte(name, '_') >= 0 {
		name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	switch name {
	case "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-Port":
		return true
	}
	return false
}

// appendLine appends a header's line. What came over HTTP/1.1 has no line breaks
// in it, but the request may have come another way.
func appendLine(b []byte, name, value string) []byte {
	if strings.ContainsAny(value, "\r\n") {
		return b
	}
	return append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
}

// named tells whether a Connection header names another one (RFC 9110, section
// 7.6.1).
func named(connection []string, name string) bool {
	for _, list := range connection {
		for option := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(option), name) {
				return true
			}
		}
	}
	return false
}

// hostOf is an address without its port.
func hostOf(address string) string {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return address
	}
	return strings.Trim(address[:i], "[]")
}

// Waits for the application. A short one is bounded by a deadline that serves
// many requests; only a longer one is given its own limit, and looks whether the
// caller is still there and has what has come so far.
const (
	shortWait = 50 * time.Millisecond
	leastWait = 10 * time.Millisecond
)

// fill reads more of the answer. limit tells until when, and what it means if
// nothing has come by then.
func (d *way) fill(limit func() (time.Time, error)) error {
	u := d.u
	if d.parts++; d.parts == 2 { // who sends more without TCP_NODELAY waits until the first part is acknowledged
		httpwire.AckAtOnce(u.nc)
	}
	if left := time.Until(u.deadline); left < leastWait || left > shortWait {
		u.setDeadline(time.Now().Add(shortWait))
	}
	for {
		err := u.fill()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if d.stop == nil {
			if d.watch == nil {
				d.watch = func() { _ = u.nc.SetReadDeadline(time.Unix(1, 0)) } // fails when it is closed
			}
			d.stop = context.AfterFunc(d.ctx, d.watch)
		}
		until, late := limit()
		if !time.Now().Before(until) {
			return late
		}
		if d.x.begun { // what is there of the answer does not wait along
			if err := http.NewResponseController(d.x.w).Flush(); err != nil {
				return errors.Join(errCaller, err)
			}
		}
		u.setDeadline(until)
		if d.ctx.Err() != nil {
			return errCaller
		}
	}
}

// untilHead bounds the wait for an answer: by the function's time-out from the end
// of the request on, and before that by silence.
func (d *way) untilHead() (time.Time, error) {
	if u := d.upload; u != nil && !u.over.Load() {
		return time.Unix(0, u.moved.Load()).Add(d.h.idle), d.h.quiet()
	}
	return d.sent.Add(d.h.version.Timeout), d.h.late()
}

// untilMore bounds the wait for more of an answer.
func (d *way) untilMore() (time.Time, error) {
	moved := d.u.moved
	if u := d.upload; u != nil {
		moved = time.Unix(0, max(moved.UnixNano(), u.moved.Load()))
	}
	return moved.Add(d.h.idle), d.h.quiet()
}

// upload is a body on its way to the application.
type upload struct {
	done   chan struct{}
	over   atomic.Bool  // all of it has been sent
	caller atomic.Bool  // it ended because of the caller
	moved  atomic.Int64 // when something was last sent, in ns

	body     io.Reader
	chunked  bool
	deadline func(at time.Time) // of reading it
	// block has what was read last, behind room for the size line of a chunk.
	block *[]byte
	n     int
	err   error
}

// fault is the error of the caller's by which the body ended, if it did.
func (up *upload) fault() error {
	if up == nil || !up.caller.Load() {
		return nil
	}
	return up.err
}

// chunkRoom is for the size line of a chunk.
const chunkRoom = 18

// read reads the next part.
func (up *upload) read() {
	up.deadline(time.Now().Add(bodyIdle))
	up.n, up.err = up.body.Read((*up.block)[chunkRoom : len(*up.block)-2])
}

// startUpload sends the body in a goroutine, which finishUpload waits for.
func (d *way) startUpload() {
	up := &upload{done: make(chan struct{})}
	up.moved.Store(time.Now().UnixNano())
	d.upload = up
	control := http.NewResponseController(d.x.w)
	_ = control.EnableFullDuplex() // where it cannot be, the answer waits for the body
	up.body, up.chunked = d.x.r.Body, d.x.r.ContentLength < 0
	up.deadline = func(at time.Time) { _ = control.SetReadDeadline(at) } // only a connection has one
	nc := d.u.nc
	up.block = blocks.Get().(*[]byte)
	if d.x.r.Header["Expect"] != nil {
		up.read() // asks for the body, which may not happen once the answer goes out
	}
	go func() {
		defer close(up.done)
		defer blocks.Put(up.block)
		err := up.copy(nc)
		up.deadline(time.Time{})
		if err == nil {
			up.over.Store(true)
			return
		}
		if up.caller.Load() { // the application shall not take what it has for the whole
			_ = nc.Close()
		}
	}()
}

// copy sends the body.
func (up *upload) copy(to io.Writer) error {
	for {
		if up.n == 0 && up.err == nil {
			up.read()
		}
		n, err := up.n, up.err
		up.n = 0
		if n > 0 {
			p := (*up.block)[chunkRoom : chunkRoom+n]
			if up.chunked {
				p = frame(*up.block, chunkRoom, n)
			}
			if _, err := to.Write(p); err != nil {
				return err
			}
			up.moved.Store(time.Now().UnixNano())
		}
		switch {
		case errors.Is(err, io.EOF) && up.chunked:
			_, err := io.WriteString(to, "0\r\n\r\n")
			return err
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			up.caller.Store(true)
			return err
		}
	}
}

// frame makes n bytes at from a chunk, in place.
func frame(b []byte, from, n int) []byte {
	var size [18]byte
	line := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
	start := from - len(line)
	copy(b[start:], line)
	copy(b[from+n:], "\r\n")
	return b[start : from+n+2]
}

// uploadGrace is how long the end of a body may come after the answer's.
const uploadGrace = 20 * time.Millisecond

// finishUpload waits for the body's goroutine, which it interrupts when the answer
// is over long before it. It tells whether all of the body was sent and the
// connection is as it was.
func (d *way) finishUpload(failed bool) bool {
	up := d.upload
	if up == nil {
		return !failed
	}
	cut := failed
	if !failed && !up.over.Load() {
		timer := time.NewTimer(uploadGrace)
		select {
		case <-up.done:
		case <-timer.C:
			cut = true
		}
		timer.Stop()
	}
	if cut {
		d.u.close()
		_ = http.NewResponseController(d.x.w).SetReadDeadline(time.Unix(1, 0)) // only a connection has one
	}
	<-up.done
	return !cut && up.over.Load()
}
