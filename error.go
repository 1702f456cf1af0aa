package lambent

import (
	"errors"
	"fmt"
)

// Code is the class of an Error. Doors map it to their dialect in one place;
// rooms decide by it with [CodeOf].
type Code string

// The codes. A user function that fails is not here: that is a [Result].
const (
	CodeInvalid      Code = "invalid"      // the request can never succeed as it is
	CodeNotFound     Code = "not_found"    // the named thing does not exist
	CodeConflict     Code = "conflict"     // it exists already, or its state forbids this
	CodePrecondition Code = "precondition" // the caller's revision is not the current one
	CodeTooLarge     Code = "too_large"    // a size limit is exceeded
	CodeThrottled    Code = "throttled"    // a concurrency or rate limit is exhausted
	CodeDenied       Code = "denied"       // who the caller is, or what it may do
	CodeUnsupported  Code = "unsupported"  // known, but not implemented here
	CodeUnavailable  Code = "unavailable"  // a part is missing or stopping; try again
	CodeTimeout      Code = "timeout"      // a deadline of the platform passed
	CodeCanceled     Code = "canceled"     // the caller went away
	CodeInternal     Code = "internal"     // a fault of ours; the message is not shown
)

// Error is the only error type that crosses a room's door. Message is for the
// person who called and may be shown; Cause is for the log and is not.
type Error struct {
	Code Code
	// Reason names the rule within the code where a dialect has more than one
	// answer for it, as one word: "InvalidZipFile", "RevisionMismatch". It may
	// be empty.
	Reason  string
	Message string
	Cause   error
}

// Errorf makes an Error whose message is formatted; a %w verb sets the cause.
func Errorf(code Code, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: wrapped.Error(), Cause: errors.Unwrap(wrapped)}
}

// WithReason returns e with its reason set.
func (e *Error) WithReason(reason string) *Error {
	e.Reason = reason
	return e
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Cause }

// CodeOf tells the code of the outermost Error in err's chain, CodeInternal for
// any other error and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// ReasonOf tells the reason of the outermost Error in err's chain, or "".
func ReasonOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}
