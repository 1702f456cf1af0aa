package lambent

import (
	"context"
	"time"
)

// Invocation is one call of a function, as every door hands it to the spine.
type Invocation struct {
	RequestID string // UUID; the caller sees it, logs carry it
	Namespace string
	Function  string
	Qualifier string // version number, alias, or "" for Latest
	// Version is the number of the version that a rule of the alias Qualifier has
	// chosen for this call; "" leaves it to the alias.
	Version string
	Payload []byte
	// ClientContext is the JSON of X-Amz-Client-Context, decoded; it may be nil.
	ClientContext []byte
	TraceID       string // value of X-Amzn-Trace-Id; made when empty
	Source        string // which door: "lambda", "url", "schedule" ...
	WantTail      bool   // LogTail is filled in the result
	// Stream, if set, takes an answer that the function streams; the result's
	// payload is then empty, or the error that came after the first part.
	Stream  Stream
	Arrived time.Time
	// Affinity says whose call it is, for callers that shall stay with one instance
	// while there is that instance; "" is nobody's.
	Affinity string
	// NoQueue refuses the call at once where it would have to wait for a limit of
	// concurrency: its caller has a queue of its own.
	NoQueue bool
	// Timeout, if positive, is the limit of this call in place of the version's.
	Timeout time.Duration
	// Stop, if set, ends a call that runs when it ends, and its instance with it.
	Stop context.Context
	// Progress, if set, takes what the function tells of how far it is: JSON of at
	// most [MaxProgress] bytes and [MaxProgressDepth] levels, from another goroutine.
	// It must not keep it.
	Progress func(report []byte)
	// Broken is set by a door that has passed the call to an application: the answer
	// says that the application has failed.
	Broken bool
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
	// CallerGone tells that the invocation's Stream took no more before the answer
	// was through.
	CallerGone bool
	LogTail    []byte
	Report     Report
}

// Outcome is what became of a call, in short.
type Outcome int

// Outcomes.
const (
	CallAnswered Outcome = iota // by the function
	CallFailed                  // by the function's fault, or its instance's
	CallRefused                 // it has reached no instance, or its caller gave up: not the function's fault
)

// Report is what the REPORT line says.
type Report struct {
	Duration    time.Duration // from the hand-over of the event to the answer, or until extensions were through
	Extensions  time.Duration // of Duration, what passed after the runtime was through
	Billed      time.Duration // Duration (and Init, when it is billed), rounded up to 1 ms
	Init        time.Duration // of a cold start, the function's own part; zero when warm
	MemoryMB    int
	MaxMemoryMB int
	Instance    string        // its log stream, which names it
	Cold        bool          // the call waited for a start
	Origin      Origin        // of the instance, when cold
	Stages      []Stage       // of a cold start, in order
	Thaw        time.Duration // to wake an instance that was frozen; zero otherwise
	Streamed    int64         // bytes that went to the invocation's Stream
	FirstByte   time.Duration // from the hand-over to the first of them
}

// The stages of a cold start, in the order in which most of each happens. Every
// span that is taken of a cold start belongs to one of them; a stage may have
// several spans.
const (
	StageSandbox = "sandbox" // namespaces, user, limits, the process itself
	StageCode    = "code"    // code and layers: find, unpack, pin
	StageFiles   = "files"   // environment variables, output, /tmp
	StageNetwork = "network" // network and mounts
	StageRuntime = "runtime" // the language runtime comes up
	StageInit    = "init"    // the function's own initialisation: billing starts here
)

// Stages lists their names in order.
func Stages() []string {
	return []string{StageSandbox, StageCode, StageFiles, StageNetwork, StageRuntime, StageInit}
}

// StageTimes sums the spans of each stage, in the order of [Stages].
func StageTimes(spans []Stage) [6]time.Duration {
	var sums [6]time.Duration
	for i, name := range Stages() {
		for _, s := range spans {
			if s.Name == name {
				sums[i] += s.Took
			}
		}
	}
	return sums
}

// Origin tells where an instance's process came from.
type Origin string

// Origins.
const (
	OriginStart  Origin = "start"  // started for this function, from nothing
	OriginBlank  Origin = "blank"  // taken from a reserve, started earlier
	OriginFork   Origin = "fork"   // forked from a warm interpreter for this cold start
	OriginModule Origin = "module" // made from a compiled module, without a process
)

// Stage is one timed span of a cold start. Name is one of [Stages].
type Stage struct {
	Name  string
	Start time.Time
	Took  time.Duration
}
