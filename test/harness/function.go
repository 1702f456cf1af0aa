package harness

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// Role is what functions of tests claim to run as.
const Role = "arn:aws:iam::000000000000:role/test"

// Zip makes an archive of names and contents. A name that ends in "!" is
// executable.
func Zip(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, body := range files {
		mode := fs.FileMode(0o644)
		if n := len(name) - 1; name[n] == '!' {
			name, mode = name[:n], 0o755
		}
		add(t, w, name, mode, []byte(body))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// ZipDir makes an archive of a directory.
func ZipDir(t testing.TB, dir string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path) // follows links, so that what is zipped is whole
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		add(t, w, rel, info.Mode().Perm(), body)
		return nil
	})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func add(t testing.TB, w *zip.Writer, name string, mode fs.FileMode, body []byte) {
	t.Helper()
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	h.SetMode(mode)
	f, err := w.CreateHeader(h)
	if err == nil {
		_, err = f.Write(body)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Function is what Create makes; zero values get useful defaults.
type Function struct {
	Name, Runtime, Handler string
	Zip                    []byte
	Memory                 int32
	Timeout                int32
	Ephemeral              int32
	Env                    map[string]string
	Layers                 []string
}

// Create makes a function and waits until it is active.
func (s *Server) Create(t testing.TB, f Function) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if f.Memory == 0 {
		f.Memory = 256
	}
	if f.Timeout == 0 {
		f.Timeout = 10
	}
	if f.Ephemeral == 0 {
		f.Ephemeral = 512
	}
	if f.Handler == "" {
		f.Handler = "bootstrap"
	}
	c := s.Lambda()
	in := &lambda.CreateFunctionInput{
		FunctionName: &f.Name, Runtime: types.Runtime(f.Runtime), Handler: &f.Handler, Role: aws.String(Role),
		Code: &types.FunctionCode{ZipFile: f.Zip}, MemorySize: &f.Memory, Timeout: &f.Timeout,
		EphemeralStorage: &types.EphemeralStorage{Size: &f.Ephemeral}, Layers: f.Layers,
	}
	if f.Env != nil {
		in.Environment = &types.Environment{Variables: f.Env}
	}
	if _, err := c.CreateFunction(ctx, in); err != nil {
		t.Fatalf("create %s: %v", f.Name, err)
	}
	err := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &f.Name}, time.Minute)
	if err != nil {
		t.Fatalf("wait for %s: %v", f.Name, err)
	}
}

// Invoke calls a function with LogType=Tail and fails the test when the platform
// refuses; a function error is in the output.
func (s *Server) Invoke(t testing.TB, name, payload string) *lambda.InvokeOutput {
	t.Helper()
	out, err := s.TryInvoke(name, payload)
	if err != nil {
		t.Fatalf("invoke %s: %v", name, err)
	}
	return out
}

// TryInvoke is Invoke that returns the error.
func (s *Server) TryInvoke(name, payload string) (*lambda.InvokeOutput, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return s.Lambda().Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: []byte(payload), LogType: types.LogTypeTail})
}
