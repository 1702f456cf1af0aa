// Package s3test runs a real S3-compatible service, versitygw, for the tests of
// rooms that read from S3. It owns the process and its temporary files, refuses
// to imitate a single answer of S3 itself, and builds the service once per
// machine into the user's cache. Its neighbour is package artifact.
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Version of versitygw that is built.
const Version = "v1.8.0"

const (
	module       = "github.com/versity/versitygw/cmd/versitygw"
	buildTimeout = 8 * time.Minute
	startTimeout = 20 * time.Second
)

// Keys of the service's root user, and its region.
const (
	AccessKey = "s3test"
	SecretKey = "s3test-secret"
	Region    = "us-east-1"
)

// Start runs the service on a free loopback port until the test ends and returns
// its URL. Buckets are addressed by path and keep versions once that is switched
// on. The test is skipped where the service can neither be found nor built.
func Start(t testing.TB) string {
	t.Helper()
	program, err := find()
	if err != nil {
		t.Skipf("no S3-compatible service: %v", err)
	}
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	data, versions := t.TempDir(), t.TempDir()
	var out bytes.Buffer
	cmd := exec.Command(program, "--port", address, "--access", AccessKey, "--secret", SecretKey, "--region", Region,
		"--quiet", "posix", "--versioning-dir", versions, data)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = []string{"HOME=" + t.TempDir()} // no configuration from outside
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	})
	for until := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return "http://" + address
		}
		if time.Now().After(until) {
			t.Fatalf("the S3-compatible service does not answer at %s: %v", address, err)
		}
	}
}

// Client is an S3 client for the service at url.
func Client(url string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(url), Region: Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
	})
}

// Bucket makes a bucket that keeps versions.
func Bucket(ctx context.Context, t testing.TB, c *s3.Client, name string) {
	t.Helper()
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatalf("create bucket %s: %v", name, err)
	}
	_, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		t.Fatalf("keep versions in bucket %s: %v", name, err)
	}
}

// Object puts an object and returns the version it became.
func Object(ctx context.Context, t testing.TB, c *s3.Client, bucket, key string, body []byte) string {
	t.Helper()
	out, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	if err != nil {
		t.Fatalf("put object %s/%s: %v", bucket, key, err)
	}
	return aws.ToString(out.VersionId)
}

// find looks for the program in PATH and in the cache, and builds it into the
// cache when it is in neither.
func find() (string, error) {
	if program, err := exec.LookPath("versitygw"); err == nil {
		return program, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "lambent-test", "versitygw-"+Version)
	program := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "install", module+"@"+Version)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s@%s: %w: %.300s", module, Version, err, out)
	}
	return program, nil
}

// freeAddress picks a port that nobody has at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
