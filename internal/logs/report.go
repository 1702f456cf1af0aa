package logs

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Format writes the platform's own lines about an invocation: as text, or as
// JSON where the function's logging configuration says so. Its methods append a
// line without its newline to dst, or nothing where the configured level leaves
// the line out; they do nothing else. The wording is that of AWS Lambda developer
// guide, "Sending Lambda function logs to CloudWatch Logs", the JSON that of
// "Lambda Telemetry API Event schema reference".
type Format struct {
	JSON bool
	// Level is the least level of the JSON lines: DEBUG, INFO or WARN. Text has
	// all lines.
	Level string
	// Trace, if set, is the tracing header that JSON lines about an invocation name.
	Trace string
}

// FormatOf is the format that a version's logging configuration asks for.
func FormatOf(l lambent.Logging) Format {
	return Format{JSON: l.Format == "JSON", Level: l.SystemLevel}
}

// Result statuses, as REPORT and the telemetry events have them.
const (
	statusSuccess = "success"
	statusError   = "error"
	statusTimeout = "timeout"
)

// timedOut is the type of error of what has run out of time.
const timedOut = "Sandbox.Timedout"

// Status tells how the platform calls the end of an invocation, and the error's
// type. An error that the handler returned is a success of the platform, in text
// as in JSON: only the function's answer tells it.
func Status(r *lambent.Result) (status, errorType string) {
	if r.FunctionError == "" {
		return statusSuccess, ""
	}
	switch kind, _, _ := strings.Cut(r.ErrorType, "."); {
	case r.ErrorType == timedOut:
		return statusTimeout, ""
	case kind == "Runtime" || kind == "Sandbox" || kind == "Extension" || kind == "Function":
		return statusError, r.ErrorType
	}
	return statusSuccess, ""
}

// Init is what INIT_START says.
type Init struct {
	Runtime    string // "python:3.12.v18"
	RuntimeARN string
	// Type is the initialization type: "on-demand", "provisioned-concurrency" or
	// "snap-start".
	Type string
}

// InitStart is written when an instance begins to initialise.
func (f Format) InitStart(dst []byte, at time.Time, i Init) []byte {
	if !f.JSON {
		dst = append(append(dst, "INIT_START Runtime Version: "...), i.Runtime...)
		return append(append(dst, "\tRuntime Version ARN: "...), i.RuntimeARN...)
	}
	return f.event(dst, at, "INFO", "platform.initStart", map[string]any{
		"initializationType": i.Type, "phase": "init", "runtimeVersion": i.Runtime, "runtimeVersionArn": i.RuntimeARN,
	})
}

// InitReport is written when an instance could not initialise: errorType is why,
// "Sandbox.Timedout" where its time was over.
func (f Format) InitReport(dst []byte, at time.Time, initType string, took time.Duration, errorType string) []byte {
	status := statusError
	if errorType == timedOut {
		status, errorType = statusTimeout, ""
	}
	if f.JSON {
		record := map[string]any{
			"initializationType": initType, "phase": "init", "status": status,
			"metrics": map[string]any{"durationMs": number(milliseconds(took))},
		}
		if errorType != "" {
			record["errorType"] = errorType
		}
		return f.event(dst, at, "WARN", "platform.initReport", record)
	}
	dst = append(append(dst, "INIT_REPORT Init Duration: "...), milliseconds(took)...)
	dst = append(append(dst, " ms\tPhase: init\tStatus: "...), status...)
	if errorType != "" {
		dst = appendField(dst, "Error Type: ", errorType, "")
	}
	return dst
}

// InstanceEnd is written when the instance of an application has ended by itself, which
// no report of an invocation tells of. It is of our own; AWS has no such instances.
func (f Format) InstanceEnd(dst []byte, at time.Time, errorType, message string) []byte {
	if f.JSON {
		return f.event(dst, at, "WARN", "platform.instanceEnd", map[string]any{"status": statusError, "errorType": errorType, "message": message})
	}
	dst = append(append(dst, "INSTANCE_END Status: "...), statusError...)
	return appendField(appendField(dst, "Error Type: ", errorType, ""), "Message: ", message, "")
}

