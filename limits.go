package lambent

import "time"

// Limits of the Lambda service, as AWS documents or answers them. They are
// constants here because clients rely on the exact figures; what an operator
// may choose is in the configuration.
const (
	MaxPayload         = 6*1024*1024 + 100 // bytes of a synchronous request or response
	MaxAsyncPayload    = 1024 * 1024       // bytes of an asynchronous event
	MaxProgress        = 64 * 1024         // bytes of what a function tells of how far it is; not AWS's
	MaxProgressDepth   = 100               // of lists and objects in it: it is kept and shown within others
	MaxZipUpload       = 50 * 1024 * 1024  // bytes of a zip sent in the request
	MaxUnzipped        = 262_144_000       // bytes of code and layers, unpacked
	MaxRequestBody     = 70_167_211        // bytes of a control request
	MaxEnvironment     = 4 * 1024          // bytes of the environment as JSON
	MaxLayers          = 5
	MaxClientContext   = 3583 // bytes, base64 as sent
	MaxPolicy          = 20 * 1024
	MaxCodeStorage     = 80_530_636_800
	LogTail            = 4 * 1024 // bytes of log returned with LogType=Tail
	DefaultMemoryMB    = 128
	MinMemoryMB        = 128
	MaxMemoryMB        = 10_240
	DefaultEphemeralMB = 512
	MaxEphemeralMB     = 10_240
	DefaultTimeout     = 3 * time.Second
	MaxTimeout         = 900 * time.Second
	InitTimeout        = 10 * time.Second // of an on-demand instance
	MemoryPerCPU       = 1769             // MB of memory that come with one vCPU
	DefaultConcurrency = 1000
)

// The user and the group of a function in its sandbox, as AWS has them. What is
// unpacked for sandboxes belongs to them on the disk.
const (
	SandboxUID = 993
	SandboxGID = 990
)

// Latest is the version number of a function's unpublished head.
const Latest = "$LATEST"
