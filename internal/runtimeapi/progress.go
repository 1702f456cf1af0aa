package runtimeapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"lambent.dev/lambent"
)

// A function that runs for long tells how far it is by
// PUT /lambent/v1/invocation/{request id}/progress with JSON of its own. AWS has
// nothing like it.
const progressBase = "/lambent/v1/invocation/"

func progressRoute(path string) (op operation, id string) {
	id, verb, _ := strings.Cut(strings.TrimPrefix(path, progressBase), "/")
	if verb != "progress" || id == "" || len(id) > maxRequestID {
		return opUnknown, ""
	}
	return opProgress, id
}

// depth is how many lists and objects are within each other in valid JSON.
func depth(text []byte) (most int) {
	level := 0
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return most
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			level++
		case json.Delim(']'), json.Delim('}'):
			level--
		}
		most = max(most, level)
	}
}

// progress hands a report on to the caller of the event that the runtime has. It
// changes no state: the report may come from a thread beside the handler.
func (s *Session) progress(id string, p *post) reply {
	body, err := receive(p, lambent.MaxProgress)
	switch {
	case errors.Is(err, errTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "A report of progress has at most 65536 bytes")
	case err != nil:
		return refuseTruncated()
	case !json.Valid(body) || depth(body) > lambent.MaxProgressDepth:
		return refuse(http.StatusBadRequest, "InvalidRequestContent", "A report of progress is JSON of at most 100 levels")
	}
	s.mu.Lock()
	x := s.current
	live := x != nil && !x.settled && s.state == running && x.event.RequestID == id
	s.mu.Unlock()
	if !live {
		return refuseID()
	}
	if x.event.Progress != nil {
		x.event.Progress(body)
	}
	return accepted
}
