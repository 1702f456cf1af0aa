package proxy

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent/internal/httpwire"
)

// head is the first part of an answer.
type head struct {
	status  int
	length  int64 // of the body; -1 when it is not known
	chunked bool
	keep    bool // the connection can be used again
	old     bool // HTTP/1.0, which has no chunks
}

// errAnswer is an answer that is none, or that two readers could take for
// different ones (RFC 9112, section 6.3).
var errAnswer = errors.New("malformed answer")

// answer reads the answer and passes it to the caller. Something of it has been
// read already. reuse tells whether the connection can be used again.
func (d *way) answer() (reuse bool, err error) {
	hd, err := d.readHead()
	if err != nil {
		return false, err
	}
	w, r := d.x.w, d.x.r
	d.x.begun = true
	d.x.inv.Broken = hd.status >= http.StatusInternalServerError
	d.u.moved = time.Now()
	bodiless := r.Method == http.MethodHead || hd.status == http.StatusNoContent || hd.status == http.StatusNotModified
	if hd.length >= 0 && (!bodiless || r.Method == http.MethodHead) {
		w.Header()["Content-Length"] = d.u.one(strconv.FormatInt(hd.length, 10))
	}
	if d.early() {
		w.Header()["Connection"] = []string{"close"}
	}
	w.WriteHeader(hd.status)
	switch {
	case bodiless:
	case hd.chunked:
		err = d.passChunks()
	case hd.length >= 0:
		err = d.passLength(hd.length)
	default:
		err = d.passAll()
	}
	return hd.keep && d.u.r == d.u.w, err
}

// early tells of an answer that comes before the body is over, where net/http has the
// caller's connection. That reads what is left of the body, and takes what follows for
// a request even when the body was malformed: nothing may follow (RFC 9112, section 9.6).
func (d *way) early() bool {
	up := d.upload
	if up == nil || up.over.Load() || d.x.r.Context().Value(http.ServerContextKey) == nil {
		return false
	}
	timer := time.NewTimer(uploadGrace)
	defer timer.Stop()
	select {
	case <-up.done: // the application may have been faster than who sends to it
	case <-timer.C:
	}
	return !up.over.Load()
}

// one is a header's values, of which there is one.
func (u *upstream) one(v string) []string {
	n := len(u.values)
	u.values = append(u.values, v)
	return u.values[n : n+1 : n+1]
}

// readHead reads the head of the answer, past those that only inform, into the
// caller's header.
func (d *way) readHead() (head, error) {
	u := d.u
	for {
		n, err := d.headEnd()
		if err != nil {
			return head{}, err
		}
		text := string(u.b[u.r : u.r+n])
		u.r += n
		hd, fields, err := parseStatus(text)
		if err != nil {
			return hd, err
		}
		if hd.status >= 200 {
			return hd, d.header(&hd, fields)
		}
		if hd.status == http.StatusSwitchingProtocols {
			return hd, errAnswer // nobody asked for it
		}
		if err := d.inform(hd.status, fields); err != nil {
			return hd, err
		}
	}
}

// inform passes an answer before the answer, such as 103 Early Hints (RFC 9110,
// section 15.2). The gateway itself says 100 to who waits for it.
func (d *way) inform(status int, fields string) error {
	if status == http.StatusContinue || !d.x.r.ProtoAtLeast(1, 1) {
		return nil
	}
	out := d.x.w.Header()
	final := maps.Clone(out) // what is set already is for the answer itself
	clear(out)
	err := d.header(&head{}, fields)
	if err == nil {
		delete(out, "Content-Type") // where there is none, there is nothing to guess
		d.patience()
		d.x.w.WriteHeader(status)
		d.calm()
	}
	clear(out)
	maps.Copy(out, final)
	return err
}

// headEnd waits for the empty line and tells how many bytes there are up to it.
func (d *way) headEnd() (int, error) {
	u := d.u
	for from := 0; ; {
		have := u.b[u.r:u.w]
		if n := emptyLine(have, from); n > 0 {
			return n, nil
		}
		if len(have) > maxHead {
			return 0, errAnswer
		}
		from = max(0, len(have)-2)
		// An application that sends a little all the time never comes to fill's bound.
		if until, late := d.untilHead(); !time.Now().Before(until) {
			return 0, late
		}
		if err := d.fill(d.untilHead); err != nil {
			return 0, err
		}
	}
}

