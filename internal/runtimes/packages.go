package runtimes

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// guestPackages is where functions see the packages that the server's owner has put
// beside an interpreter, as AWS puts boto3 beside its own.
const guestPackages = "/var/packages"

const (
	maxPackages = 100
	// pipTimeout bounds one installation.
	pipTimeout = 30 * time.Minute
	// wanted is the file that lists what a set was made of. pip ignores it.
	wantedFile = ".lambent-packages"
)

// requirement is a name, extras and one bound on the version (PEP 508): no address,
// path or option.
var requirement = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\[[A-Za-z0-9._-]{1,128}\])?((==|>=|<=|~=|<|>|!=)[A-Za-z0-9.*+!_-]{1,64})?$`)

// InstallPackages puts packages beside a Python runtime, for all functions with it:
// they are found after the function's own modules and layers. packages are names or
// requirements ("boto3", "requests>=2.31"); they add to those installed before. Only
// wheels are taken, so that no package's code runs here. Running functions keep what
// they have; later instances see the new set, whole or not at all. progress may be
// nil. The error has CodeInvalid for a name that is none, CodeUnsupported for another
// language, and CodeUnavailable when pip fails.
func (c *Catalog) InstallPackages(ctx context.Context, name string, packages []string, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	if len(packages) == 0 || len(packages) > maxPackages {
		return lambent.Errorf(lambent.CodeInvalid, "name 1 to %d packages", maxPackages)
	}
	for _, p := range packages {
		if !requirement.MatchString(p) {
			return lambent.Errorf(lambent.CodeInvalid, "%.140q is not a package name, with or without a version", p)
		}
	}
	r, ok := lookup(name)
	if !ok || r.family != familyPython {
		return lambent.Errorf(lambent.CodeUnsupported, "packages are installed for Python runtimes only, not for %.40q", name)
	}
	i, _, ok := c.serve(r)
	if !ok {
		_, err := c.Check(name, "")
		return err
	}
	if err := c.installPackages(ctx, i, packages, progress); err != nil {
		return lambent.Errorf(lambent.CodeUnavailable, "install packages for %s: %w", name, err)
	}
	return nil
}

// packagesLink names the set of an interpreter's version: a link, so that one set
// replaces another at once. A set itself is never changed.
func (c *Catalog) packagesLink(i interpreter) string {
	return filepath.Join(c.dir, "packages", fmt.Sprintf("python%d.%d", i.major, i.minor))
}

// packages is the directory of the present set, or "". Each start asks for it, and nearly
// always there is none: hence no look at each folder above the link.
func (c *Catalog) packages(i interpreter) string {
	link := c.packagesLink(i)
	set, err := os.Readlink(link)
	if err != nil {
		return ""
	}
	dir := filepath.Join(filepath.Dir(link), set)
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

func (c *Catalog) installPackages(ctx context.Context, i interpreter, packages []string, progress func(string)) error {
	c.pip.Lock()
	defer c.pip.Unlock()
	ctx, cancel := context.WithTimeout(ctx, pipTimeout)
	defer cancel()
	all := merge(wantedPackages(c.packages(i)), packages)
	link := c.packagesLink(i)
	set := filepath.Join(filepath.Dir(link), "."+filepath.Base(link)+"-"+strings.ToLower(rand.Text()[:12]))
	err := place(filepath.Dir(link), set, func(tmp string) error {
		args := append([]string{"-m", "pip", "install", "--target", tmp, "--only-binary", ":all:", "--no-compile",
			"--no-input", "--no-warn-script-location", "--disable-pip-version-check", "--no-cache-dir",
			"--progress-bar", "off", "--"}, all...)
		if err := run(ctx, i.program, args, progress); err != nil {
			return err
		}
		progress("compiling")
		// Sandboxes see them read-only, at another path. Byte code that is not
		// checked spares a look at each source.
		args = []string{"-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash", tmp}
		if err := run(ctx, i.program, args, progress); err != nil {
			progress("some modules do not compile: " + err.Error()) // tests of syntax that is to fail
		}
		if err := readable(tmp); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tmp, wantedFile), []byte(strings.Join(all, "\n")+"\n"), 0o644)
	})
	if err != nil {
		return err
	}
	tmp := set + ".link"
	if err := errors.Join(os.Symlink(filepath.Base(set), tmp), os.Rename(tmp, link)); err != nil {
		return fmt.Errorf("switch to the new packages: %w", err)
	}
	progress(fmt.Sprintf("Python %d.%d has %s", i.major, i.minor, strings.Join(all, ", ")))
	return nil
}

// run runs the interpreter with the server's own environment, where pip finds its
// settings, and passes on what it says.
func run(ctx context.Context, program string, args []string, progress func(string)) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = 5 * time.Second
	cmd.Dir = "/"
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		progress(strings.TrimSpace(lines.Text()))
	}
	if err := cmd.Wait(); err != nil {
		text := strings.TrimSpace(complaint.String())
		return fmt.Errorf("%s: %w: %s", strings.Join(args[:2], " "), err, text[max(0, len(text)-1000):])
	}
	return nil
}

// merge adds requirements to others; one for the same package replaces the older.
func merge(old, more []string) []string {
	name := func(requirement string) string {
		if at := strings.IndexAny(requirement, "[=<>~!"); at >= 0 {
			requirement = requirement[:at]
		}
		return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(requirement))
	}
	byName := map[string]string{}
	for _, r := range slices.Concat(old, more) {
		byName[name(r)] = r
	}
	out := make([]string, 0, len(byName))
	for _, r := range byName {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

func wantedPackages(dir string) []string {
	if dir == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, wantedFile))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text))
}

// readable lets every function read what the server's umask may have closed.
func readable(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.Chmod(path, 0o755)
		case info.Mode().IsRegular():
			run := info.Mode().Perm() & 0o100
			return os.Chmod(path, 0o644|run|run>>3|run>>6)
		}
		return nil
	})
}

// sweepPackages removes sets that nothing refers to. It is called before the first
// function runs: those of an earlier server may be mounted until then.
func (c *Catalog) sweepPackages() {
	dir := filepath.Join(c.dir, "packages")
	used := map[string]bool{}
	for _, name := range list(dir) {
		if target, err := os.Readlink(filepath.Join(dir, name)); err == nil && !strings.HasSuffix(name, ".link") {
			used[name], used[target] = true, true
		}
	}
	for _, name := range list(dir) {
		if !used[name] && strings.HasPrefix(name, ".") {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				c.o.Log.Warn("cannot remove old packages", "dir", name, "err", err)
			}
		}
	}
}
