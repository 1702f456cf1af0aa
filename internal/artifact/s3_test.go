package artifact_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/artifact/s3test"
)

func endpoint(url string) artifact.S3Endpoint {
	return artifact.S3Endpoint{
		Endpoint: url, Region: s3test.Region, AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey, PathStyle: true,
	}
}

func TestCodeFromS3(t *testing.T) {
	url := s3test.Start(t)
	ctx, client := testContext(t), s3test.Client(url)
	s3test.Bucket(ctx, t, client, "code-bucket")
	first, second := build(t, file{name: "a", body: "first"}), build(t, file{name: "a", body: "second"})
	version := s3test.Object(ctx, t, client, "code-bucket", "app/code.zip", first)
	s3test.Object(ctx, t, client, "code-bucket", "app/code.zip", second)
	s3test.Object(ctx, t, client, "code-bucket", "text", []byte("not a zip"))
	s3test.Object(ctx, t, client, "code-bucket", "empty", nil)
	root := filepath.Join(t.TempDir(), "artifacts")
	s := open(t, artifact.Options{Dir: root, S3: []artifact.S3Endpoint{endpoint(url)}})

	t.Run("latest and version", func(t *testing.T) {
		for version, want := range map[string][]byte{"": second, version: first} {
			info, err := s.Put(ctx, artifact.Source{S3Bucket: "code-bucket", S3Key: "app/code.zip", S3ObjectVersion: version})
			if err != nil {
				t.Fatalf("put version %q: %v", version, err)
			}
			if also := mustPut(t, s, want); also != info {
				t.Errorf("version %q is %+v, want %+v", version, info, also)
			}
			wantBlob(t, s, info.Digest, want)
		}
	})

	const prefix = "Error occurred while GetObject. S3 Error Code: "
	for name, c := range map[string]struct{ bucket, key, version, want string }{
		"wrong bucket":  {"no-such-bucket", "k", "", prefix + "NoSuchBucket. S3 Error Message: The specified bucket does not exist"},
		"no bucket":     {"No/Bucket?x=", "k", "", prefix + "NoSuchBucket. S3 Error Message: The specified bucket does not exist"},
		"wrong key":     {"code-bucket", "nope", "", prefix + "NoSuchKey. S3 Error Message: The specified key does not exist."},
		"wrong version": {"code-bucket", "text", "01KXXXXXXXXXXXXXXXXXXXXXXX", prefix + "NoSuchVersion. S3 Error Message: The specified version does not exist."},
		"not a zip":     {"code-bucket", "text", "", cannotUnzip},
		"empty":         {"code-bucket", "empty", "", nonEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Put(ctx, artifact.Source{S3Bucket: c.bucket, S3Key: c.key, S3ObjectVersion: c.version})
			if lambent.CodeOf(err) != lambent.CodeInvalid || err.Error() != c.want {
				t.Errorf("put: %s %v, want %q", lambent.CodeOf(err), err, c.want)
			}
		})
	}
	if left := tree(t, filepath.Join(root, "temp")); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}

func TestS3Refusals(t *testing.T) {
	url := s3test.Start(t)
	ctx, client := testContext(t), s3test.Client(url)
	s3test.Bucket(ctx, t, client, "code-bucket")
	s3test.Object(ctx, t, client, "code-bucket", "k", build(t, file{name: "a", body: "a"}))
	other := endpoint(url)
	other.Bucket = "another-bucket"
	stranger := endpoint(url)
	stranger.SecretKey = "wrong-secret-of-s3test"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := endpoint("http://" + l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		endpoints []artifact.S3Endpoint
		code      lambent.Code
		want      string
	}{
		"none configured":     {nil, lambent.CodeInvalid, "no S3 endpoint in its configuration"},
		"for another bucket":  {[]artifact.S3Endpoint{other}, lambent.CodeInvalid, "NoSuchBucket"},
		"wrong secret":        {[]artifact.S3Endpoint{stranger}, lambent.CodeInvalid, "SignatureDoesNotMatch"},
		"does not answer":     {[]artifact.S3Endpoint{gone}, lambent.CodeUnavailable, "could not be reached"},
		"second one is right": {[]artifact.S3Endpoint{other, endpoint(url)}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, artifact.Options{S3: c.endpoints})
			_, err := s.Put(ctx, artifact.Source{S3Bucket: "code-bucket", S3Key: "k"})
			if lambent.CodeOf(err) != c.code || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("put: %s %v, want %q", lambent.CodeOf(err), err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "wrong-secret") {
				t.Error("the message holds the secret")
			}
		})
	}
}
