// Package sandbox is the contract between the pool and whatever isolates an
// instance: a Driver starts instances from a Spec, an Instance runs invocations
// one at a time. It owns no isolation itself (see the drivers below it: linux,
// fake) and refuses to know about functions' records, HTTP or logs on disk.
//
// Every driver passes sandboxtest, and is wrapped once by [Guard].
package sandbox

import (
	"context"
	"net"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/filetree"
)

// Driver starts instances.
type Driver interface {
	// Start makes the sandbox and starts the runtime in it. It returns as soon as
	// the runtime process exists; [Instance.Init] waits for it. On error nothing
	// is left behind.
	Start(ctx context.Context, spec Spec) (Instance, error)
	// Recover ends what an earlier server with the same data directory left
	// running and removes its cgroups, mounts and network. It is called once,
	// before the first Start, and returns how many instances it ended.
	Recover(ctx context.Context) (int, error)
	// Describe says what this driver protects against on this host, for the log
	// and the console.
	Describe() Description
	// Close ends every instance that is left and gives back what the driver holds.
	Close() error
}

// Instance is one live copy of a version. Its methods may be called from any
// goroutine; Invoke is called for one invocation at a time.
type Instance interface {
	// Init waits until the runtime has asked for its first event or has failed.
	// A runtime that fails is an [InitResult] with Failure set; the error is for
	// faults of the platform and for ctx. The deadline of ctx is the function's:
	// an instance that misses it may be dead.
	Init(ctx context.Context) (InitResult, error)
	// Invoke hands the event to the runtime and waits for its answer. The
	// deadline of ctx is the function's: when it passes, the instance is dead and
	// the answer says so. A runtime that exits or misbehaves is an Answer with
	// Failure set. An error means that the event never reached the function, so
	// that the caller may use another instance.
	Invoke(ctx context.Context, ev Event) (Answer, error)
	// Ready is closed when the runtime is waiting for the next event, or dead;
	// each call speaks of the invocation that went last.
	Ready() <-chan struct{}
	// Done is closed when the instance can take no further event. Why tells the
	// reason from then on.
	Done() <-chan struct{}
	Why() *Failure
	// Usage reads the instance's counters. MaxMemory is the one of them that
	// invocations ask for, in bytes: it costs no more than one system call.
	Usage() Usage
	MaxMemory() int64
	// Stop ends the instance and everything in it, and returns when all of it is
	// gone. Done is closed before it waits for anything; if ctx ends, the rest is
	// done in the background. It may be called again.
	Stop(ctx context.Context) error
}

// Announcer is the optional ability to say by itself that Ready is closed, which
// spares a goroutine that waits for it.
type Announcer interface {
	// WhenReady has f called once, soon after Ready is closed, and without waiting
	// for what f does: it must not block. It is false, and f is not called, if Ready
	// is closed already.
	WhenReady(f func()) bool
}

// Teller is the optional ability to tell programs in the instance what the platform
// reports of it (AWS Lambda developer guide, "Lambda Telemetry API").
type Teller interface {
	// Listening tells whether there are any. Once Init has returned it does not change
	// from false to true.
	Listening() bool
	// Tell passes on an event, JSON in that API's shape, which it keeps. It waits for
	// nobody.
	Tell(event []byte)
}

// Lingerer is the optional ability to have programs in the instance that are given a
// while after its end: Stop takes as long.
type Lingerer interface {
	// Lingers tells whether there are any. It does not change once there is an instance.
	Lingers() bool
}

// Freezer is the optional ability to halt an idle instance's processes.
type Freezer interface {
	Freeze() error
	Thaw() error
}

// Keeper is the optional ability to save /tmp from an instance that has ended,
// for its successor: on AWS a runtime that timed out or exited is started again
// with the files it had.
type Keeper interface {
	// KeepTmp takes /tmp out of the instance; nil when it cannot be saved. It is
	// called before Stop. The instance may go on writing there until Done is closed or,
	// where that is not so yet, Stop has returned.
	KeepTmp() Tmp
}

// Pager is the optional ability to push a frozen instance's memory out of RAM.
type Pager interface {
	// PageOut returns how many bytes of RAM it freed; with no swap that is little.
	PageOut() (freed int64, err error)
}

// Collector is the optional ability to take a file out of an instance's /tmp
// once the instance has ended.
type Collector interface {
	// Collect writes the regular file of that name, at most limit bytes, to dst. It is
	// called before Stop, once Done is closed.
	Collect(name, dst string, limit int64) error
}

