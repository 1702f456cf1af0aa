package project

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"lambent.dev/lambent"
)

// IgnoreFile lists patterns of files to leave out, in the syntax of gitignore(5).
const IgnoreFile = ".lambentignore"

// leftOut is what no function needs at run time. A pattern in the ignore file
// that begins with "!" brings something back.
var leftOut = []string{
	".git/", ".hg/", ".svn/", ".github/", ".DS_Store", ".idea/", ".vscode/",
	"__pycache__/", "*.pyc", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".venv/", "/venv/",
	"/node_modules/.cache/", "/node_modules/@next/swc-*/", "/.next/cache/", "/.lambent/", ".gitignore", "/" + IgnoreFile, "/" + ManifestFile,
}

// Ignore decides which files of a tree are left out.
type Ignore struct{ rules []rule }

// rule is one line of an ignore file.
type rule struct {
	parts    []string // of the pattern, split at slashes; "**" is any number
	negate   bool     // brings back what an earlier rule left out
	dirOnly  bool
	anchored bool // matches from the root only
}

// ReadIgnore reads the ignore file of a tree, over what is always left out and
// under more patterns.
func ReadIgnore(tree fs.FS, more []string) (*Ignore, error) {
	data, err := fs.ReadFile(tree, IgnoreFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, lambent.Errorf(lambent.CodeInvalid, "read %s: %w", IgnoreFile, err)
	}
	g := &Ignore{}
	for _, patterns := range [][]string{leftOut, strings.Split(string(data), "\n"), more} {
		for _, line := range patterns {
			if err := g.add(line); err != nil {
				return nil, err
			}
		}
	}
	return g, nil
}

// add reads one line.
func (g *Ignore) add(line string) error {
	line = strings.TrimRight(line, " \t\r")
	if line == "" || line[0] == '#' {
		return nil
	}
	var r rule
	text := line
	if text[0] == '!' {
		r.negate, text = true, text[1:]
	}
	text = strings.TrimPrefix(text, `\`) // of a leading "#" or "!"
	if cut, ok := strings.CutSuffix(text, "/"); ok {
		r.dirOnly, text = true, cut
	}
	// A slash at the beginning or in the middle ties a pattern to the root.
	r.anchored = strings.Contains(text, "/")
	text = strings.TrimPrefix(text, "/")
	r.parts = strings.Split(text, "/")
	for _, p := range r.parts {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return lambent.Errorf(lambent.CodeInvalid, "ignore pattern %q is malformed", line)
		}
	}
	g.rules = append(g.rules, r)
	return nil
}

// Match tells whether a path of the tree is left out, and with a directory
// everything below it. As in Git, the last rule that matches decides.
func (g *Ignore) Match(name string, dir bool) bool {
	parts := strings.Split(name, "/")
	for i := len(g.rules) - 1; i >= 0; i-- {
		if r := g.rules[i]; r.match(parts, dir) {
			return !r.negate
		}
	}
	return false
}

func (r rule) match(parts []string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	if !r.anchored {
		parts = parts[len(parts)-1:]
	}
	return matchParts(r.parts, parts)
}

// matchParts matches a pattern's parts with a path's.
func matchParts(pattern, parts []string) bool {
	if len(pattern) == 0 {
		return len(parts) == 0
	}
	if pattern[0] == "**" {
		for skip := 0; skip <= len(parts); skip++ {
			if matchParts(pattern[1:], parts[skip:]) {
				return len(pattern) > 1 || skip > 0
			}
		}
		return false
	}
	if len(parts) == 0 {
		return false
	}
	ok, _ := path.Match(pattern[0], parts[0]) // checked by add
	return ok && matchParts(pattern[1:], parts[1:])
}
