package runtimes

import (
	"fmt"
	"path/filepath"
	"regexp"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

var phpLanguage = language{
	title:   "PHP",
	program: regexp.MustCompile(`^php(8\.[0-9]{1,2})?$`),
	probe:   []string{"-n", "-r", "echo PHP_VERSION;"},
	minors:  true,
	folder:  "php",
	launch:  launchPHP,
	blank:   &ownStart{prefixes: []string{"PHP"}}, // PHPRC, PHP_INI_SCAN_DIR
	apt:     phpPackage,
	put:     "a PHP command line of this version, or a newer PHP 8, into /usr/bin",
}

// phpSettings is the whole configuration: the host's php.ini is for its own
// programs. Errors go to the log, as they happen, and nowhere else.
var phpSettings = []string{
	"display_errors=stderr", "log_errors=0", "html_errors=0", "max_execution_time=0", "date.timezone=UTC", "register_argc_argv=1",
}

// launchPHP starts PHP with the extensions that Debian's packages switch on for
// its command line; where PHP was built otherwise they are in it, or in its own
// prefix.
func launchPHP(rt *sandbox.Runtime, _ *lambent.Version, i interpreter, program string) {
	rt.Command = []string{program}
	for _, s := range phpSettings {
		rt.Command = append(rt.Command, "-d", s)
	}
	rt.Command = append(rt.Command, guestRuntime+"/bootstrap.php")
	if !ownPlace(i) {
		return
	}
	etc := fmt.Sprintf("/etc/php/%d.%d", i.major, i.minor)
	for _, dir := range []string{filepath.Join(etc, "cli/conf.d"), filepath.Join(etc, "mods-available")} {
		if isDir(dir) {
			rt.Mounts = append(rt.Mounts, sandbox.Mount{Host: dir, Guest: dir})
		}
	}
}

// phps are the versions that the distributions have, by packages.debian.org and
// packages.ubuntu.com.
var phps = map[distribution]int{
	{"debian", "12"}: 2, {"debian", "13"}: 4, {"ubuntu", "22.04"}: 1, {"ubuntu", "24.04"}: 3,
}

func phpPackage(r release, d distribution) string {
	if minor, ok := phps[d]; ok && r.major == 8 && r.minor == minor {
		return fmt.Sprintf("php8.%d-cli", minor)
	}
	return ""
}