// Dialer is the ability of an instance that is an HTTP application: Init waits
// for it to take requests, Invoke is not for it.
type Dialer interface {
	// Dial connects to the application's port.
	Dial(ctx context.Context) (net.Conn, error)
}

// Preparer is the optional ability of a driver to do, once and ahead of the
// first start, what all starts of a version would have to: compile a module.
type Preparer interface {
	Prepare(ctx context.Context, spec Spec) error
}

// Reserver is the optional ability of a driver to keep instances ready that have
// no function yet.
type Reserver interface {
	// Expect tells that cold starts of this runtime are likely, so that the reserve
	// is filled before the first one.
	Expect(rt Runtime)
	Reserves() []Reserve
}

// Reserve describes the blanks of one key.
type Reserve struct {
	Runtime     string // "python3.12"; "any" is of sandboxes without a runtime
	Key         string
	Ready       int   // waiting for a function now
	Wanted      int   // how many there should be, by recent demand and budget
	MemoryBytes int64 // of everything it keeps: processes, shared pages once, and what the kernel has for each
	Hits        int64 // cold starts that found a blank
	Misses      int64 // cold starts that did not
	Died        int64 // blanks and zygotes that ended on their own
	// Nodes are the zygotes, the root first, with the modules that each has loaded
	// beyond its parent.
	Nodes []ReserveNode
}

// ReserveNode is one warm interpreter that blanks are forked from.
type ReserveNode struct {
	Modules     []string
	Ready       int
	MemoryBytes int64
}

// Tmp is a saved /tmp. It goes into a [Spec], or is closed.
type Tmp interface{ Close() error }

// Spec says what to start. Paths are the host's.
type Spec struct {
	ID      string // unique on this host, [a-z0-9-]{1,40}
	Version *lambent.Version
	Region  string
	Runtime Runtime
	Code    string // directory mounted read-only at /var/task; "" is none
	// Root are directories that are merged to the root, later ones on top: the
	// layers of an image. Without any, the root is the host's programs.
	Root []string
	// Trees are those of Root that are still coming in, by their place there, where
	// Root has "".
	Trees  map[int]*filetree.Tree
	Layers []string // directories merged at /opt, later ones on top
	// Env is the runtime's whole environment but for AWS_LAMBDA_RUNTIME_API,
	// which the driver adds. No name is in it twice.
	Env    []string
	Output Output
	// Begun is what programs in the instance are told of its start.
	Begun Begun
	// Cache, if set, is a directory mounted read-only at [CacheDir]: what was
	// prepared for this version at publish time.
	Cache string
	// NoReserve asks for a process of this instance's own, started from nothing.
	NoReserve bool
	// Background tells that nobody waits for the start: others come first, and what
	// the driver makes ahead need not wait for it.
	Background bool
	// Tmp, if set, is the /tmp of a predecessor with the same version. Start takes
	// it over, whatever comes of the start.
	Tmp Tmp
	// Stage, if set, is called at the end of each step of the start. Names are
	// those of [lambent.Stages], up to the runtime's; it may be called until Init
	// has returned.
	Stage func(name string, start time.Time, took time.Duration)
}

// Begun describes the start of an initialisation, as INIT_START does.
type Begun struct {
	Runtime    string // "python:3.12.1"
	RuntimeARN string
	Type       string // "on-demand" or "provisioned-concurrency"
}

// Runtime is how a language runtime is started: found or installed by the
// runtimes room, independent of any function.
type Runtime struct {
	Name    string // "python3.12"
	Version string // of the interpreter, "3.12.1"
	// Command is the program and its arguments, as seen in the sandbox.
	Command []string
	// Application tells that Command starts the version's application, in the form
	// that was prepared, instead of [lambent.App.Command].
	Application bool
	// Fallback are programs to start instead of Command[0], tried in order, when
	// that does not exist in the sandbox.
	Fallback []string
	// Mounts are read-only directories or files, host path to sandbox path, and links.
	Mounts []Mount
	// Env is set before the function's own environment.
	Env []string
	// Driver names the driver that runs it; "" is the host's usual one.
	Driver string
	// Control tells that the runtime speaks the control protocol (runtimes/README.md)
	// on descriptor 3: it says when it turns to the function's own code.
	Control bool
	// Blank, if set, says how the runtime is started before it is known what
	// function it will run. It is nil where the function must have a start of its
	// own: because of a variable that the interpreter reads first, for instance.
	Blank *Blank
}

