package runtimes

import (
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// imageName is what the log calls the runtime that an image brings.
const imageName = "image"

// launchImage is how the program of an image is started: nothing of the host's is
// needed for it.
func launchImage(v *lambent.Version) (sandbox.Runtime, error) {
	command, _ := v.Image.Process(v.ImageConfig)
	if len(command) == 0 && (v.App == nil || len(v.App.Command) == 0) {
		return sandbox.Runtime{}, lambent.Errorf(lambent.CodeInvalid,
			"The image %s names no program to start: set EntryPoint or Command in the function's ImageConfig, or deploy it with --command.", v.Image.Reference).WithReason("InvalidImage")
	}
	return sandbox.Runtime{Name: imageName, Command: command}, nil
}

// imageDefaults are the variables that a function with an image may set for
// itself: those of the image, and of the platform's where it has none.
func imageDefaults(i *lambent.Image) map[string]string {
	vars := map[string]string{
		"PATH":                     "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"TZ":                       ":UTC",
		"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
		"AWS_XRAY_DAEMON_ADDRESS":  "127.0.0.1:2000",
	}
	for _, v := range i.Env {
		if name, value, ok := strings.Cut(v, "="); ok {
			vars[name] = value
		}
	}
	return vars
}
