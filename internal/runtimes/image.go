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
	if err := CheckImage(v); err != nil {
		return sandbox.Runtime{}, err
	}
	command, _ := v.Image.Process(v.ImageConfig)
	return sandbox.Runtime{Name: imageName, Command: command}, nil
}

// CheckImage refuses a version of an image that neither names a program to start nor is
// told one. Its error is CodeInvalid, with the reason InvalidImage.
func CheckImage(v *lambent.Version) error {
	if command, _ := v.Image.Process(v.ImageConfig); len(command) > 0 || v.App != nil && len(v.App.Command) > 0 {
		return nil
	}
	way := "set EntryPoint or Command in the function's ImageConfig"
	if v.App != nil {
		way = "deploy it with --command"
	}
	return lambent.Errorf(lambent.CodeInvalid, "The image %s names no program to start: %s.", v.Image.Reference, way).WithReason("InvalidImage")
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
