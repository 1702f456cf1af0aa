package telemetry

import (
	"runtime"
	"runtime/debug"
)

// version is set by the linker in release builds:
// -X lambent.dev/lambent/internal/telemetry.version=v1.2.3.
var version = ""

// Build identifies this binary.
type Build struct {
	Version string // "v1.2.3", or "devel"
	Commit  string // of the source, "" when not known; "+dirty" follows when it was changed
	Go      string
}

// ReadBuild tells what the linker and the Go tool wrote into this binary.
func ReadBuild() Build {
	b := Build{Version: version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok && b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	if !ok {
		return b
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if b.Commit != "" && dirty {
		b.Commit += "+dirty"
	}
	return b
}