// emptyLine tells where the first empty line of b ends, looking for line ends from
// there on; 0 is nowhere. Some programs end lines without CR, which readers are to
// take (RFC 9112, section 2.2).
func emptyLine(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return 0
		}
		from += i + 1
		switch rest := b[from:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return from + 1
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return from + 2
		}
	}
}

// parseStatus reads the first line.
func parseStatus(text string) (hd head, fields string, err error) {
	line, fields, _ := strings.Cut(text, "\n")
	line = strings.TrimSuffix(line, "\r")
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || status < 100 {
		return hd, "", errAnswer
	}
	switch version {
	case "HTTP/1.1":
		hd.keep = true
	case "HTTP/1.0":
		hd.old = true
	default:
		return hd, "", errAnswer
	}
	hd.status, hd.length = status, -1
	return hd, fields, nil
}

// header puts the fields into the caller's header, but for those of the
// connection.
func (d *way) header(hd *head, fields string) error {
	out, u := d.x.w.Header(), d.u
	u.values = u.values[:0]
	_, cors := out["Access-Control-Allow-Origin"] // the gateway answers for other origins
	out["Content-Type"] = nil                     // what the application leaves open is no server's to guess
	var connection []string
	for fields != "" {
		line, rest, _ := strings.Cut(fields, "\n")
		fields = rest
		if line = strings.TrimSuffix(line, "\r"); line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !httpwire.IsToken(name) || strings.ContainsAny(value, forbidden) {
			return errAnswer
		}
		name, value = httpwire.Canonical(name), trim(value)
		switch name {
		case "Content-Length":
			if err := hd.setLength(value); err != nil {
				return err
			}
			continue
		case "Transfer-Encoding":
			if hd.chunked || !strings.EqualFold(value, "chunked") {
				return errAnswer
			}
			hd.chunked = true
			continue
		case "Connection":
			connection = append(connection, value)
			continue
		case "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Te", "Trailer", "Upgrade":
			continue
		}
		if cors && strings.HasPrefix(name, "Access-Control-") {
			continue
		}
		if before := out[name]; before != nil && name != "X-Amzn-Requestid" {
			out[name] = append(before, value)
		} else {
			out[name] = u.one(value)
		}
	}
	return hd.settle(out, connection)
}

// setLength takes a Content-Length.
func (hd *head) setLength(value string) error {
	n, err := strconv.ParseUint(value, 10, 62)
	if err != nil || hd.length >= 0 && int64(n) != hd.length {
		return errAnswer
	}
	hd.length = int64(n)
	return nil
}

// settle decides how the body comes, and whether the connection ends with it.
func (hd *head) settle(out http.Header, connection []string) error {
	if hd.chunked && (hd.length >= 0 || hd.old) {
		return errAnswer
	}
	for _, list := range connection {
		if strings.EqualFold(list, "keep-alive") {
			hd.keep = true
			continue
		}
		for option := range strings.SplitSeq(list, ",") {
			option = strings.TrimSpace(option)
			if strings.EqualFold(option, "close") {
				hd.keep = false
			} else {
				delete(out, http.CanonicalHeaderKey(option))
			}
		}
	}
	if hd.length < 0 && !hd.chunked && hd.status != http.StatusNoContent && hd.status != http.StatusNotModified {
		hd.keep = false // its end is the connection's, but for an answer to HEAD
	}
	return nil
}

// write passes a part of the body to the caller.
func (d *way) write(p []byte) error {
	if _, err := d.x.w.Write(p); err != nil {
		return errors.Join(errCaller, err)
	}
	return nil
}

