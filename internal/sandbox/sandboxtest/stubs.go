package sandboxtest

import "testing"

func (h Harness) outputs(t *testing.T) {}
func (h Harness) surroundings(t *testing.T) {}
func (h Harness) limits(t *testing.T) {}
func (h Harness) escape(t *testing.T) {}
func (h Harness) abuse(t *testing.T) {}
func (h Harness) recovers(t *testing.T) {}
