package lambent

import (
	goruntime "runtime"
	"strconv"
	"time"
)

// Digest names content in the artifact store: lower-case hex SHA-256 of the
// bytes as uploaded. AWS shows the same hash in base64 as CodeSha256.
type Digest string

// State of a version, as AWS names it.
type State string

// States that lambent uses.
const (
	StatePending  State = "Pending"
	StateActive   State = "Active"
	StateFailed   State = "Failed"
	StateInactive State = "Inactive"
	StateDeleting State = "Deleting"
)

// UpdateStatus of the latest change to a version.
type UpdateStatus string

// Update statuses as AWS names them.
const (
	UpdateSuccessful UpdateStatus = "Successful"
	UpdateFailed     UpdateStatus = "Failed"
	UpdateInProgress UpdateStatus = "InProgress"
)

// Function is what all versions of a function share.
type Function struct {
	Namespace   string // 12-digit account id of the tenant
	Name        string
	Tags        map[string]string
	NextVersion int // number that the next PublishVersion gets
	// Reserved is the reserved concurrency; nil is none, 0 stops all calls.
	Reserved *int
	Settings Settings
}

// Settings are a function's choices about cold starts, which AWS has no member
// for. The zero value is what a function gets that chose nothing.
type Settings struct {
	// NoReserve starts every instance from nothing, as if there were no reserves, and
	// has nothing prepared for a version: none of its code runs before it is called.
	NoReserve bool
	// NoPrediction starts nothing ahead for this function on a guess, and keeps
	// its idle instances for the configured time.
	NoPrediction bool
	// MinInstances is how many initialised instances are kept, by qualifier: a
	// version's number, an alias or [Latest].
	MinInstances map[string]int
	// AsyncTimeout, if positive, is the limit of asynchronous calls in place of the
	// version's timeout; it may be longer than AWS's longest.
	AsyncTimeout time.Duration
	// AllowLoops lets a chain of calls come through the function as often as it
	// likes; else it ends after [MaxTurns].
	AllowLoops bool
	// HoldEvents has asynchronous calls wait; they are taken and age as always.
	HoldEvents bool
	// Scaling is how the number of instances follows the load.
	Scaling Scaling
}

// Provisioned is the provisioned concurrency of a version or an alias: how many
// initialised instances are kept for it.
type Provisioned struct {
	Namespace    string
	Function     string
	Qualifier    string // a published version's number, or an alias
	Requested    int    // at all times; a Window may ask for more
	LastModified time.Time
	Windows      []Window
}

// Allocation is how far provisioned concurrency has come. The zero value is what
// a request has at first.
type Allocation struct {
	Wanted    int // instances asked for at this time, by a Window or by Requested
	Allocated int // instances that there are, those still starting included
	Available int // initialised instances, busy ones included
	// Failure says why there are not more; "" while they are on their way.
	Failure string
}

// Window is a time that comes again and again in which another number of
// instances is provisioned. Where several are open the largest count holds, and
// it holds even when it is below Requested.
type Window struct {
	// Start is when it opens, in UTC: five fields of cron, or AWS's cron(...),
	// rate(...) or at(...).
	Start    string
	Duration time.Duration
	Count    int
}

// Version is one configuration with its code: the head ([Latest]), which
// changes, or a published one, which does not. Values handed out by the catalog
// are shared: they are never modified.
type Version struct {
	Namespace   string
	Function    string
	Number      string // Latest, or "1", "2", ...
	Description string
	Role        string
	PackageType string // "Zip" or "Image"
	Runtime     string // as the caller named it, such as "python3.12"
	Handler     string
	Arch        string // "x86_64" or "arm64"
	MemoryMB    int
	EphemeralMB int
	Timeout     time.Duration
	Env         map[string]string
	Layers      []LayerRef
	Code        CodeRef
	Logging     Logging
	TracingMode string // "PassThrough" or "Active"
	SnapStart   string // ApplyOn: "None" or "PublishedVersions"
	Network     Network
	App         *App   // set when the version is an HTTP application
	Image       *Image // set when PackageType is Image
	ImageConfig ImageConfig
	// Extra holds members that lambent stores and returns but does not act on
	// yet (VpcConfig, DeadLetterConfig, KMSKeyArn ...), keyed by their name in
	// the API, as JSON.
	Extra map[string][]byte

	RevisionID   string
	LastModified time.Time

	State            State
	StateReason      string
	StateReasonCode  string
	UpdateStatus     UpdateStatus
	UpdateReason     string
	UpdateReasonCode string
}

// CodeRef identifies the code of a version.
type CodeRef struct {
	Digest Digest
	Size   int64 // bytes as uploaded
	// Unpacked is the size on disk in bytes.
	Unpacked int64
}

// LayerRef is a layer version as a function uses it.
type LayerRef struct {
	ARN      string
	Digest   Digest
	Size     int64
	Unpacked int64
}

// Logging says how a function's log is written.
type Logging struct {
	Format           string // "Text" or "JSON"
	Group            string // "/aws/lambda/<name>" unless set
	ApplicationLevel string
	SystemLevel      string
}

// Network says what a function's sandbox can reach.
type Network string

// Networks. The zero value is NetworkOutbound.
const (
	NetworkOutbound Network = ""     // loopback, and out through the host's address
	NetworkLoopback Network = "lo"   // loopback only
	NetworkNone     Network = "none" // not even loopback, save for the Runtime API
)

// ARN is the function's ARN without a qualifier.
func (v *Version) ARN(region string) string {
	return "arn:aws:lambda:" + region + ":" + v.Namespace + ":function:" + v.Function
}

// LogGroup is the name of the version's log group.
func (v *Version) LogGroup() string {
	if v.Logging.Group != "" {
		return v.Logging.Group
	}
	return "/aws/lambda/" + v.Function
}

// CPUs is the share of processors that goes with the version's memory:
// 1,769 MB is one (AWS Lambda developer guide, "Configure memory").
func (v *Version) CPUs() float64 { return float64(v.MemoryMB) / MemoryPerCPU }

// CodeSHA256 is the hash of the code as AWS shows it: in base64, of an image in hex.
func (v *Version) CodeSHA256() string {
	if v.Image != nil {
		return string(v.Code.Digest)
	}
	return v.Code.Digest.CodeSHA256()
}

// Published tells whether the version is immutable.
func (v *Version) Published() bool { _, err := strconv.Atoi(v.Number); return err == nil }

// Alias is a named pointer to one version, or to two with weights.
type Alias struct {
	Namespace   string
	Function    string
	Name        string
	Version     string
	Description string
	// Weights routes a share (0..1) to other versions; the rest goes to Version.
	Weights map[string]float64
	// Rules send some calls to a version of their own, the first one that fits.
	Rules      []AliasRule
	RevisionID string
}

// AliasRule sends the calls of testers to one version: those whose request has a
// header, or a cookie, of that value. One of Header and Cookie is set.
type AliasRule struct {
	Header  string `json:"header,omitempty"` // its name, in canonical form
	Cookie  string `json:"cookie,omitempty"`
	Value   string `json:"value"`
	Version string `json:"version"`
}

// LayerVersion is one published version of a layer.
type LayerVersion struct {
	Namespace   string
	Name        string
	Number      int
	Description string
	License     string
	Runtimes    []string
	Archs       []string
	Digest      Digest
	Size        int64
	Unpacked    int64
	Created     time.Time
}

// HostArch is what functions call the architecture of this host: "x86_64" or "arm64".
func HostArch() string {
	if goruntime.GOARCH == "amd64" {
		return "x86_64"
	}
	return goruntime.GOARCH
}
