package runtimes

import (
	"fmt"
	"regexp"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

var rubyLanguage = language{
	title:   "Ruby",
	program: regexp.MustCompile(`^ruby(3\.[0-9]{1,2}|[4-9]\.[0-9]{1,2})?$`),
	probe:   []string{"--disable=all", "-e", "puts RUBY_VERSION"},
	minors:  true,
	older:   true, // what differs between them is less than having none
	folder:  "ruby",
	launch:  launchRuby,
	blank:   &ownStart{prefixes: []string{"RUBY"}},
	env:     rubyEnv,
	apt:     rubyPackage,
	put:     "a Ruby, such as rbenv installs, into /root/.rbenv/versions",
}

// launchRuby starts Ruby without RubyGems, which take seven eighths of its start;
// the bootstrap loads them when something is not found without.
func launchRuby(rt *sandbox.Runtime, v *lambent.Version, _ interpreter, program string) {
	rt.Command = []string{program, "--disable=gems", guestRuntime + "/bootstrap.rb"}
}

// rubyEnv is where AWS looks for gems and libraries ("Using layers for Ruby Lambda
// functions", AWS Lambda developer guide).
func rubyEnv(_ *lambent.Version, r release) map[string]string {
	gems := fmt.Sprintf("%d.%d.0", r.major, r.minor)
	return map[string]string{
		"GEM_HOME": guestRuntime,
		"GEM_PATH": "/var/task/vendor/bundle/ruby/" + gems + ":/opt/ruby/gems/" + gems + ":" + guestRuntime,
		"RUBYLIB":  "/var/task:/var/runtime/lib:/opt/ruby/lib",
	}
}

// rubies are the versions that the distributions have, by packages.debian.org and
// packages.ubuntu.com.
var rubies = map[distribution]int{
	{"debian", "12"}: 1, {"debian", "13"}: 3, {"ubuntu", "22.04"}: 0, {"ubuntu", "24.04"}: 2,
}

// rubyPackage is the distribution's only Ruby, whatever 3.x is wanted.
func rubyPackage(r release, d distribution) string {
	minor, ok := rubies[d]
	if !ok || r.major != 3 {
		return ""
	}
	return fmt.Sprintf("ruby3.%d", minor)
}