// Start is written before the event is handed over.
func (f Format) Start(dst []byte, at time.Time, requestID, version string) []byte {
	if !f.JSON {
		dst = append(append(dst, "START RequestId: "...), requestID...)
		return append(append(dst, " Version: "...), version...)
	}
	record := map[string]any{"requestId": requestID, "version": version}
	f.trace(record)
	return f.event(dst, at, "INFO", "platform.start", record)
}

// End is written when the runtime has answered.
func (f Format) End(dst []byte, at time.Time, requestID string, r *lambent.Result) []byte {
	if !f.JSON {
		return append(append(dst, "END RequestId: "...), requestID...)
	}
	record := f.record(requestID, r)
	produced := int64(len(r.Payload))
	if r.Report.Streamed > 0 {
		produced = r.Report.Streamed
		record["spans"] = streamSpans(at, r.Report)
	}
	record["metrics"] = map[string]any{
		"durationMs": number(milliseconds(r.Report.Duration)), "producedBytes": produced,
	}
	if r.CallerGone {
		record["callerGone"] = true
	}
	return f.event(dst, at, f.levelOf(r, "DEBUG"), "platform.runtimeDone", record)
}

// streamSpans are the parts of a streamed answer's time, as AWS names them
// ("Lambda Telemetry API Event schema reference", platform.runtimeDone): until its
// first byte, and from there to its end. at is when the answer ended.
func streamSpans(at time.Time, rep lambent.Report) []map[string]any {
	began := at.Add(-rep.Duration)
	return []map[string]any{
		span("responseLatency", began, rep.FirstByte),
		span("responseDuration", began.Add(rep.FirstByte), rep.Duration-rep.FirstByte),
	}
}

func span(name string, start time.Time, took time.Duration) map[string]any {
	return map[string]any{"name": name, "start": stamp(start), "durationMs": number(milliseconds(took))}
}

// Report is written last.
func (f Format) Report(dst []byte, at time.Time, requestID string, r *lambent.Result) []byte {
	if !f.JSON {
		return appendReport(dst, requestID, r)
	}
	rep := r.Report
	metrics := map[string]any{
		"durationMs": number(milliseconds(rep.Duration)), "billedDurationMs": rep.Billed.Milliseconds(),
		"memorySizeMB": rep.MemoryMB, "maxMemoryUsedMB": rep.MaxMemoryMB,
	}
	if rep.Init > 0 {
		metrics["initDurationMs"] = number(milliseconds(rep.Init))
	}
	record := f.record(requestID, r)
	record["metrics"] = metrics
	if rep.Extensions > 0 {
		record["spans"] = []map[string]any{span("extensionOverhead", at.Add(-rep.Extensions), rep.Extensions)}
	}
	if rep.Cold && rep.Origin != "" {
		record["coldStart"] = coldStart(rep)
	}
	if rep.Thaw > 0 {
		record["thawMs"] = number(milliseconds(rep.Thaw))
	}
	if r.CallerGone {
		record["callerGone"] = true
	}
	return f.event(dst, at, f.levelOf(r, "INFO"), "platform.report", record)
}

// coldStart is the member that AWS's record does not have: where the instance's
// process came from, and each stage's time.
func coldStart(rep lambent.Report) map[string]any {
	stages := map[string]any{}
	names := lambent.Stages()
	for i, took := range lambent.StageTimes(rep.Stages) {
		stages[names[i]+"Ms"] = number(milliseconds(took))
	}
	return map[string]any{"origin": rep.Origin, "stages": stages}
}

