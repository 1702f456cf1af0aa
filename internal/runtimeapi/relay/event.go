package relay

import (
	"bytes"
	"encoding/json"
	"time"
)

// Encode makes an event: JSON in the shape of "Lambda Telemetry API Event schema
// reference". Record must be something that encodes.
func Encode(at time.Time, kind string, record any) []byte {
	return encode(at.UTC().Format("2006-01-02T15:04:05.000Z"), kind, record)
}

func encode(at, kind string, record any) []byte {
	b, err := json.Marshal(struct {
		Time   string `json:"time"`
		Type   string `json:"type"`
		Record any    `json:"record"`
	}{at, kind, record})
	if err != nil {
		panic("telemetry event: " + err.Error())
	}
	return b
}

// Line makes the event of a line that a function or an extension has written. Where
// the function's logs are JSON, a line that is an object is passed on as one (same
// reference, "function").
func Line(at time.Time, kind Kind, line []byte, objects bool) []byte {
	if line = bytes.TrimSuffix(line, []byte{'\r'}); objects && bytes.HasPrefix(line, []byte{'{'}) && json.Valid(line) {
		return Encode(at, kindNames[kind], json.RawMessage(line))
	}
	return Encode(at, kindNames[kind], string(line))
}

// dropped is what a subscriber is told of events that it could not be given.
func dropped(records, size int) []byte {
	return Encode(time.Now(), "platform.logsDropped", struct {
		Reason  string `json:"reason"`
		Records int    `json:"droppedRecords"`
		Bytes   int    `json:"droppedBytes"`
	}{"Consumer seems to have fallen behind as it has not acknowledged receipt of logs.", records, size})
}
