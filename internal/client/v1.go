package client

import (
	"encoding/json"
	"time"
)

// The nouns of the /v1 dialect. Both ends use these types: package httpapi writes
// what this package reads. Durations are in the unit that the name says.

// Version says what is running.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go,omitempty"`
	Region  string `json:"region,omitempty"`
	Account string `json:"account,omitempty"`
}

// Function is one version of a function, the head unless asked otherwise.
type Function struct {
	Name           string            `json:"name"`
	ARN            string            `json:"arn"`
	Version        string            `json:"version"`
	Description    string            `json:"description,omitempty"`
	Runtime        string            `json:"runtime,omitempty"`
	Handler        string            `json:"handler,omitempty"`
	Arch           string            `json:"arch,omitempty"`
	MemoryMB       int               `json:"memoryMB"`
	EphemeralMB    int               `json:"ephemeralMB"`
	TimeoutSeconds float64           `json:"timeoutSeconds"`
	Role           string            `json:"role,omitempty"`
	Env            map[string]string `json:"env,omitempty"`
	Layers         []string          `json:"layers,omitempty"`
	Network        string            `json:"network"` // outbound, loopback or none
	CodeSHA256     string            `json:"codeSHA256"`
	CodeBytes      int64             `json:"codeBytes"`
	LogGroup       string            `json:"logGroup"`
	State          string            `json:"state"`
	StateReason    string            `json:"stateReason,omitempty"`
	UpdateStatus   string            `json:"updateStatus,omitempty"`
	RevisionID     string            `json:"revisionId"`
	LastModified   time.Time         `json:"lastModified"`
	Tags           map[string]string `json:"tags,omitempty"`
}

// FunctionList is one page; Next, when not empty, asks for the one after it.
type FunctionList struct {
	Functions []Function `json:"functions"`
	Next      string     `json:"next,omitempty"`
}

// Deploy is what a function shall be. A nil member keeps what the function has,
// or takes the default of a new one.
type Deploy struct {
	// Zip is the code, base64 in JSON. It is needed for a new function. The
	// multipart form carries it as a part named "zip", beside a part "config" with
	// the rest.
	Zip         []byte             `json:"zip,omitempty"`
	Description *string            `json:"description,omitempty"`
	Runtime     *string            `json:"runtime,omitempty"`
	Handler     *string            `json:"handler,omitempty"`
	Arch        *string            `json:"arch,omitempty"`
	MemoryMB    *int               `json:"memoryMB,omitempty"`
	EphemeralMB *int               `json:"ephemeralMB,omitempty"`
	Timeout     *float64           `json:"timeoutSeconds,omitempty"`
	Role        *string            `json:"role,omitempty"`
	Env         *map[string]string `json:"env,omitempty"`
	Layers      *[]string          `json:"layers,omitempty"`
	Network     *string            `json:"network,omitempty"`
}

// Deployed is what a deploy did. Changed is empty when the function was already
// as asked.
type Deployed struct {
	Function Function `json:"function"`
	Created  bool     `json:"created"`
	Changed  []string `json:"changed"`
	Timings  []Timing `json:"timings"`
}

// Timing is one step and how long it took.
type Timing struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"`
}

// Statuses of an invocation.
const (
	StatusOK            = "ok"
	StatusFunctionError = "function_error"
)

// Invocation is what came of a call. A payload that is not JSON is a JSON string.
type Invocation struct {
	RequestID string          `json:"requestId"`
	Status    string          `json:"status"`
	Version   string          `json:"version"`
	Payload   json.RawMessage `json:"payload"`
	Error     *FunctionError  `json:"error,omitempty"`
	Report    Report          `json:"report"`
	LogTail   string          `json:"logTail,omitempty"`
}

// FunctionError is how the function failed; the payload has its stack trace.
type FunctionError struct {
	Type    string `json:"type"`
	Message string `json:"message,omitempty"`
}

// Report is the figures of one invocation.
type Report struct {
	DurationMS  float64  `json:"durationMs"`
	BilledMS    float64  `json:"billedMs"`
	InitMS      float64  `json:"initMs,omitempty"`
	MemoryMB    int      `json:"memoryMB"`
	MaxMemoryMB int      `json:"maxMemoryMB"`
	Cold        bool     `json:"cold"`
	Stages      []Timing `json:"stages,omitempty"`
}

// LogEvent is one line that a function or the platform wrote.
type LogEvent struct {
	Time      time.Time `json:"time"`
	Stream    string    `json:"stream"`
	RequestID string    `json:"requestId,omitempty"`
	Message   string    `json:"message"`
}

// Runtime is one language runtime of the server.
type Runtime struct {
	Name    string `json:"name"`
	State   string `json:"state"` // ready, installable or unsupported
	Version string `json:"version,omitempty"`
	Path    string `json:"path,omitempty"`
	Note    string `json:"note,omitempty"`
}

// RuntimeList is every runtime name the server knows.
type RuntimeList struct {
	Runtimes []Runtime `json:"runtimes"`
}

// Progress is one line of a long operation's answer.
type Progress struct {
	Progress string `json:"progress,omitempty"`
	Done     bool   `json:"done,omitempty"`
}

// Error is the body of every answer that is not a success, and the last line of a
// streamed one that broke off, there under the key "error".
type Error struct {
	Code      string `json:"code"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message"`
	RequestID string `json:"requestId,omitempty"`
}
