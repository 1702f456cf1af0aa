//go:build !unix

package cli

import "os"

// columns is the width of a terminal, which is not asked for on this system.
func columns(*os.File) int { return 0 }
