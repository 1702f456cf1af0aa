package runtimes

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// language is a family whose interpreters are told by the names of their
// programs and asked for their version, with nothing special about it.
type language struct {
	title   string         // as its makers call it
	program *regexp.Regexp // names in bin/
	// probe are the arguments that make a program print its version; the first
	// number with a dot in the first line is taken.
	probe []string
	// minors tells that releases differ by their minor version.
	minors bool
	// newest tells that a release is whatever version there is.
	newest bool
	// older tells that an older release of the same major version may serve where
	// there is no newer one.
	older bool
	// rolls tells that a newer major version may serve where there is none of the
	// release's own.
	rolls bool
	// folder has the bootstrap, among those that are laid out.
	folder string
	// launch completes the command, the control protocol and what else differs.
	launch func(rt *sandbox.Runtime, v *lambent.Version, i interpreter, program string)
	// blank lists the variables that keep a function from using a blank; nil where
	// the bootstrap cannot be one.
	blank *ownStart
	// foreign tells that a version is started without the bootstrap; nil is never.
	foreign func(v *lambent.Version) bool
	// env are the variables that AWS sets for the language; a function may set
	// them for itself. It may be nil.
	env func(v *lambent.Version, r release) map[string]string
	// apt and npm name what a distribution and npm have of it; either may be nil.
	apt func(r release, d distribution) string
	npm func() npmPackage
	// wheel names PyPI's package of a release, if it has one.
	wheel func(r release) wheelPackage
	// put says where a person puts the interpreter who has to do so by hand.
	put string
}

// languages are those families by name; the others have their own files.
var languages = map[family]language{
	familyRuby: rubyLanguage,
	familyPHP:  phpLanguage,
	familyDeno: denoLanguage,
	familyBun:  bunLanguage,
	familyBash: bashLanguage,

	familyDotnet: dotnetLanguage,
}

// isDir tells whether there is such a folder on the host.
func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// versionText finds a version in what a program says of itself.
var versionText = regexp.MustCompile(`[0-9]{1,4}(?:\.[0-9]{1,6}){1,3}`)

// familyOf tells whose interpreter a program of that name is, or "".
func familyOf(name string) family {
	for f, l := range languages {
		if l.program.MatchString(name) {
			return f
		}
	}
	return ""
}

// ask fills in the version of an interpreter in the table.
func (l language) ask(ctx context.Context, i *interpreter) error {
	text, err := output(ctx, i.program, l.probe...)
	if err != nil || i.version != "" { // known by where it is
		return err
	}
	return i.setVersion(versionText.FindString(text))
}

// setMinor reads the second number of a version that setVersion has checked.
func (i *interpreter) setMinor() {
	if parts := strings.SplitN(i.version, ".", 3); len(parts) > 1 && languages[i.family].minors {
		i.minor, _ = strconv.Atoi(parts[1]) // 0 where it is no number
	}
}

// pickOf chooses the interpreter of a language for a release: the same version,
// else the nearest newer one of the same major version, else, where older or newer
// ones may serve, the newest or the nearest.
func (l language) pickOf(found []interpreter, r release) (best interpreter, exact, ok bool) {
	for _, i := range found {
		if i.family == r.family && l.newest {
			return i, true, true
		}
		if i.family == r.family && l.rolls && i.major > r.major && (!ok || i.major < best.major) {
			best, ok = i, true
		}
		if i.family != r.family || i.major != r.major {
			continue
		}
		if i.minor == r.minor || !l.minors {
			return i, true, true
		}
		if (l.older || i.minor > r.minor) && (!ok || nearer(i.minor, best.minor, r.minor)) {
			best, ok = i, true
		}
	}
	return best, false, ok
}

// nearer tells whether minor version a serves want better than b: newer before
// older, near before far.
func nearer(a, b, want int) bool {
	if (a > want) != (b > want) {
		return a > want
	}
	if a > want {
		return a < b
	}
	return cmp.Compare(a, b) > 0
}

// name is the release as its makers call it: "Ruby 3.3".
func (l language) name(r release) string {
	switch {
	case l.minors:
		return fmt.Sprintf("%s %d.%d", l.title, r.major, r.minor)
	case r.major > 0:
		return fmt.Sprintf("%s %d", l.title, r.major)
	default:
		return l.title
	}
}

// languageInstaller finds the way to install a release of a language here, or
// nil: the distribution's package, else npm's, else PyPI's.
func (c *Catalog) languageInstaller(l language, r release) installer {
	if l.apt != nil {
		if pkg := l.apt(r, c.distribution); pkg != "" {
			return func(ctx context.Context, progress func(string)) error {
				return aptInstall(ctx, pkg, progress)
			}
		}
	}
	if l.npm != nil {
		if pkg := l.npm(); pkg.name != "" {
			return func(ctx context.Context, progress func(string)) error {
				return c.installNPM(ctx, pkg, r, progress)
			}
		}
	}
	if l.wheel != nil {
		if pkg := l.wheel(r); pkg.name != "" {
			return func(ctx context.Context, progress func(string)) error {
				return c.installWheel(ctx, pkg, r, progress)
			}
		}
	}
	return nil
}

// bestHere tells that i, although not of r's version, is what r's installer would
// bring: the distribution has no other.
func (c *Catalog) bestHere(r release, i interpreter) bool {
	l, ok := languages[r.family]
	if !ok || !l.older || l.apt == nil {
		return false
	}
	only := l.apt(release{r.name, r.family, i.major, i.minor}, c.distribution)
	return only != "" && versionText.FindString(only) == fmt.Sprintf("%d.%d", i.major, i.minor)
}
