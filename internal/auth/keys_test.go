package auth

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"

	"lambent.dev/lambent"
)

func TestOpenWritesOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir, Options{Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	key := first.Default()
	if !regexp.MustCompile(`^[A-Z0-9]{20}$`).MatchString(key.Access) || len(key.Secret) != 40 {
		t.Errorf("access key %q, secret of %d characters", key.Access, len(key.Secret))
	}
	if key.Account != DefaultAccount || key.ARN != "arn:aws:iam::000000000000:root" {
		t.Errorf("account %q, ARN %q", key.Account, key.ARN)
	}
	path := filepath.Join(dir, "credentials")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, error %v", info.Mode(), err)
	}
	again, err := Open(dir, Options{})
	if err != nil || again.Default().Secret != key.Secret || again.Default().Access != key.Access {
		t.Errorf("another key at the second start: %v", err)
	}
	other, err := Open(t.TempDir(), Options{})
	if err != nil || other.Default().Secret == key.Secret {
		t.Errorf("two servers have the same key, or %v", err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}
	// The SDK reads the same key from it, and the region.
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithSharedCredentialsFiles([]string{path}),
		config.WithSharedConfigFiles(nil), config.WithSharedConfigProfile("default"))
	if err != nil {
		t.Fatal(err)
	}
	creds, err := cfg.Credentials.Retrieve(context.Background())
	if err != nil || cfg.Region != "us-east-1" || creds.AccessKeyID != key.Access || creds.SecretAccessKey != key.Secret {
		t.Errorf("the SDK reads %q in %q, error %v", creds.AccessKeyID, cfg.Region, err)
	}
}

func TestOpenTakesOverAfterCrash(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "credentials.new"), []byte("[defau"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "credentials"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
}

func TestOpenRefusesUnusable(t *testing.T) {
	for name, text := range map[string]string{
		"empty":           "",
		"other profile":   "[dev]\naws_access_key_id = a\naws_secret_access_key = b\n",
		"no secret":       "[default]\naws_access_key_id = a\n",
		"binary":          "\x00\xff\xfe",
		"much too large":  strings.Repeat("#", maxFile+1),
		"before any name": "aws_access_key_id = a\naws_secret_access_key = b\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "credentials")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, Options{})
			if lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v", err)
			}
			if left, _ := os.ReadFile(path); string(left) != text {
				t.Error("the file was replaced")
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent"), Options{}); err == nil {
		t.Error("no error without the directory")
	}
}

func TestParseProfile(t *testing.T) {
	got := parseProfile([]byte("# c\r\n[other]\naws_access_key_id=x\n[ default ]\r\n; c\nAWS_Access_Key_Id=AK\r\naws_secret_access_key =  a/b+c==  \naws_session_token=t\nregion=us-east-1\n[more]\naws_access_key_id=y\n"))
	if got.Access != "AK" || got.Secret != "a/b+c==" || got.Token != "t" {
		t.Errorf("access %q, secret %q, token %q", got.Access, got.Secret, got.Token)
	}
}

func TestKeyDoesNotPrintSecret(t *testing.T) {
	k := Key{Access: "AK", Secret: "hush", Token: "hush"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, k); strings.Contains(text, "hush") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// tenants is a Lookup.
type tenants map[string]Key

func (m tenants) Key(_ context.Context, access string) (Key, bool) { k, ok := m[access]; return k, ok }

func TestLookup(t *testing.T) {
	keys := docKeys(docAccess, docSecret)
	keys.lookup = tenants{"TENANT": {Access: "TENANT", Secret: "s2", Token: "tok", Account: "111122223333", ARN: "arn:aws:iam::111122223333:root"}}
	h := keys.Middleware(echo, MiddlewareOptions{Now: func() time.Time { return testTime }})
	if w := serve(h, call{access: "TENANT", secret: "s2", token: "tok", body: "x"}.signed(t)); w.Code != 200 || w.Header().Get("Account") != "111122223333" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, token := range []string{"", "other"} {
		if w := serve(h, call{access: "TENANT", secret: "s2", token: token}.signed(t)); w.Code != 403 {
			t.Errorf("token %q: %d", token, w.Code)
		}
	}
	// A key whose secret has changed is not accepted from the cache.
	keys.lookup = tenants{"TENANT": {Access: "TENANT", Secret: "s3", Account: "111122223333"}}
	if w := serve(h, call{access: "TENANT", secret: "s2"}.signed(t)); w.Code != 403 {
		t.Errorf("the old secret still works: %d", w.Code)
	}
}

func TestSignersAreBounded(t *testing.T) {
	var s signers
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range maxSigners {
				c := claim{access: "a", date: "20260101", region: fmt.Sprint(i, g), service: "s3"}
				s.keep(&c, newSigner("b", &c))
				if got := s.get(Key{Access: "a", Secret: "b"}, &c); got != nil && len(got.sign(nil, []byte("x"))) != 32 {
					t.Error("no signature")
				}
			}
		})
	}
	wg.Wait()
	if len(s.known) > maxSigners {
		t.Errorf("%d signing keys are kept", len(s.known))
	}
}

func TestFromWithout(t *testing.T) {
	if id, ok := From(context.Background()); ok || id != (Identity{}) {
		t.Errorf("%+v %v", id, ok)
	}
}

// TestStrangersKeepNothing is for who knows an access key, which is no secret, and makes up
// scopes: each would be a signing key in memory, with names as long as a header may be, and
// push those out that are used.
func TestStrangersKeepNothing(t *testing.T) {
	keys := docKeys(docAccess, docSecret)
	h := keys.Middleware(echo, MiddlewareOptions{Region: "us-east-1", Service: serviceOf, Now: func() time.Time { return testTime }})
	for i := range 5 {
		c := call{method: "GET", target: "/", service: fmt.Sprint("made-up-", i), secret: "another"}
		if w := serve(h, c.signed(t)); w.Code != http.StatusForbidden {
			t.Errorf("a wrong signature: %d", w.Code)
		}
	}
	if n := len(keys.signers.known); n != 0 {
		t.Errorf("%d signing keys are kept for who has signed nothing", n)
	}
	for range 2 {
		if w := serve(h, call{}.signed(t)); w.Code != http.StatusOK {
			t.Errorf("a signature that holds: %d", w.Code)
		}
	}
	if n := len(keys.signers.known); n != 1 {
		t.Errorf("%d signing keys are kept for one scope", n)
	}
}
