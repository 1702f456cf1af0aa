//go:build !linux

package store

import "os"

// syncer has the disk keep what was written to a file.
type syncer struct{ file *os.File }

func newSyncer(file *os.File) *syncer { return &syncer{file} }

func (s *syncer) sync() error { return s.file.Sync() }

func (s *syncer) close() error { return s.file.Close() }
