// Package project understands a directory of source code: what the manifest
// (lambent.yaml) says, which runtime and handler the files suggest, which files
// are left out, and how the rest becomes a zip. It is pure: it reads from an
// fs.FS, runs nothing, and the same files always make the same bytes. The deploy
// command is its only user.
package project

import (
	"errors"
	"io/fs"
	"maps"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/config"
)

// ManifestFile is the name of the optional manifest in a source directory.
const ManifestFile = "lambent.yaml"

// Manifest is what the source says of its function. Zero members say nothing.
type Manifest struct {
	Name        string            `yaml:"name"`
	Description string            `yaml:"description"`
	Runtime     string            `yaml:"runtime"`
	Handler     string            `yaml:"handler"`
	Arch        string            `yaml:"arch"`
	Memory      int               `yaml:"memory"` // MB
	Timeout     Seconds           `yaml:"timeout"`
	Role        string            `yaml:"role"`
	Env         map[string]string `yaml:"env"`
	Layers      []string          `yaml:"layers"`
	Network     string            `yaml:"network"` // outbound, loopback or none
	Ignore      []string          `yaml:"ignore"`  // patterns, as in .lambentignore

	// Of an HTTP application; Port or Command makes it one.
	Port         int     `yaml:"port"`
	Command      string  `yaml:"command"` // a line for a shell
	Health       string  `yaml:"health"`  // path
	Concurrency  int     `yaml:"concurrency"`
	StartTimeout Seconds `yaml:"start_timeout"`
	IdleTimeout  Seconds `yaml:"idle_timeout"` // of streams and WebSockets
	MinInstances *int    `yaml:"min_instances"`
}

// Seconds is a timeout: a number of seconds, or a duration such as 2m.
type Seconds int

// UnmarshalYAML reads either form.
func (s *Seconds) UnmarshalYAML(data []byte) error {
	var n int
	if yaml.Unmarshal(data, &n) == nil {
		*s = Seconds(n)
		return nil
	}
	d, err := time.ParseDuration(strings.Trim(strings.TrimSpace(string(data)), `"'`))
	if err != nil || d%time.Second != 0 {
		return errors.New("want whole seconds, such as 10 or 2m")
	}
	*s = Seconds(d / time.Second)
	return nil
}

// ReadManifest reads the manifest of a source tree; without one it is empty.
func ReadManifest(tree fs.FS) (Manifest, error) {
	var m Manifest
	data, err := fs.ReadFile(tree, ManifestFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, lambent.Errorf(lambent.CodeInvalid, "read %s: %w", ManifestFile, err)
	}
	return m, config.Decode(ManifestFile, data, &m)
}

// Over is m with whatever o says put over it; environments are merged.
func (m Manifest) Over(o Manifest) Manifest {
	put(&m.Name, o.Name)
	put(&m.Description, o.Description)
	put(&m.Runtime, o.Runtime)
	put(&m.Handler, o.Handler)
	put(&m.Arch, o.Arch)
	put(&m.Memory, o.Memory)
	put(&m.Timeout, o.Timeout)
	put(&m.Role, o.Role)
	put(&m.Network, o.Network)
	put(&m.Port, o.Port)
	put(&m.Command, o.Command)
	put(&m.Health, o.Health)
	put(&m.Concurrency, o.Concurrency)
	put(&m.StartTimeout, o.StartTimeout)
	put(&m.IdleTimeout, o.IdleTimeout)
	if o.MinInstances != nil {
		m.MinInstances = o.MinInstances
	}
	if o.Env != nil {
		env := maps.Clone(m.Env)
		if env == nil {
			env = make(map[string]string)
		}
		maps.Copy(env, o.Env)
		m.Env = env
	}
	if o.Layers != nil {
		m.Layers = o.Layers
	}
	m.Ignore = append(m.Ignore[:len(m.Ignore):len(m.Ignore)], o.Ignore...)
	return m
}

func put[T comparable](field *T, value T) {
	var zero T
	if value != zero {
		*field = value
	}
}

// FunctionName makes a function name of a file or directory name.
func FunctionName(base string) string {
	for _, suffix := range []string{".zip", ".jar", ".wasm"} {
		base = strings.TrimSuffix(base, suffix)
	}
	var name strings.Builder
	for _, c := range base {
		switch {
		case lambent.ValidName(string(c)):
			name.WriteRune(c)
		case name.Len() > 0 && !strings.HasSuffix(name.String(), "-"):
			name.WriteByte('-')
		}
		if name.Len() == lambent.MaxFunctionName {
			break
		}
	}
	return strings.Trim(name.String(), "-")
}
