package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

var pythonRelease = regexp.MustCompile(`^python(\d+\.\d+)$`)

// PythonPackages fetches what requirements.txt names, or without one the dependencies
// of pyproject.toml, unless it is in the source already, and returns the directory
// that it is in; "" where there is nothing to fetch. Wheels are for the function's
// Python and architecture, whatever this host has. The same requirements are fetched
// once: the directory is in the user's cache.
func (b Builder) PythonPackages(ctx context.Context) (string, error) {
	file, wanted := "requirements.txt", []string{"-r", "requirements.txt"}
	text := b.read(file)
	if !b.has(file) {
		file = "pyproject.toml"
		named, err := dependencies(b.read(file))
		if err != nil {
			return "", fmt.Errorf("read %s of %s: %w", file, b.Dir, err)
		}
		wanted, text = append([]string{"--"}, named...), strings.Join(named, "\n")
	}
	if !b.wantsPackages(text) {
		return "", nil
	}
	python, err := tool("install Python with pip, or put the packages beside the source with pip install -t", "python3", "python")
	if err != nil {
		return "", fmt.Errorf("%s names packages that are not in %s, and %w", file, b.Dir, err)
	}
	platform := []string{}
	if m := pythonRelease.FindStringSubmatch(b.Runtime); m != nil {
		platform = append(platform, "--python-version", m[1])
	}
	machine := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[b.goarch()]
	for _, tag := range []string{"manylinux_2_28_", "manylinux_2_17_", "manylinux2014_", "linux_"} {
		platform = append(platform, "--platform", tag+machine)
	}
	sum := sha256.Sum256([]byte("programs moved\x00" + text + "\x00" + strings.Join(platform, " ")))
	target, err := b.cache("python-" + hex.EncodeToString(sum[:8]))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(target); err == nil {
		b.Say("packages of " + file + ": fetched before")
		return target, nil
	}
	tmp, err := os.MkdirTemp(filepath.Dir(target), ".tmp-")
	if err != nil {
		return "", fmt.Errorf("make a directory for packages: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // moved away where all went well
	args := append([]string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--only-binary=:all:", "--implementation", "cp"}, platform...)
	args = slices.Concat(args, []string{"--target", tmp}, wanted)
	b.Say("running pip install for " + file + ", wheels for " + strings.TrimPrefix(b.Runtime+" on ", " on ") + machine)
	if _, err := b.run(ctx, command{program: python, args: args, quiet: true, env: []string{"PIP_ROOT_USER_ACTION=ignore"}}); err != nil {
		return "", fmt.Errorf("%w (a package that has no wheel has to be built: pip install -t puts it beside the source)", err)
	}
	if err := errors.Join(movePrograms(filepath.Join(tmp, "bin")), os.Chmod(tmp, 0o755), os.Rename(tmp, target)); err != nil {
		return "", fmt.Errorf("keep packages: %w", err)
	}
	return target, nil
}

// dependencies are those of a pyproject.toml (PEP 621).
func dependencies(text string) ([]string, error) {
	var file struct {
		Project struct {
			Dependencies []string `toml:"dependencies"`
		} `toml:"project"`
	}
	_, err := toml.Decode(text, &file)
	return file.Project.Dependencies, err
}

// requirement is the name at the beginning of a line.
var requirement = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*`)

// interpreter is the beginning of a program of a package: pip names the Python it
// runs in itself, by way of a shell where that is too long for the kernel.
var interpreter = regexp.MustCompile(`\A#!(?:[^\n]*python[^\n]*|/bin/sh\n'''exec' [^\n]*\n' ''')\n`)

// movePrograms makes the programs of packages run where there is another Python.
func movePrograms(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		text, readErr := os.ReadFile(name)
		if at := interpreter.FindIndex(text); at != nil {
			// The mode stays: the file is there.
			readErr = os.WriteFile(name, append([]byte("#!/usr/bin/env python3\n"), text[at[1]:]...), 0o755)
		}
		err = errors.Join(err, readErr)
	}
	return err
}

// wantsPackages tells whether a requirement is not in the source yet: pip leaves
// a directory NAME-VERSION.dist-info for each.
func (b Builder) wantsPackages(requirements string) bool {
	here := map[string]bool{}
	found, _ := filepath.Glob(filepath.Join(b.Dir, "*.dist-info")) // a malformed path finds nothing
	for _, path := range found {
		name, _, _ := strings.Cut(filepath.Base(path), "-")
		here[normal(name)] = true
	}
	for line := range strings.Lines(requirements) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if name := requirement.FindString(line); name == "" && len(here) == 0 || name != "" && !here[normal(name)] {
			return true // an option such as -r may name anything
		}
	}
	return false
}

// normal is a project's name as PEP 503 compares it.
func normal(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// cache is the path of a directory that may be kept between builds; its parent is
// there.
func (b Builder) cache(name string) (string, error) {
	base := ""
	for _, entry := range b.Environ {
		key, value, _ := strings.Cut(entry, "=")
		switch {
		case key == "XDG_CACHE_HOME" && filepath.IsAbs(value):
			base = value
		case key == "HOME" && base == "" && filepath.IsAbs(value):
			base = filepath.Join(value, ".cache")
		}
	}
	if base == "" {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "lambent", "build")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the cache of packages: %w", err)
	}
	return filepath.Join(dir, name), nil
}
