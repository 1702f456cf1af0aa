package runtimes

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"lambent.dev/lambent"
)

// installer puts one release on the host.
type installer func(ctx context.Context, progress func(string)) error

// Install puts a runtime on this host: Node.js into the data directory, what the
// distribution has by its package manager. progress takes one line per step and
// may be nil. A runtime that is there already is left alone. For one that cannot
// be installed the error has CodeUnsupported and says what to do.
func (c *Catalog) Install(ctx context.Context, name string, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	r, ok := lookup(name)
	if !ok {
		_, err := c.Check(name, "")
		return err
	}
	if b, built := builtIns[r.family]; built {
		progress(name + " needs no installation: " + b.install + ".")
		return nil
	}
	c.rescan(ctx, 0)
	if i, exact, ok := pick(c.interpreters(), r); ok && (exact || c.bestHere(r, i)) {
		progress(fmt.Sprintf("%s is here already: %s %s at %s", name, i.language(), i.version, i.program))
		return nil
	}
	install := c.installer(r)
	if install == nil {
		return lambent.Errorf(lambent.CodeUnsupported, "%s cannot be installed on this host. %s", name, c.advice(r))
	}
	if err := install(ctx, progress); err != nil {
		return lambent.Errorf(lambent.CodeUnavailable, "install %s: %w", name, err)
	}
	c.rescan(ctx, 0)
	i, exact, ok := pick(c.interpreters(), r)
	if !ok || !exact && !c.bestHere(r, i) {
		return lambent.Errorf(lambent.CodeInternal, "installed %s, but it does not run on this host", name)
	}
	progress(fmt.Sprintf("%s is ready: %s %s at %s", name, i.language(), i.version, i.program))
	return nil
}

// installer finds the way to install r here, or nil.
func (c *Catalog) installer(r release) installer {
	if r.family == familyNode {
		pkg := nodePackage()
		if pkg.name == "" {
			return nil
		}
		return func(ctx context.Context, progress func(string)) error {
			return c.installNPM(ctx, pkg, r, progress)
		}
	}
	if l, ok := languages[r.family]; ok {
		return c.languageInstaller(l, r)
	}
	pkg := c.distribution.packageOf(r)
	if pkg == "" {
		return nil
	}
	return func(ctx context.Context, progress func(string)) error {
		return aptInstall(ctx, pkg, progress)
	}
}

// advice is what a person must do to have r, in a sentence or two.
func (c *Catalog) advice(r release) string {
	switch {
	case c.installer(r) != nil:
		return "Run on the server: lambent runtime install " + r.name
	case languages[r.family].put != "":
		return "Put " + languages[r.family].put + " of the server."
	case r.family == familyPython:
		return fmt.Sprintf("Put CPython %d.%d into the folder runtimes of the server's data directory, for example "+
			"with: uv python install %d.%d --install-dir DATA/runtimes", r.major, r.minor, r.major, r.minor)
	case r.family == familyJava:
		return fmt.Sprintf("Put a JDK %d on the server, under /usr/lib/jvm or in the folder runtimes/%s of its data "+
			"directory.", r.major, r.name)
	case r.family == familyNode:
		return fmt.Sprintf("Put Node.js %d on the server, so that runtimes/%s/bin/node is there in its data directory.",
			r.major, r.name)
	default:
		return fmt.Sprintf("lambent has no runtime for %s: package the function as a program named bootstrap, for "+
			"provided.al2023.", r.language())
	}
}

// distribution is the Linux distribution of the host, for what its package
// manager has; the zero value has nothing.
type distribution struct{ id, version string }

// packaged lists which Pythons and Javas come with a distribution's release:
// packages.debian.org, packages.ubuntu.com.
var packaged = map[distribution][]string{
	{"debian", "12"}:    {"python3.11", "openjdk-17-jre-headless"},
	{"debian", "13"}:    {"python3.13", "openjdk-21-jre-headless", "openjdk-25-jre-headless"},
	{"ubuntu", "22.04"}: {"python3.10", "openjdk-8-jre-headless", "openjdk-11-jre-headless", "openjdk-17-jre-headless", "openjdk-21-jre-headless"},
	{"ubuntu", "24.04"}: {"python3.12", "openjdk-8-jre-headless", "openjdk-11-jre-headless", "openjdk-17-jre-headless", "openjdk-21-jre-headless"},
}

// hostDistribution reads os-release(5).
func hostDistribution(path string) distribution {
	data, err := os.ReadFile(path)
	if err != nil {
		return distribution{}
	}
	var d distribution
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "ID":
			d.id = strings.Trim(value, `"'`)
		case "VERSION_ID":
			d.version = strings.Trim(value, `"'`)
		}
	}
	return d
}

// packageOf names the distribution's package of r, or "".
func (d distribution) packageOf(r release) string {
	want := ""
	switch r.family {
	case familyPython:
		want = r.name
	case familyJava:
		want = fmt.Sprintf("openjdk-%d-jre-headless", r.major)
	}
	for _, have := range packaged[d] {
		if have == want {
			return have
		}
	}
	return ""
}

// aptInstall runs apt-get, which needs root and shows its own errors.
func aptInstall(ctx context.Context, pkg string, progress func(string)) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("this needs root; run: sudo apt-get install --no-install-recommends %s", pkg)
	}
	command := []string{"apt-get", "install", "--yes", "--no-install-recommends", pkg}
	progress("running " + strings.Join(command, " "))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = []string{"DEBIAN_FRONTEND=noninteractive", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open a pipe to apt-get: %w", err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start apt-get: %w", err)
	}
	last := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		progress(last)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("apt-get install %s (it said %q; apt-get update may help): %w", pkg, last, err)
	}
	return nil
}
