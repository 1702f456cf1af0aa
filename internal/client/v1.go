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
	App            *App              `json:"app,omitempty"`
	// Image is the reference of the container image that it is made of, and
	// ImageDigest the image that this led to, "sha256:...".
	Image       string `json:"image,omitempty"`
	ImageDigest string `json:"imageDigest,omitempty"`
	// ImagePort is the lowest port that the image exposes; 0 is none.
	ImagePort int `json:"imagePort,omitempty"`
}

// App is what makes a function an HTTP application: a program that serves its
// port. Zero members take the defaults; no port is no application.
type App struct {
	Port         int      `json:"port"`
	Command      []string `json:"command,omitempty"` // nil is the file bootstrap
	Health       string   `json:"health,omitempty"`
	StartTimeout float64  `json:"startTimeoutSeconds,omitempty"`
	Concurrency  int      `json:"concurrency,omitempty"` // requests per instance
	// IdleTimeout bounds silence on a stream or a WebSocket.
	IdleTimeout float64 `json:"idleTimeoutSeconds,omitempty"`
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
	Zip []byte `json:"zip,omitempty"`
	// Image is the reference of a container image, in place of Zip.
	Image       *string            `json:"image,omitempty"`
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
	// App makes it an HTTP application, or with port 0 a function again.
	App *App `json:"app,omitempty"`
	// MinInstances is how many initialised instances of the head are kept.
	MinInstances *int `json:"minInstances,omitempty"`
	// Reserve false starts every instance from nothing; see [Settings].
	Reserve *bool `json:"reserve,omitempty"`
}

// Deployed is what a deploy did. Changed is empty when the function was already
// as asked.
type Deployed struct {
	Function Function `json:"function"`
	Created  bool     `json:"created"`
	Changed  []string `json:"changed"`
	Timings  []Timing `json:"timings"`
	// Trouble says why it cannot start, where that is known without a try.
	Trouble string `json:"trouble,omitempty"`
}

// Started is how an application was tried. Status is that of its answer, 0 without
// one. Failure says why it does not run, and Output is the end of what it wrote then.
type Started struct {
	MS      float64        `json:"ms"`
	Status  int            `json:"status,omitempty"`
	Failure *FunctionError `json:"failure,omitempty"`
	Output  []string       `json:"output,omitempty"`
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
	Origin      string   `json:"origin,omitempty"` // of the instance, when cold; see [ColdStart]
	Stages      []Timing `json:"stages,omitempty"`
}

// ColdStarts are the latest cold starts of one version, oldest first.
type ColdStarts struct {
	Function   string      `json:"function"`
	Version    string      `json:"version"`
	Runtime    string      `json:"runtime"`
	ColdStarts []ColdStart `json:"coldStarts"`
}

// ColdStart is how one instance came to be.
type ColdStart struct {
	ID      string    `json:"id"`     // of the instance
	Stream  string    `json:"stream"` // its log stream
	Began   time.Time `json:"began"`
	TotalMS float64   `json:"totalMs"`
	InitMS  float64   `json:"initMs"` // of the function's own initialisation
	// Origin is where its process came from: start, blank, fork or module.
	Origin string `json:"origin,omitempty"`
	// Ahead says why it was started before a call asked for it.
	Ahead   string `json:"ahead,omitempty"`
	Failure string `json:"failure,omitempty"` // type of what ended it
	Stages  []Span `json:"stages"`
}

// Span is one timed part of a stage. A stage may have several, and they may
// overlap those of another one.
type Span struct {
	Name    string  `json:"name"`
	StartMS float64 `json:"startMs"` // since the cold start began
	MS      float64 `json:"ms"`
}

// Reserves are the instances that are ready without a function.
type Reserves struct {
	Reserves    []Reserve `json:"reserves"`
	MemoryBytes int64     `json:"memoryBytes"` // of all of them
	BudgetBytes int64     `json:"budgetBytes"` // that they may use; 0 when there are none
}

// Reserve are those of one kind.
type Reserve struct {
	Runtime     string        `json:"runtime"`
	Key         string        `json:"key"`
	Ready       int           `json:"ready"`
	Wanted      int           `json:"wanted"`
	MemoryBytes int64         `json:"memoryBytes"`
	Hits        int64         `json:"hits"`   // cold starts that found one ready
	Misses      int64         `json:"misses"` // those that did not
	Died        int64         `json:"died"`
	Nodes       []ReserveNode `json:"nodes,omitempty"` // the first is the root
}

// ReserveNode is a warm interpreter that instances are forked from.
type ReserveNode struct {
	Modules     []string `json:"modules"` // loaded beyond its parent
	Ready       int      `json:"ready"`
	MemoryBytes int64    `json:"memoryBytes"`
}

// Settings are a function's choices about cold starts. In a request a nil member
// keeps what the function has, and so does a qualifier that MinInstances does not
// name; 0 ends one.
type Settings struct {
	Reserve      *bool          `json:"reserve,omitempty"`    // false starts every instance from nothing
	Prediction   *bool          `json:"prediction,omitempty"` // false starts none ahead on a guess
	MinInstances map[string]int `json:"minInstances,omitempty"`
	// Scaling is what is not left to the server's configuration; see
	// lambent.ScalingNames. In a change the text "default" leaves it to that.
	Scaling map[string]string `json:"scaling,omitempty"`
	// AsyncTimeoutSeconds is the limit of asynchronous calls in place of the
	// function's own; 0 is none. AllowLoops lets chains of calls come through the
	// function as often as they like. HoldEvents has asynchronous calls wait.
	AsyncTimeoutSeconds *float64 `json:"asyncTimeoutSeconds,omitempty"`
	AllowLoops          *bool    `json:"allowLoops,omitempty"`
	HoldEvents          *bool    `json:"holdEvents,omitempty"`
	// Concurrency is what is reserved for the function; nil is nothing. In a change -1
	// ends it.
	Concurrency *int `json:"concurrency,omitempty"`
}

// Provision is a request for provisioned concurrency. Nil windows keep those
// there are.
type Provision struct {
	Count   int       `json:"count"`
	Windows *[]Window `json:"windows,omitempty"`
}

// Window is a time that comes again in which another number is provisioned.
type Window struct {
	// Start is when it opens, in UTC: five fields of cron, or AWS's cron(...) or
	// rate(...).
	Start           string  `json:"start"`
	DurationSeconds float64 `json:"durationSeconds"`
	Count           int     `json:"count"`
}

// States of provisioned concurrency.
const (
	ProvisionInProgress = "in_progress"
	ProvisionReady      = "ready"
	ProvisionFailed     = "failed"
)

// Provisioned is the provisioned concurrency of a version or an alias.
type Provisioned struct {
	Qualifier    string    `json:"qualifier"`
	Count        int       `json:"count"`
	Windows      []Window  `json:"windows,omitempty"`
	Wanted       int       `json:"wanted"` // now, by count or by a window
	Allocated    int       `json:"allocated"`
	Available    int       `json:"available"`
	Status       string    `json:"status"`
	Failure      string    `json:"failure,omitempty"`
	LastModified time.Time `json:"lastModified"`
}

// ProvisionedList is all provisioned concurrency of a function.
type ProvisionedList struct {
	Provisioned []Provisioned `json:"provisioned"`
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
