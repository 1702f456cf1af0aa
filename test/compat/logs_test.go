package compat

import (
	"path/filepath"
	"testing"

	"lambent.dev/lambent/test/harness"
)

func TestBoto3Logs(t *testing.T) {
	venv := python(t)
	ask(t, harness.Start(t, harness.Options{}), filepath.Join(venv, "bin", "python"), "clients/boto3/logs.py")
}
