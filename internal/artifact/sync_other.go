//go:build !linux

package artifact

import "errors"

func syncFileSystem(string) error { return errors.ErrUnsupported }
