package project

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"lambent.dev/lambent"
)

// Overlay is a tree of what both have; where they have the same file it is the
// upper one's. Links are followed in neither.
func Overlay(upper, lower fs.FS) fs.FS { return overlay{upper, lower} }

type overlay struct{ upper, lower fs.FS }

// Open opens a file of either; a directory can only be read by way of
// [overlay.ReadDir].
func (o overlay) Open(name string) (fs.File, error) {
	f, err := o.upper.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return o.lower.Open(name)
	}
	return f, err
}

// ReadDir merges the entries of both, in order of name.
func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	upper, upperErr := fs.ReadDir(o.upper, name)
	lower, lowerErr := fs.ReadDir(o.lower, name)
	if upperErr != nil && lowerErr != nil {
		return nil, upperErr
	}
	all := upper
	for _, e := range lower {
		if !slices.ContainsFunc(upper, func(u fs.DirEntry) bool { return u.Name() == e.Name() }) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// ReadLink reads a link of either.
func (o overlay) ReadLink(name string) (string, error) {
	target, err := fs.ReadLink(o.upper, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ReadLink(o.lower, name)
	}
	return target, err
}

// Lstat describes an entry of either.
func (o overlay) Lstat(name string) (fs.FileInfo, error) {
	info, err := fs.Lstat(o.upper, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.Lstat(o.lower, name)
	}
	return info, err
}

// Only is a tree of one file of another, which must be there.
func Only(tree fs.FS, name string) (fs.FS, error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, lambent.Errorf(lambent.CodeInvalid, "read source: %w", err)
	}
	return only{tree, fs.FileInfoToDirEntry(info)}, nil
}

type only struct {
	fs.FS
	entry fs.DirEntry
}

// ReadDir has the one entry.
func (o only) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	return []fs.DirEntry{o.entry}, nil
}

// Open opens no other file.
func (o only) Open(name string) (fs.File, error) {
	if name != "." && name != o.entry.Name() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return o.FS.Open(name)
}
