package lambent

import (
	"io"
	"slices"
	"time"
)

// App says that a version is a program that serves HTTP by itself: nothing speaks
// the Runtime API, requests are passed through to its port.
type App struct {
	// Port is where it listens, on any address of its sandbox; it is told so by the
	// variable PORT.
	Port int
	// Command starts it, in the directory of the code; nil is the image's own, or
	// the file bootstrap.
	Command []string
	// Health is a path that answers below 500 once the program can take requests;
	// "" is satisfied when the port takes connections.
	Health string
	// StartTimeout bounds the time from its start to that moment.
	StartTimeout time.Duration
	// Concurrency is how many requests an instance gets at the same time, 1 to
	// [MaxConcurrency].
	Concurrency int
	// IdleTimeout bounds silence on a stream or a WebSocket, in both directions; 0
	// is the gateway's own bound, or the version's Timeout where that is longer.
	IdleTimeout time.Duration
}

// MaxConcurrency bounds the requests that one instance gets at the same time.
const MaxConcurrency = 1000

// Image is the container image that a version of package type Image is made of,
// as it was resolved when the version's code was set.
type Image struct {
	Reference string   // as the caller gave it
	Digest    string   // of the manifest, "sha256:..."
	Layers    []Digest // in the artifact store, lowest first
	// Its own configuration; a function's [ImageConfig] goes before it.
	EntryPoint []string
	Command    []string
	Directory  string
	User       string
	Env        []string // NAME=value
	Port       int      // the first port that it exposes; 0 is none
	Volumes    []string // directories that are to be there and can be written
	StopSignal int      // what asks its program to end; 0 is SIGTERM
}

// ImageConfig is what a function says in place of its image's configuration,
// member by member; the zero value of one leaves the image's.
type ImageConfig struct {
	EntryPoint []string
	Command    []string
	Directory  string
}

// Process is the program with its arguments that an image is started by, and the
// directory to start it in. The program is empty when neither says one.
func (i *Image) Process(over ImageConfig) (command []string, directory string) {
	entry, args, directory := i.EntryPoint, i.Command, i.Directory
	if over.EntryPoint != nil {
		entry = over.EntryPoint
	}
	if over.Command != nil {
		args = over.Command
	}
	if over.Directory != "" {
		directory = over.Directory
	}
	return slices.Concat(entry, args), directory
}

// URL is a function URL configuration.
type URL struct {
	Namespace string
	Function  string
	Qualifier string // an alias, or ""
	ID        string // of the host name, 32 letters and digits
	AuthType  string // "NONE" or "AWS_IAM"
	// Internal lets in who calls from this host or from Networks, in CIDR notation,
	// in place of everybody; AuthType is NONE.
	Internal     bool
	Networks     []string
	InvokeMode   string // "BUFFERED" or "RESPONSE_STREAM"
	CORS         *CORS
	Created      time.Time
	LastModified time.Time
}

// CORS is what a function URL or a route answers to browsers of other origins.
type CORS struct {
	AllowCredentials bool     `json:"allowCredentials,omitempty"`
	AllowHeaders     []string `json:"allowHeaders,omitempty"`
	AllowMethods     []string `json:"allowMethods,omitempty"`
	AllowOrigins     []string `json:"allowOrigins,omitempty"`
	ExposeHeaders    []string `json:"exposeHeaders,omitempty"`
	MaxAge           int      `json:"maxAge,omitempty"` // seconds
}

// Stream takes an answer while it is being made. Begin comes first, once, with
// the first byte of a streaming answer or with the end of an empty one; an answer
// that is not streamed calls neither. An error of either tells that the caller has
// gone: the rest of the answer is dropped, and the function is told as far as its
// runtime allows.
//
// A Write that waits for the caller makes the function wait, and the end of the
// invocation for it: a Stream is an [Interrupter], or bounds its own writes.
type Stream interface {
	Begin(contentType string) error
	io.Writer
}

// Interrupter is the ability of a [Stream] to break off the call that it is in,
// which then fails. It is asked, from another goroutine, when the invocation has
// ended before its answer: the time is up, or the platform closes.
type Interrupter interface{ Interrupt() }

// PreludeType is the content type of a streamed answer that begins with a prelude: its
// status and headers as JSON, then eight zero bytes ("Response streaming", AWS Lambda
// developer guide).
const PreludeType = "application/vnd.awslambda.http-integration-response"

// Limits of streamed answers ("Response streaming", AWS Lambda developer guide).
const (
	MaxStreamed  = 200 << 20 // bytes of one answer, beside its prelude
	MaxPrelude   = 64 << 10  // bytes
	StreamBurst  = 6 << 20   // bytes that go out as fast as they come
	StreamPerSec = 2 << 20   // bytes per second after that
)
