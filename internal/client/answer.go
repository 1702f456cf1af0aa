package client

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"lambent.dev/lambent"
)

// refusal reads the error that an answer carries. Signatures are refused before
// the dialect is known, in AWS's shape, so that both shapes are read.
func refusal(resp *http.Response, body []byte) error {
	var e struct {
		Error
		AWSMessage string `json:"Message"`
	}
	// A body that is not JSON leaves e empty, which is dealt with below.
	_ = json.Unmarshal(body, &e)
	if e.Code != "" {
		return &lambent.Error{Code: lambent.Code(e.Code), Reason: e.Reason, Message: e.Message}
	}
	message := e.Message
	if message == "" {
		message = e.AWSMessage
	}
	kind, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	if kind == "" || message == "" {
		return lambent.Errorf(lambent.CodeUnavailable, "the server answered %s: is this a lambent server?", resp.Status)
	}
	code := lambent.CodeInvalid
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusUnauthorized:
		code = lambent.CodeDenied
		message += " (the keys in use are not this server's, or the clocks differ)"
	case http.StatusRequestEntityTooLarge:
		code = lambent.CodeTooLarge
	}
	return &lambent.Error{Code: code, Reason: kind, Message: message}
}

func newLines(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	return lines
}

// parseLine reads one line of a streamed answer; an error line is an error.
func parseLine[T any](line []byte) (T, error) {
	var item T
	var last struct {
		Error *Error `json:"error"`
	}
	if err := json.Unmarshal(line, &last); err == nil && last.Error != nil {
		return item, &lambent.Error{Code: lambent.Code(last.Error.Code), Reason: last.Error.Reason, Message: last.Error.Message}
	}
	if err := json.Unmarshal(line, &item); err != nil {
		return item, lambent.Errorf(lambent.CodeUnavailable, "read the server's answer: %w", err)
	}
	return item, nil
}
