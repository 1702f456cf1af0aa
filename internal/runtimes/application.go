package runtimes

import (
	"os"
	"slices"
	"sync"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// guestTools is where an application finds this program, if its command names it:
// it serves files.
const guestTools = "/var/runtime/tools"

const ownProgram = "lambent"

// executable is where this program is on the host.
var executable = sync.OnceValue(func() string {
	path, err := os.Executable()
	if err != nil {
		return "" // the application's start says that there is no such program
	}
	return path
})

// applicationTools puts this program into the sandbox of an application whose
// command is it.
func applicationTools(rt *sandbox.Runtime, app *lambent.App) {
	rt.Blank, rt.Control = nil, false
	if len(app.Command) > 0 && app.Command[0] == ownProgram && executable() != "" {
		rt.Mounts = append(slices.Clone(rt.Mounts), sandbox.Mount{Host: executable(), Guest: guestTools + "/" + ownProgram})
	}
}
