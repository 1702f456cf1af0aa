//go:build !linux

package artifact

import (
	"errors"
	"os"
)

// There is no overlay to hide anything from.
func hideName(*os.File, string) error { return errors.ErrUnsupported }

func hideBelow(*os.File) error { return errors.ErrUnsupported }
