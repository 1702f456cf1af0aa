package runtimeapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// each calls set for every header of the event; what is empty is left out, as on
// AWS.
func (x *exchange) each(set func(name, value string)) {
	ev := &x.event
	set(headerRequestID, headerText(ev.RequestID))
	set(headerInvocationID, headerText(x.id))
	if !ev.Deadline.IsZero() {
		set(headerDeadline, strconv.FormatInt(ev.Deadline.UnixMilli(), 10))
	}
	if ev.FunctionARN != "" {
		set(headerFunctionARN, headerText(ev.FunctionARN))
	}
	if ev.TraceID != "" {
		set(headerTraceID, headerText(ev.TraceID))
	}
	if len(ev.ClientContext) > 0 {
		set(headerClientContext, headerJSON(ev.ClientContext))
	}
}

// headerText is s without the bytes that a header must not have (RFC 9110,
// section 5.5); what comes from a caller must not become a header of its own.
func headerText(s string) string {
	if isHeaderText(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
}

func isHeaderText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// headerJSON is the JSON b in one line of ASCII: white space between tokens goes,
// and characters outside ASCII, which only strings have, are escaped. What is not
// JSON loses the bytes that a header must not have.
func headerJSON(b []byte) string {
	if s := string(b); isHeaderText(s) {
		return s
	}
	var line bytes.Buffer
	if json.Compact(&line, b) != nil {
		return headerText(string(b))
	}
	out := make([]byte, 0, line.Len()+16)
	for b := line.Bytes(); len(b) > 0; {
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case r < 0x7f:
			out = append(out, byte(r))
		case r >= 0x10000:
			high, low := utf16.EncodeRune(r)
			out = appendEscape(appendEscape(out, high), low)
		default:
			out = appendEscape(out, r)
		}
	}
	return string(out)
}

func appendEscape(out []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(out, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
