package sandbox

import (
	"fmt"
	"strings"
	"time"
)

// TimedOut is the failure of a function that ran for d, its time-out. AWS gives
// the configured figure, which is whole seconds; what the way from the caller to
// the driver took off it is rounded away.
func TimedOut(d time.Duration) *Failure {
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	return &Failure{
		Type:    "Sandbox.Timedout",
		Message: fmt.Sprintf("Task timed out after %.2f seconds", max(d, 0).Seconds()),
	}
}

// TooLarge is what the caller gets for an answer over limit bytes, in AWS's words.
func TooLarge(limit int) *Failure {
	return &Failure{
		Type:    "Function.ResponseSizeTooLarge",
		Message: fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", limit),
		Raw:     true,
	}
}

// maxErrorType is how long the type of an error can be, in bytes.
const maxErrorType = 256

// ErrorType is the type that is shown for what a runtime named: its own if it has
// the form "Runtime.Xxx" or "Function.Xxx", AWS's default otherwise.
func ErrorType(named string) string {
	kind, name, _ := strings.Cut(named, ".")
	known := kind == "Runtime" || kind == "Function"
	if known && len(named) <= maxErrorType && isName(name) {
		return named
	}
	if kind == "Function" {
		return "Function.Unknown"
	}
	return "Runtime.Unknown"
}

// isName tells whether s is a capital letter followed by letters.
func isName(s string) bool {
	for i := range len(s) {
		upper := s[i] >= 'A' && s[i] <= 'Z'
		lower := s[i] >= 'a' && s[i] <= 'z'
		if !upper && (i == 0 || !lower) {
			return false
		}
	}
	return len(s) > 1
}
