package runtimes

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/sandbox"
)

// execWrapper names a program that starts the runtime in its own way ("Modifying
// the runtime environment", AWS Lambda developer guide).
const execWrapper = "AWS_LAMBDA_EXEC_WRAPPER"

// ownStart lists the variables that are read once, when a process starts, so that
// they cannot be given to one that runs already: by prefix, but for the exceptions.
type ownStart struct{ prefixes, except []string }

var (
	// The loader, the C library's allocator, its locale and character sets
	// (ld.so(8), mallopt(3), locale(7), iconv(3)), OpenSSL's configuration
	// (openssl-env(7)). SSL_CERT_FILE and SSL_CERT_DIR are not among them: they are
	// looked up at each use. TZ is read again by tzset(3).
	anyStart = ownStart{prefixes: []string{"LD_", "GLIBC_", "MALLOC_", "LC_", "LANG", "LOCPATH", "GCONV_", "OPENSSL_"}}
	// PYTHONPATH could be made up for, but modules in it may shadow any other.
	pythonStart = ownStart{prefixes: []string{"PYTHON"}}
	// NODE_ENV and NODE_CONFIG are conventions of packages; certificates are checked
	// by NODE_TLS_REJECT_UNAUTHORIZED as it is at each connection. libuv sizes its
	// thread pool once, at its first use.
	nodeStart = ownStart{
		prefixes: []string{"NODE_", "UV_"},
		except:   []string{"NODE_ENV", "NODE_CONFIG", "NODE_CONFIG_DIR", "NODE_CONFIG_ENV", "NODE_APP_INSTANCE", "NODE_TLS_REJECT_UNAUTHORIZED"},
	}
)

func (o ownStart) has(name string) bool {
	return !slices.Contains(o.except, name) &&
		slices.ContainsFunc(o.prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// needsOwnStart tells whether a function's variables keep it from using a blank.
func needsOwnStart(env map[string]string, f family) bool {
	own := map[family]ownStart{familyPython: pythonStart, familyNode: nodeStart}[f]
	if start := languages[f].blank; start != nil {
		own = *start
	}
	for name := range env {
		if name == execWrapper || anyStart.has(name) || own.has(name) {
			return true
		}
	}
	return false
}

// control sets what the driver needs to know of a bootstrap that speaks the control
// protocol. With a wrapper the function's own code runs first, so that there is no
// moment at which the bootstrap turns to it.
func (c *Catalog) control(rt *sandbox.Runtime, v *lambent.Version, i interpreter, r release) {
	l, inTable := languages[i.family]
	if !inTable && i.family != familyPython && i.family != familyNode || v.Env[execWrapper] != "" || l.foreign != nil && l.foreign(v) {
		return
	}
	rt.Control = true
	if inTable && l.blank == nil || needsOwnStart(v.Env, i.family) {
		return
	}
	rt.Blank = c.blanks.of(rt, v.MemoryMB, i, func() *sandbox.Blank {
		blank := &sandbox.Blank{Command: rt.Command}
		if i.family == familyPython {
			// The same program: it tells by its socket what it is to be, and is told only
			// what differs from what most functions have in their environments.
			blank.Zygote = rt.Command
			blank.Env = blankEnvironment(v, r, regional(c.o.Region, lambent.Latest, onDemand))
		} else {
			blank.Env = blankEnvironment(v, r, nil)
		}
		blank.Key = blankKey(rt, i, blank)
		return blank
	})
}

// maxBlanks bounds what is remembered of blanks: memory sizes are for tenants to choose.
const maxBlanks = 256

// blanks remembers the last blank of each runtime and memory size, which nearly every
// start wants again: its environment and its hash were half of what it takes to say how
// a function is started. None of them is ever written to.
type blanks struct {
	mu  sync.Mutex // guards all
	all map[blankSize]madeBlank
}

type blankSize struct {
	runtime string
	memory  int // MB
}

// madeBlank has, beside the blank, what else it depends on.
type madeBlank struct {
	interpreter string // key of one
	mounts      []sandbox.Mount
	blank       *sandbox.Blank
}

// of is the blank that rt, of a function with so much memory in MB, is to have, which
// fresh makes unless it is known.
func (b *blanks) of(rt *sandbox.Runtime, memory int, i interpreter, fresh func() *sandbox.Blank) *sandbox.Blank {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := blankSize{runtime: rt.Name, memory: memory}
	if m, known := b.all[size]; known && m.interpreter == i.key && slices.Equal(m.mounts, rt.Mounts) && slices.Equal(m.blank.Command, rt.Command) {
		return m.blank
	}
	if b.all == nil || len(b.all) >= maxBlanks {
		b.all = map[blankSize]madeBlank{}
	}
	m := madeBlank{interpreter: i.key, mounts: slices.Clone(rt.Mounts), blank: fresh()}
	b.all[size] = m
	return m.blank
}

// blankEnvironment is what every function of a release with as much memory has in
// its environment, unless it says otherwise, and more; what the loader and the
// interpreter read is among it.
func blankEnvironment(v *lambent.Version, r release, more map[string]string) []string {
	return inOrder(defaults(&lambent.Version{MemoryMB: v.MemoryMB}, r), places, more)
}

// blankKey is a hash of all that makes a blank what it is, the interpreter's file
// included: an upgrade in place makes new ones.
func blankKey(rt *sandbox.Runtime, i interpreter, b *sandbox.Blank) string {
	h := sha256.New()
	part := func(list ...string) {
		for _, s := range list {
			h.Write([]byte(s + "\x00")) // a hash takes every write
		}
		h.Write([]byte{1})
	}
	part(i.key)
	part(b.Command...)
	part(b.Zygote...)
	part(b.Env...)
	for _, m := range rt.Mounts {
		part(m.Host, m.Guest, m.Link)
	}
	return string(i.family) + i.version + "-" + hex.EncodeToString(h.Sum(nil))[:16]
}
