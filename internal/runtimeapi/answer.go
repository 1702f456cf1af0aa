package runtimeapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"lambent.dev/lambent/internal/sandbox"
)

// Bounds of what a runtime may send, beside lambent.MaxPayload for answers and
// error objects.
const (
	maxInitError = 1 << 20  // bytes of the body of /runtime/init/error
	maxDrain     = 32 << 20 // bytes of a refused body that are read and dropped
)

// Content types that are more than passed on.
const (
	typeErrorCause = "application/vnd.aws.lambda.error.cause+json"
	typeJSON       = "application/json"
	typeBytes      = "application/octet-stream"
)

// errTooLarge is receive's answer to a body over its limit.
var errTooLarge = errors.New("body too large")

// post is one POST of the runtime, as either server hands it over.
type post struct {
	contentType string
	invocation  string // Lambda-Runtime-Invocation-Id, or ""
	errorType   string // Lambda-Runtime-Function-Error-Type, or ""
	mode        string // Lambda-Runtime-Function-Response-Mode, or ""
	length      int64  // of the body in bytes, -1 when it comes in chunks
	body        io.Reader
	// trailer reads a trailer after the end of body.
	trailer func(name string) string
	// halt makes the reading of body fail, now and later, until it is called with
	// false; nil cannot.
	halt func(bool)
	// ready tells that more of body has been read ahead; nil cannot.
	ready func() bool
	end   [1]byte // room to read the end of body
}

// receive reads a body of at most limit bytes.
func receive(p *post, limit int) ([]byte, error) {
	if p.length > int64(limit) {
		return nil, errTooLarge
	}
	if p.length >= 0 {
		b := make([]byte, p.length)
		if _, err := io.ReadFull(p.body, b); err != nil {
			return nil, fmt.Errorf("read the body: %w", err)
		}
		// The reader still has to see the end, as trailers and reuse of the
		// connection hang on it.
		if _, err := p.body.Read(p.end[:]); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the end of the body: %w", err)
		}
		return b, nil
	}
	return receiveChunks(p.body, limit)
}

// chunksBuffer is what a body of unknown length gets at first, in bytes: most
// answers fit it.
const chunksBuffer = 2 << 10

// receiveChunks is receive for a body of unknown length.
func receiveChunks(body io.Reader, limit int) ([]byte, error) {
	b := make([]byte, 0, chunksBuffer)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > limit:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, fmt.Errorf("read the body: %w", err)
		}
	}
}

// truncated is what the caller gets when the connection ended within an answer.
func truncated() *sandbox.Failure {
	return &sandbox.Failure{Type: "Runtime.TruncatedResponse", Message: "The runtime broke off its response"}
}

// success makes the answer of a /response. The trailers count in buffered mode
// too: aws-lambda-go reports an error that it meets while it sends in them.
func success(p *post, body []byte) sandbox.Answer {
	a := sandbox.Answer{Payload: body, ContentType: p.contentType}
	failed := p.trailer(headerErrorType)
	if failed == "" {
		return a
	}
	a.FunctionError, a.ErrorType = true, sandbox.ErrorType(failed)
	a.ContentType = typeJSON
	object, err := base64.StdEncoding.DecodeString(p.trailer(trailerErrorBody))
	if err != nil || !json.Valid(object) {
		object = errorObject("The runtime reported an error that cannot be read", failed)
	}
	a.Payload = object
	return a
}

// failure makes the answer of an /error: the runtime's error object as it is,
// or without its X-Ray cause where that is sent inside it.
func failure(p *post, body []byte) sandbox.Answer {
	a := sandbox.Answer{
		Payload:       body,
		ContentType:   p.contentType,
		FunctionError: true,
		ErrorType:     sandbox.ErrorType(p.errorType),
	}
	if mediaType(p.contentType) != typeErrorCause {
		return a
	}
	var object struct {
		Message string          `json:"errorMessage,omitempty"`
		Type    string          `json:"errorType,omitempty"`
		Stack   json.RawMessage `json:"stackTrace,omitempty"`
	}
	if err := json.Unmarshal(body, &object); err != nil {
		a.Payload, a.ContentType = []byte(`"Invalid error body"`), typeBytes
		return a
	}
	a.ContentType = typeJSON
	a.Payload, _ = json.Marshal(object) // strings and checked JSON always marshal
	return a
}

// initFailure makes the failure of an /init/error.
func initFailure(p *post, body []byte) *sandbox.Failure {
	f := &sandbox.Failure{Type: sandbox.ErrorType(p.errorType), Payload: body, Raw: true}
	var object struct {
		Message string `json:"errorMessage"`
	}
	isObject := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
	if !isObject || json.Unmarshal(body, &object) != nil { // ours stands in for it
		f.Payload = nil
		f.Raw = false
		f.Message = "The runtime failed to initialise"
		return f
	}
	f.Message = object.Message
	return f
}

// mediaType is a content type without its parameters.
func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(s))
}

// errorObject is an AWS error object.
func errorObject(message, typ string) []byte {
	b, _ := json.Marshal(struct { // two strings always marshal
		Message string `json:"errorMessage"`
		Type    string `json:"errorType"`
	}{message, typ})
	return b
}

// since is the time since the hand-over of x.
func (x *exchange) since() time.Duration { return time.Since(x.handed) }