// Blank is a runtime without a function. It gets the function's environment
// later, by the control protocol; code, layers, /tmp and limits are put around
// it at the same time. A blank runs one function's instance and is never blank
// again.
type Blank struct {
	// Key names what a blank is made of. Specs with equal keys may use each
	// other's; Command, Mounts and Env of their runtimes are then equal, but for
	// what the control protocol changes, and for what only makes a start faster.
	Key     string
	Command []string
	Env     []string
	// Zygote, if set, is the command of an interpreter that forks blanks
	// (runtimes/README.md).
	Zygote []string
	// Avoid lists the top-level module names that the function's own files would
	// shadow: a blank that has loaded one of them is not for this function.
	Avoid []string
	// Fits tells that Avoid is known, and that it has none of what each blank has
	// loaded. Without it the blank looks for itself.
	Fits bool
}

// CacheDir is where [Spec.Cache] is mounted.
const CacheDir = "/var/cache/lambent"

// Mount is one read-only bind mount of Host or, where that is empty, a symbolic link
// to Link.
type Mount struct{ Host, Guest, Link string }

// Output takes what the function writes, line by line, without the newline. It
// must not keep p. One instance calls it from one goroutine at a time.
type Output interface {
	WriteLine(at time.Time, p []byte)
}

// Event is what is handed to the runtime.
type Event struct {
	RequestID     string
	Payload       []byte
	FunctionARN   string // as invoked, with the qualifier if there was one
	Deadline      time.Time
	TraceID       string
	ClientContext []byte
	// Stream, if set, takes an answer that the runtime streams.
	Stream lambent.Stream
	// Left, if set, is closed when the caller has gone. It matters to answers that
	// are streamed: the function is told, though it may write nothing for long.
	Left <-chan struct{}
	// Progress, if set, takes what the function tells of how far it is; see
	// [lambent.Invocation].
	Progress func(report []byte)
}

// Answer is what came of an event that reached the runtime.
type Answer struct {
	Payload []byte // answer, or error object as the runtime sent it
	// Streamed is how many bytes went to the event's Stream instead. An error that
	// the runtime reports after the first of them leaves FunctionError set.
	Streamed    int64
	FirstByte   time.Duration // from the hand-over to the first of them
	ContentType string
	// CallerGone tells that the Stream took no more: the caller left before the end.
	CallerGone bool
	// FunctionError tells that the runtime reported an error; Payload is its
	// error object and ErrorType its type.
	FunctionError bool
	ErrorType     string
	// Failure is set when the platform ended the invocation: timeout, exit, out
	// of memory, too large an answer. Payload is then empty.
	Failure *Failure
	// Took is the time from the hand-over to the answer.
	Took time.Duration
	// Rest is set where the invocation goes on after the answer, because extensions
	// have been told of it: until Ready is closed. It is asked then, or when the
	// instance is about to be ended before.
	Rest func() Rest
}

// Rest is what followed an answer (AWS Lambda developer guide, "Using the Lambda
// Extensions API", "Invoke phase").
type Rest struct {
	// Took is the time from the hand-over until all were through, or until now;
	// Extensions is how much of it passed after the runtime was.
	Took, Extensions time.Duration
	// Failure is set when the instance has ended meanwhile, or has no time left.
	Failure *Failure
}

// Types of failures that are told apart elsewhere.
const (
	OutOfMemory = "Runtime.OutOfMemory"
	ByPlatform  = "Sandbox.Failure" // it was the platform that ended it
)

// Failure is an end that the function brought on itself.
type Failure struct {
	Type    string // "Sandbox.Timedout", "Runtime.ExitError", "Runtime.OutOfMemory", "Function.ResponseSizeTooLarge", "Runtime.InvalidEntrypoint" ...
	Message string // without the "RequestId: ... Error: " prefix
	// ReportType is the type that the REPORT line gives where it is not Type: AWS
	// answers Runtime.ExitError to a runtime that was killed for its memory, and
	// reports Runtime.OutOfMemory.
	ReportType string
	// Raw tells that Message stands alone, without that prefix.
	Raw bool
	// Payload, if set, is the whole error object as the runtime sent it.
	Payload []byte
}

// InitResult is what came of the runtime's initialisation.
type InitResult struct {
	// Took is the time of the function's own initialisation, from the moment at
	// which the runtime turned to its code; where the runtime does not tell, from
	// the start of the process.
	Took    time.Duration
	Origin  lambent.Origin
	Failure *Failure
}

// Usage is a snapshot of an instance's counters.
type Usage struct {
	MemoryBytes    int64
	MaxMemoryBytes int64
	CPU            time.Duration
	OOMKills       int64
	Processes      int64
}

// Description is a driver's label.
type Description struct {
	Name     string
	Warnings []string
	// Groups are the directories of control groups that all instances are in, if any.
	Groups []string
}
