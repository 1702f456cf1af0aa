package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const (
	region = "us-east-1"
	role   = "arn:aws:iam::000000000000:role/bench"
)

// bed is a server to measure, on a data directory of its own.
type bed struct {
	options
	data  string
	api   string
	cmd   *exec.Cmd
	sdk   *lambda.Client
	creds aws.Credentials
	began []*exec.Cmd // other processes
	flags []string    // more of the server's, for its next start
}

func newBed(ctx context.Context, o options) (*bed, error) {
	data, err := os.MkdirTemp("", "lambent-bench.")
	if err != nil {
		return nil, err
	}
	b := &bed{options: o, data: data}
	if _, err := b.start(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// start starts the server and tells how long it took to be ready.
func (b *bed) start(ctx context.Context) (time.Duration, error) {
	endpoints := filepath.Join(b.data, "endpoints.json")
	_ = os.Remove(endpoints)
	args := append([]string{"serve", "--data", b.data, "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"}, b.flags...)
	b.cmd = exec.Command(filepath.Join(b.root, "bin", "lambent"), args...)
	b.cmd.Stderr = os.Stderr
	begin := time.Now()
	if err := b.cmd.Start(); err != nil {
		return 0, fmt.Errorf("start server (make build makes it): %w", err)
	}
	var body []byte
	for {
		var err error
		if body, err = os.ReadFile(endpoints); err == nil {
			break
		}
		if time.Since(begin) > 30*time.Second {
			return 0, errors.New("server is not ready after 30 s")
		}
		time.Sleep(time.Millisecond)
	}
	ready := time.Since(begin)
	var e struct{ API string }
	if err := json.Unmarshal(body, &e); err != nil {
		return 0, err
	}
	b.api = e.API
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(region), awsconfig.WithBaseEndpoint(b.api),
		awsconfig.WithSharedCredentialsFiles([]string{filepath.Join(b.data, "credentials")}),
		awsconfig.WithSharedConfigFiles([]string{}))
	if err != nil {
		return 0, err
	}
	b.sdk = lambda.NewFromConfig(cfg)
	b.creds, err = cfg.Credentials.Retrieve(ctx)
	return ready, err
}

// restart starts the server anew, with this setting.
func (b *bed) restart(ctx context.Context, setting string) error {
	b.stop()
	b.flags = []string{"--set", setting}
	_, err := b.start(ctx)
	return err
}

func (b *bed) stop() {
	if b.cmd != nil && b.cmd.Process != nil {
		_ = b.cmd.Process.Signal(syscall.SIGINT)
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

func (b *bed) close() {
	b.stop()
	for _, c := range b.began {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	_ = os.RemoveAll(b.data)
}

// rss is the server's resident memory in MB.
func (b *bed) rss() (float64, error) {
	body, err := os.ReadFile("/proc/" + strconv.Itoa(b.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kb) / 1024, err
		}
	}
	return 0, errors.New("no VmRSS in status")
}

// echo builds the benchmark's handler.
func (b *bed) echo(ctx context.Context) (string, error) {
	binary := filepath.Join(b.data, "bootstrap")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", binary, "./bench/echo")
	cmd.Dir, cmd.Stderr = b.root, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return binary, cmd.Run()
}

// bare starts the handler as a plain HTTP server and returns its request.
func (b *bed) bare(binary string, payload []byte) (target, error) {
	return b.beside(binary, "BARE=127.0.0.1:0", payload)
}

// beside starts a program that serves HTTP and prints its address, and returns a
// request to it.
func (b *bed) beside(binary, variable string, payload []byte) (target, error) {
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), variable)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return target{}, err
	}
	if err := cmd.Start(); err != nil {
		return target{}, err
	}
	b.began = append(b.began, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return target{}, err
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+strings.TrimSpace(line)+"/", bytes.NewReader(payload))
	if err != nil {
		return target{}, err
	}
	return newTarget(r)
}

// signed is an Invoke request. A signature is good for some minutes, longer than
// any loop here.
func (b *bed) signed(ctx context.Context, function string, payload []byte) (target, error) {
	r, err := b.request(ctx, http.MethodPost, "/2015-03-31/functions/"+function+"/invocations", payload)
	if err != nil {
		return target{}, err
	}
	return newTarget(r)
}

// request is a signed request to the API: Lambda's, or lambent's own at /v1.
func (b *bed) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, b.api+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	service := "lambda"
	if strings.HasPrefix(path, "/v1/") {
		service = "lambent"
	}
	sum := sha256.Sum256(body)
	return r, v4.NewSigner().SignHTTP(ctx, b.creds, r, hex.EncodeToString(sum[:]), service, region, time.Now())
}

// create makes a function and waits for it.
func (b *bed) create(ctx context.Context, name, rt, handler string, code []byte, memory int32) error {
	_, err := b.sdk.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Runtime: types.Runtime(rt), Handler: &handler, Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: code}, MemorySize: &memory, Timeout: aws.Int32(30),
	})
	if err != nil {
		return err
	}
	return lambda.NewFunctionActiveV2Waiter(b.sdk, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 2*time.Millisecond, 20*time.Millisecond
	}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
}

// zipped makes an archive; every file is executable.
func zipped(files map[string][]byte) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, body := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		f, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write(body); err != nil {
			return nil, err
		}
	}
	err := w.Close() // writes the directory, so it precedes Bytes
	return buf.Bytes(), err
}

// put sends something to the API that has to be taken.
func (b *bed) put(ctx context.Context, path string, body []byte) error {
	r, err := b.request(ctx, http.MethodPut, path, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // read to its end
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("put %s: %s: %w %.300s", path, resp.Status, err, answer)
	}
	return nil
}
