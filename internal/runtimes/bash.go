package runtimes

import (
	"regexp"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

var bashLanguage = language{
	title:   "Bash",
	program: regexp.MustCompile(`^bash$`),
	probe:   []string{"--norc", "--noprofile", "-c", `echo "$BASH_VERSION"`},
	newest:  true,
	folder:  "bash",
	launch:  launchBash,
	put:     "the package bash into /usr/bin",
}

func launchBash(rt *sandbox.Runtime, _ *lambent.Version, _ interpreter, program string) {
	rt.Command = []string{program, "--norc", "--noprofile", guestRuntime + "/bootstrap.sh"}
}