// appendReport is the REPORT line. A status stands at its end and only when the
// platform ended the invocation. Cold Start, Thaw and Streamed are fields that
// AWS's line does not have; its own stand around them as ever.
func appendReport(dst []byte, requestID string, r *lambent.Result) []byte {
	rep := r.Report
	dst = append(append(dst, "REPORT RequestId: "...), requestID...)
	dst = appendField(dst, "Duration: ", milliseconds(rep.Duration), " ms")
	dst = appendField(dst, "Billed Duration: ", strconv.FormatInt(rep.Billed.Milliseconds(), 10), " ms")
	dst = appendField(dst, "Memory Size: ", strconv.Itoa(rep.MemoryMB), " MB")
	dst = appendField(dst, "Max Memory Used: ", strconv.Itoa(rep.MaxMemoryMB), " MB")
	if rep.Init > 0 {
		dst = appendField(dst, "Init Duration: ", milliseconds(rep.Init), " ms")
	}
	if rep.Cold && rep.Origin != "" {
		dst = appendColdStart(dst, rep)
	}
	if rep.Thaw > 0 {
		dst = appendField(dst, "Thaw: ", milliseconds(rep.Thaw), " ms")
	}
	if r.CallerGone {
		dst = appendField(dst, "Streamed: ", strconv.FormatInt(rep.Streamed, 10), " bytes, then the caller left")
	}
	status, errorType := Status(r)
	switch status {
	case statusTimeout:
		return append(dst, "\tStatus: timeout"...)
	case statusError:
		return appendField(append(dst, "\tStatus: error"...), "Error Type: ", errorType, "")
	}
	return append(dst, '\t')
}

// appendColdStart tells where a cold start's process came from and how long each
// stage took.
func appendColdStart(dst []byte, rep lambent.Report) []byte {
	dst = append(append(dst, "\tCold Start: "...), rep.Origin...)
	names := lambent.Stages()
	for i, took := range lambent.StageTimes(rep.Stages) {
		dst = append(append(append(dst, ' '), names[i]...), '=')
		dst = strconv.AppendFloat(dst, float64(took)/float64(time.Millisecond), 'f', 2, 64)
	}
	return append(dst, " ms"...)
}

func appendField(dst []byte, name, value, unit string) []byte {
	dst = append(append(dst, '\t'), name...)
	return append(append(dst, value...), unit...)
}

// milliseconds has two decimals, rounded.
func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 2, 64)
}

func number(s string) json.Number { return json.Number(s) }

// TimedOut is what stands in the log of a function that ran out of time.
func (f Format) TimedOut(dst []byte, at time.Time, requestID string, limit time.Duration) []byte {
	text := fmt.Sprintf("%s %s Task timed out after %.2f seconds", stamp(at), requestID, limit.Seconds())
	return append(dst, text...)
}

func (f Format) record(requestID string, r *lambent.Result) map[string]any {
	status, errorType := Status(r)
	record := map[string]any{"requestId": requestID, "status": status}
	if errorType != "" {
		record["errorType"] = errorType
	}
	f.trace(record)
	return record
}

// trace adds what AWS calls a TraceContext, if there is one.
func (f Format) trace(record map[string]any) {
	if f.Trace != "" {
		record["tracing"] = map[string]string{"type": "X-Amzn-Trace-Id", "value": f.Trace}
	}
}

// levelOf is WARN for what the platform ended.
func (Format) levelOf(r *lambent.Result, normal string) string {
	if status, _ := Status(r); status != statusSuccess {
		return "WARN"
	}
	return normal
}

// levels orders what PutFunctionConfiguration's SystemLogLevel may be.
var levels = map[string]int{"DEBUG": 0, "INFO": 1, "WARN": 2}

// event appends one JSON line, if its level is logged. INFO is the default.
func (f Format) event(dst []byte, at time.Time, level, kind string, record map[string]any) []byte {
	least, ok := levels[f.Level]
	if !ok {
		least = levels["INFO"]
	}
	if levels[level] < least {
		return dst
	}
	text, err := json.Marshal(struct {
		Time   string         `json:"time"`
		Type   string         `json:"type"`
		Record map[string]any `json:"record"`
	}{stamp(at), kind, record})
	if err != nil { // texts and numbers always marshal
		return dst
	}
	return append(dst, text...)
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
