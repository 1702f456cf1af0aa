package event

import (
	"net/http"
	"strconv"
	"strings"
)

// grpcCodes are the status codes of gRPC for those of HTTP, as its clients take them
// ("HTTP to gRPC Status Code Mapping"), but for a time-out: clients send what was
// UNAVAILABLE again, and a call that was cut may have had its effect.
var grpcCodes = map[int]int{
	http.StatusBadRequest:            13, // INTERNAL
	http.StatusUnauthorized:          16, // UNAUTHENTICATED
	http.StatusForbidden:             7,  // PERMISSION_DENIED
	http.StatusNotFound:              12, // UNIMPLEMENTED
	http.StatusRequestEntityTooLarge: 8,  // RESOURCE_EXHAUSTED
	http.StatusTooManyRequests:       14, // UNAVAILABLE
	http.StatusNotImplemented:        12,
	http.StatusBadGateway:            14,
	http.StatusServiceUnavailable:    14,
	http.StatusGatewayTimeout:        4, // DEADLINE_EXCEEDED
}

// IsGRPC tells whether a request is a call of gRPC, which needs HTTP/2 (gRPC over
// HTTP/2, "Requests").
func IsGRPC(r *http.Request) bool {
	kind, ok := strings.CutPrefix(r.Header.Get("Content-Type"), "application/grpc")
	return ok && r.ProtoMajor == 2 && (kind == "" || kind[0] == '+' || kind[0] == ';')
}

// RefuseGRPC answers a call of gRPC that no application has answered: its clients show
// the message only if it comes in their own form (gRPC over HTTP/2, "Responses",
// Trailers-Only). It tells whether r is such a call; if not, it does nothing.
func RefuseGRPC(w http.ResponseWriter, r *http.Request, status int, message string) bool {
	if !IsGRPC(r) {
		return false
	}
	w.Header()["Content-Type"] = []string{"application/grpc"}
	endGRPC(w.Header(), "", status, message)
	w.WriteHeader(http.StatusOK)
	return true
}

// EndGRPC is RefuseGRPC for an answer that has begun and broke off.
func EndGRPC(w http.ResponseWriter, r *http.Request, status int, message string) bool {
	if !IsGRPC(r) {
		return false
	}
	endGRPC(w.Header(), http.TrailerPrefix, status, message)
	return true
}

func endGRPC(h http.Header, prefix string, status int, message string) {
	code, ok := grpcCodes[status]
	if !ok {
		code = 2 // UNKNOWN
	}
	h[prefix+"Grpc-Status"] = []string{strconv.Itoa(code)}
	h[prefix+"Grpc-Message"] = []string{percentEncode(message)}
}

// percentEncode writes a message as a header has it (gRPC over HTTP/2,
// "Status-Message").
func percentEncode(s string) string {
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}
