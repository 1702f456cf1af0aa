//go:build !unix

package cli

// osReplace is nothing where a process cannot become another program.
func osReplace() *Replace { return nil }
