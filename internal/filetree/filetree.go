// Package filetree is the shape of a tree of files whose contents are fetched when
// they are read: a layer of a container image that is still coming in, between the
// artifact store, which makes it, and the driver, which mounts it. It owns names,
// attributes and their limits; it fetches nothing and mounts nothing, and it
// refuses everything that would need another tree to be understood.
package filetree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Limits of a tree.
const (
	MaxNodes = 1_000_000
	MaxDepth = 128  // directories
	maxName  = 255  // bytes (NAME_MAX, limits.h)
	maxLink  = 4095 // bytes of a symbolic link's target (PATH_MAX)
)

// Tree is a tree of files. It is not changed once it is in use.
type Tree struct {
	// Nodes are all there are; the first one is the root. A node is known by its
	// place.
	Nodes []*Node
	// Read fills p with what a regular file has from a place on, which is within its
	// size. It gives what was checked, or an error whose message may be shown.
	Read func(ctx context.Context, n *Node, p []byte, at int64) error
}

// Node is a file, a directory or a link.
type Node struct {
	ID       int // its place in the tree
	Mode     fs.FileMode
	UID, GID int
	Size     int64
	ModTime  time.Time
	Target   string // of a symbolic link
	Links    int    // names that it has
	// Children are those of a directory, by name; nil for all else.
	Children map[string]*Node
	// Whiteout stands for a name that the layers below have and this one hides, and
	// Opaque for a directory that hides what they have in it.
	Whiteout, Opaque bool
	// Place is where the content of a regular file begins, as its maker counts.
	Place int
}

// New makes a tree with a root that is empty.
func New() *Tree {
	t := &Tree{}
	t.add(&Node{Mode: fs.ModeDir | 0o755, Children: map[string]*Node{}})
	return t
}

// Root is the top directory.
func (t *Tree) Root() *Node { return t.Nodes[0] }

func (t *Tree) add(n *Node) {
	n.ID, n.Links = len(t.Nodes), 1
	t.Nodes = append(t.Nodes, n)
}

// Put gives a node a name in a directory, in place of what had it. One that is in
// the tree already gets one name more.
func (t *Tree) Put(dir *Node, name string, n *Node) error {
	switch {
	case name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("%.100q cannot be a name", name)
	case dir.Children == nil:
		return fmt.Errorf("%.100q is in what is no directory", name)
	case len(n.Target) > maxLink || strings.IndexByte(n.Target, 0) >= 0 || n.Mode.Type() == fs.ModeSymlink && n.Target == "":
		return fmt.Errorf("%.100q is a link with a bad target", name)
	case n.Size < 0:
		return fmt.Errorf("%.100q has a size below zero", name)
	}
	if n.Links > 0 {
		n.Links++
	} else {
		if len(t.Nodes) >= MaxNodes {
			return fmt.Errorf("there are more than %d files", MaxNodes)
		}
		t.add(n)
	}
	dir.Children[name] = n
	return nil
}

// ErrIndirect tells that a path leads through a link or a file.
var ErrIndirect = errors.New("leads through what is no directory")

// Dir finds a directory by its path from the root, "" or "a/b", and makes what is
// missing of it.
func (t *Tree) Dir(path string) (*Node, error) {
	at := t.Root()
	if path == "" {
		return at, nil
	}
	if strings.Count(path, "/") >= MaxDepth {
		return nil, fmt.Errorf("lies more than %d directories deep", MaxDepth)
	}
	for part := range strings.SplitSeq(path, "/") {
		next := at.Children[part]
		if next == nil || next.Whiteout {
			made := &Node{Mode: fs.ModeDir | 0o755, Children: map[string]*Node{}, Opaque: next != nil}
			if err := t.Put(at, part, made); err != nil {
				return nil, err
			}
			next = made
		}
		if next.Children == nil {
			return nil, ErrIndirect
		}
		at = next
	}
	return at, nil
}

// Find gives what a path names, or nil; links are not followed.
func (t *Tree) Find(path string) *Node {
	at := t.Root()
	for part := range strings.SplitSeq(path, "/") {
		if at = at.Children[part]; at == nil {
			return nil
		}
	}
	return at
}
