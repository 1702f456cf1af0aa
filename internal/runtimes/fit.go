package runtimes

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
	bootstraps "lambent.dev/lambent/runtimes"
)

// Sizes of what is remembered of code directories.
const (
	maxModules  = 4096 // names in one directory; a larger one makes a start of its own
	maxListings = 4096 // directories
)

// Fit makes the runtime of a version suit its files: it fills [sandbox.Blank.Avoid] and Fits,
// or takes the blank away where the function must have a start of its own. code and
// layers are the unpacked directories, as in [sandbox.Spec]; they must not change
// under the same path, for they are read once. rt's blank itself is not written to.
// A .NET function with settings of its own gets a command that has them.
func (c *Catalog) Fit(rt *sandbox.Runtime, v *lambent.Version, code string, layers []string) {
	if r, ok := lookup(v.Runtime); ok && r.family == familyDotnet {
		fitDotnet(rt, v, code)
	}
	if rt.Blank == nil {
		return
	}
	python := strings.HasPrefix(rt.Blank.Key, string(familyPython))
	places := []folder{{dir: code, modules: []string{"."}}}
	for _, l := range layers {
		places = append(places, folder{dir: l, modules: []string{"python", sitePackages("python", rt.Version)}})
	}
	avoid := map[string]bool{}
	for _, p := range places {
		l := c.listings.of(p)
		if l.unfit {
			rt.Blank = nil
			return
		}
		for _, name := range l.modules {
			avoid[name] = true
		}
	}
	if !python {
		return
	}
	if slices.ContainsFunc(usual(), func(name string) bool { return avoid[name] }) {
		rt.Blank = nil
		return
	}
	threads(avoid, v)
	blank := *rt.Blank
	blank.Avoid, blank.Fits = slices.Sorted(maps.Keys(avoid)), true
	rt.Blank = &blank
}

// threads adds libraries for numbers that start a thread per processor, or as many
// as a variable says, when they are loaded. Preloaded, they have the one thread.
func threads(avoid map[string]bool, v *lambent.Version) {
	set := v.CPUs() > 1
	for name := range v.Env {
		for _, prefix := range []string{"OMP_", "OPENBLAS_", "GOTO_", "MKL_", "KMP_", "BLIS_", "NPY_", "NUMPY_"} {
			set = set || strings.HasPrefix(name, prefix)
		}
	}
	if set {
		avoid["numpy"], avoid["scipy"], avoid["pandas"] = true, true, true
	}
}

// folder is a directory of a function, and where in it modules are looked for.
type folder struct {
	dir     string
	modules []string
}

// listing is what matters of a folder.
type listing struct {
	modules []string // top-level names that would shadow others
	// unfit: only a process that started with these files in place sees all of
	// them. The loader remembers which of the directories in LD_LIBRARY_PATH are
	// missing when it first looks; /var/task/lib and /opt/lib are among them.
	unfit bool
}

// listings remembers directories by their path.
type listings struct {
	mu     sync.Mutex // guards the rest
	byPath map[string]listing
}

func (l *listings) of(p folder) listing {
	key := p.dir + "\x00" + strings.Join(p.modules, "\x00")
	l.mu.Lock()
	known, ok := l.byPath[key]
	l.mu.Unlock()
	if ok {
		return known
	}
	fresh := p.list()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byPath == nil || len(l.byPath) >= maxListings {
		l.byPath = map[string]listing{}
	}
	l.byPath[key] = fresh
	return fresh
}

func (p folder) list() listing {
	var out listing
	if hasLibraries(filepath.Join(p.dir, "lib")) {
		return listing{unfit: true}
	}
	for _, m := range p.modules {
		entries, err := os.ReadDir(filepath.Join(p.dir, m))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return listing{unfit: true}
		}
		for _, e := range entries {
			if name, ok := moduleName(e.Name(), e.IsDir()); ok && !pinned()[name] {
				out.modules = append(out.modules, name)
			}
		}
		if len(out.modules) > maxModules {
			return listing{unfit: true}
		}
	}
	return out
}

// hasLibraries tells whether a directory holds what the loader might look for in it.
func hasLibraries(dir string) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return strings.HasSuffix(e.Name(), ".so") || strings.Contains(e.Name(), ".so.")
	})
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// moduleName is the name under which Python would import a file or folder. A
// symbolic link may be either.
func moduleName(entry string, dir bool) (string, bool) {
	name, suffix, _ := strings.Cut(entry, ".")
	if suffix != "" && (dir || suffix != "py" && suffix != "pyc" && suffix != "so" && !strings.HasSuffix(suffix, ".so")) {
		return "", false
	}
	return name, identifier.MatchString(name)
}

// pinned are the modules that nothing of a function can take the place of, as the
// bootstrap has them.
var pinned = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, name := range strings.Fields(between("python/lambent_platform.py", `_PINNED = frozenset(
    """`, `"""`)) {
		out[name] = true
	}
	return out
})

// usual are the modules that every Python blank has loaded and that a function's own
// files can take the place of, as the bootstrap has them.
var usual = sync.OnceValue(func() []string {
	return moduleNames.FindAllString(between("python/lambent_blank.py", "_USUAL = (", ")"), -1)
})

var moduleNames = regexp.MustCompile(`[a-z][a-z0-9_]*`)

// between is the part of a bootstrap's file that is enclosed like that.
func between(file, from, to string) string {
	text, err := bootstraps.Files.ReadFile(file)
	if err != nil {
		return ""
	}
	_, part, _ := strings.Cut(string(text), from)
	part, _, _ = strings.Cut(part, to)
	return part
}

// sitePackages is where a version of Python has its packages beneath a prefix.
func sitePackages(prefix, version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return prefix
	}
	return filepath.Join(prefix, "lib", "python"+parts[0]+"."+parts[1], "site-packages")
}
