package relay

import (
	"encoding/json"
	"slices"
	"strings"
)

// Versions of the Logs API's events; the first is the one of who asks for none.
var logsSchemas = []string{"2020-08-15", "2021-03-18"}

// reportMetrics are what a report has in the Logs API.
var reportMetrics = []string{"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"}

// older words an event for a subscriber of the Logs API, in a version of its schema
// (AWS Lambda developer guide, "Using the Lambda Logs API", "Log messages"): it has
// fewer kinds of events, less in each, and one more, platform.end, when extensions are
// through, too: hence platform.runtimeDone, which its first version did not have.
func older(schema string, event []byte) [][]byte {
	var e struct {
		Time, Type string
		Record     json.RawMessage
	}
	if json.Unmarshal(event, &e) != nil { // none of ours
		return nil
	}
	switch e.Type {
	case "function", "extension":
		return [][]byte{encode(e.Time, e.Type, text(e.Record)+"\n")}
	case "platform.extension", "platform.logsSubscription", "platform.logsDropped":
		return [][]byte{event}
	case "platform.start", "platform.runtimeDone", "platform.report":
	default:
		return nil
	}
	var r struct {
		Request string                     `json:"requestId"`
		Version string                     `json:"version,omitempty"`
		Status  string                     `json:"status,omitempty"`
		Error   string                     `json:"errorType,omitempty"`
		Metrics map[string]json.RawMessage `json:"metrics,omitempty"`
	}
	if json.Unmarshal(e.Record, &r) != nil {
		return nil
	}
	status, fault := r.Status, r.Error
	r.Status, r.Error = "", ""
	switch e.Type {
	case "platform.start":
		return [][]byte{encode(e.Time, e.Type, r)}
	case "platform.report":
		for name := range r.Metrics {
			if !slices.Contains(reportMetrics, name) {
				delete(r.Metrics, name)
			}
		}
		metrics := r.Metrics
		r.Metrics = nil
		end := encode(e.Time, "platform.end", r)
		r.Metrics = metrics
		return [][]byte{end, encode(e.Time, e.Type, r)}
	}
	var all [][]byte
	r.Metrics = nil
	if schema != logsSchemas[0] {
		done := r
		if done.Status = status; status == "error" {
			done.Status = "failure"
		}
		all = append(all, encode(e.Time, e.Type, done))
	}
	if fault == "Runtime.ExitError" || strings.HasPrefix(fault, "Extension.") {
		all = append(all, encode(e.Time, "platform.fault", "RequestId: "+r.Request+" Process exited before completing request"))
	}
	return all
}

// text is a record that is a line: one that was passed on as an object is text again.
func text(record json.RawMessage) string {
	var line string
	if json.Unmarshal(record, &line) == nil {
		return line
	}
	return string(record)
}
