package lambent

import "time"

// Invocation is one call of a function, as every door hands it to the spine.
type Invocation struct {
	RequestID string // UUID; the caller sees it, logs carry it
	Namespace string
	Function  string
	Qualifier string // version number, alias, or "" for Latest
	Payload   []byte
	// ClientContext is the JSON of X-Amz-Client-Context, decoded; it may be nil.
	ClientContext []byte
	TraceID       string // value of X-Amzn-Trace-Id; made when empty
	Source        string // which door: "lambda", "url", "schedule" ...
	WantTail      bool   // LogTail is filled in the result
	Arrived       time.Time
}

// Result is what became of an invocation that reached the function, or that the
// platform ended on the function's account. A failing function is a Result with
// FunctionError set, never a Go error.
type Result struct {
	ExecutedVersion string
	Payload         []byte // answer, or the error object as JSON
	ContentType     string
	FunctionError   string // "" or "Unhandled"
	ErrorType       string // of FunctionError: "Sandbox.Timedout", "Runtime.ExitError" ...
	LogTail         []byte
	Report          Report
}

// Report is what the REPORT line says.
type Report struct {
	Duration    time.Duration // from the hand-over of the event to the answer
	Billed      time.Duration // Duration (and Init, when it is billed), rounded up to 1 ms
	Init        time.Duration // of a cold start; zero when warm
	MemoryMB    int
	MaxMemoryMB int
	Cold        bool
	Stages      []Stage // of a cold start, in order
}

// Stage is one timed step of a cold start.
type Stage struct {
	Name  string
	Start time.Time
	Took  time.Duration
}