// more reads more of the body. What the caller has not got yet goes out before,
// if that may take a while.
func (d *way) more(flush bool) error {
	if flush {
		if err := http.NewResponseController(d.x.w).Flush(); err != nil {
			return errors.Join(errCaller, err)
		}
	}
	if err := d.fill(d.untilMore); err != nil {
		return noEOF(err)
	}
	d.u.moved = time.Now()
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// passLength passes a body of a known length.
func (d *way) passLength(left int64) error {
	u := d.u
	if left > int64(len(u.b)) && len(u.b) < keepRoom {
		u.grow()
	}
	for left > 0 {
		if u.r == u.w {
			if err := d.more(false); err != nil {
				return err
			}
		}
		p := u.b[u.r:u.w]
		p = p[:min(int64(len(p)), left)]
		if left > int64(len(p)) {
			d.patience()
		}
		if err := d.write(p); err != nil {
			return err
		}
		u.r += len(p)
		left -= int64(len(p))
	}
	d.calm()
	return nil
}

// passAll passes a body that ends with the connection.
func (d *way) passAll() error {
	u := d.u
	for {
		if u.r < u.w {
			d.patience()
			if err := d.write(u.b[u.r:u.w]); err != nil {
				return err
			}
			u.r = u.w
		}
		err := d.more(true)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			d.calm()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// passChunks passes a body that comes in chunks, and its trailers.
func (d *way) passChunks() error {
	u := d.u
	for wrote := false; ; {
		line, err := d.line(wrote)
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		left, err := strconv.ParseUint(string(bytes.TrimRight(size, " \t")), 16, 62)
		if err != nil {
			return errAnswer
		}
		if left == 0 {
			d.calm()
			return d.trailers(wrote)
		}
		for left > 0 {
			if u.r == u.w {
				if err := d.more(wrote); err != nil {
					return err
				}
			}
			p := u.b[u.r:u.w]
			p = p[:min(uint64(len(p)), left)]
			d.patience()
			if err := d.write(p); err != nil {
				return err
			}
			wrote = true
			u.r += len(p)
			left -= uint64(len(p))
		}
		if end, err := d.line(wrote); err != nil || len(end) > 0 {
			return errors.Join(err, errAnswer)
		}
	}
}

// maxLine bounds a line between chunks, in bytes.
const maxLine = 8 << 10

// line reads a line of the framing of chunks, without its end.
func (d *way) line(flush bool) ([]byte, error) {
	u := d.u
	for {
		if i := bytes.IndexByte(u.b[u.r:u.w], '\n'); i >= 0 {
			line := bytes.TrimSuffix(u.b[u.r:u.r+i], []byte("\r"))
			u.r += i + 1
			return line, nil
		}
		if u.w-u.r > maxLine {
			return nil, errAnswer
		}
		if err := d.more(flush); err != nil {
			return nil, err
		}
	}
}

// trailers passes what comes after the last chunk.
func (d *way) trailers(flush bool) error {
	for range 64 {
		line, err := d.line(flush)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		name, value, ok := strings.Cut(string(line), ":")
		if !ok || !httpwire.IsToken(name) || strings.ContainsAny(value, forbidden) {
			return errAnswer
		}
		d.x.w.Header().Add(http.TrailerPrefix+textproto.CanonicalMIMEHeaderKey(name), trim(value))
	}
	return errAnswer
}

// patience bounds how long the caller may take to read the next part of a long
// answer; calm lifts it, because the connection keeps it else.
func (d *way) patience() {
	if now := time.Now(); now.Sub(d.patient) > d.h.idle/8 {
		d.patient = now
		_ = http.NewResponseController(d.x.w).SetWriteDeadline(now.Add(d.h.idle)) // only a connection has one
	}
}

func (d *way) calm() {
	if !d.patient.IsZero() {
		_ = http.NewResponseController(d.x.w).SetWriteDeadline(time.Time{})
		d.patient = time.Time{}
	}
}

// grow makes room for a long body.
func (u *upstream) grow() {
	b := make([]byte, keepRoom)
	u.w = copy(b, u.b[u.r:u.w])
	u.b, u.r = b, 0
}

// forbidden is what makes a header's value dangerous to pass on (RFC 9110, section
// 5.5).
const forbidden = "\r\n\x00"

func trim(s string) string { return strings.Trim(s, " \t") }
