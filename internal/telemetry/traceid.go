package telemetry

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// traceContext is where in which trace a call is made, as either header tells.
type traceContext struct {
	trace  [16]byte
	parent [8]byte // the caller's span; zero if there is none
	choice choice
}

// choice is whether a trace is recorded.
type choice int8

const (
	undecided choice = iota
	sampled
	unsampled
)

// MaxTrace bounds the tracing header that a caller may send, in bytes.
const MaxTrace = 256

// Caller is the trace that a request continues, in the form of X-Amzn-Trace-Id;
// "" if it continues none. A valid traceparent (W3C Trace Context, section 3.2)
// goes first: who sends both sends the finer span there. What else is sent as
// X-Amzn-Trace-Id is returned as it is, unless it is longer than MaxTrace or may not go
// on as a header's value everywhere.
func Caller(h http.Header) string {
	if sent := h["Traceparent"]; len(sent) == 1 {
		if c, ok := parseParent(sent[0]); ok {
			return c.header(c.parent, "")
		}
	}
	sent := h.Get("X-Amzn-Trace-Id")
	if len(sent) > MaxTrace || strings.ContainsFunc(sent, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return sent
}

// Carry puts the trace of an X-Amzn-Trace-Id into a request's header, in both forms.
// What cannot be read is left out.
func Carry(h http.Header, traceID string) {
	c, ok := parseTraceID(traceID)
	if !ok || c.parent == [8]byte{} {
		return
	}
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.parent[:])
	if c.choice == sampled {
		b = append(b, "-01"...)
	} else {
		b = append(b, "-00"...)
	}
	h["Traceparent"], h["X-Amzn-Trace-Id"] = []string{string(b)}, []string{traceID}
}

// parseParent reads a traceparent header: version, trace id, parent id and flags
// in lower-case hex. A later version may have more after that.
func parseParent(text string) (c traceContext, ok bool) {
	const length = 55
	if len(text) < length || text[2] != '-' || text[35] != '-' || text[52] != '-' || text[:2] == "ff" {
		return c, false
	}
	if len(text) > length && (text[:2] == "00" || text[length] != '-') {
		return c, false
	}
	var version, flags [1]byte
	if !unhex(version[:], text[:2]) || !unhex(c.trace[:], text[3:35]) || !unhex(c.parent[:], text[36:52]) || !unhex(flags[:], text[53:length]) {
		return c, false
	}
	c.choice = unsampled
	if flags[0]&1 != 0 {
		c.choice = sampled
	}
	return c, c.trace != [16]byte{} && c.parent != [8]byte{}
}

// unhex decodes lower-case hex that fills to.
func unhex(to []byte, text string) bool {
	if strings.ToLower(text) != text {
		return false
	}
	n, err := hex.Decode(to, []byte(text))
	return err == nil && n == len(to)
}

// parseTraceID reads an X-Amzn-Trace-Id header (AWS X-Ray developer guide,
// "Tracing header"). Its root is 1-, eight digits of the time and 24 more; without
// the dashes they are the trace id of all others.
func parseTraceID(header string) (c traceContext, ok bool) {
	for field := range strings.SplitSeq(header, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch key {
		case "Root":
			rest, one := strings.CutPrefix(value, "1-")
			ok = one && len(rest) == 33 && rest[8] == '-' &&
				unhex(c.trace[:4], strings.ToLower(rest[:8])) && unhex(c.trace[4:], strings.ToLower(rest[9:]))
		case "Parent":
			if len(value) != 16 || !unhex(c.parent[:], strings.ToLower(value)) {
				c.parent = [8]byte{}
			}
		case "Sampled":
			switch value {
			case "1":
				c.choice = sampled
			case "0":
				c.choice = unsampled
			}
		}
	}
	return c, ok && c.trace != [16]byte{}
}

// maxKept bounds what is kept of a caller's own fields in a trace header, in bytes.
const maxKept = 256

// header is the X-Amzn-Trace-Id of c below the span parent, with the fields of
// the header sent that are its sender's own.
func (c *traceContext) header(parent [8]byte, sent string) string {
	b := make([]byte, 0, 96)
	b = append(b, "Root=1-"...)
	b = hex.AppendEncode(b, c.trace[:4])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.trace[4:])
	b = append(b, ";Parent="...)
	b = hex.AppendEncode(b, parent[:])
	if c.choice == sampled {
		b = append(b, ";Sampled=1"...)
	} else {
		b = append(b, ";Sampled=0"...)
	}
	if len(sent) > maxKept {
		return string(b)
	}
	for field := range strings.SplitSeq(sent, ";") {
		field = strings.TrimSpace(field)
		switch key, _, pair := strings.Cut(field, "="); {
		case !pair, key == "Root", key == "Parent", key == "Sampled", key == "Self":
		default:
			b = append(append(b, ';'), field...)
		}
	}
	return string(b)
}

// newTrace makes the id of a new trace, which says when it began, as X-Ray wants it.
func newTrace(now time.Time) (id [16]byte) {
	_, _ = rand.Read(id[4:]) // never fails
	binary.BigEndian.PutUint32(id[:4], uint32(now.Unix()))
	return id
}

func newSpan() (id [8]byte) {
	_, _ = rand.Read(id[:]) // never fails
	id[0] |= 1              // no span's id is zero
	return id
}

// within tells whether a trace is among the share of all traces that is recorded.
// It looks at the part of the id that everyone fills at random.
func within(id [16]byte, share float64) bool {
	return float64(binary.BigEndian.Uint64(id[8:])>>11)/(1<<53) < share
}
