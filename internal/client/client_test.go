package client

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dataDir makes a data directory as a running server leaves it.
func dataDir(t *testing.T, dir, api, access string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"credentials": "# Region: eu-west-9\n[default]\naws_access_key_id = " + access + "\naws_secret_access_key = s\n"}
	if api != "" {
		files["endpoints.json"] = `{"api": "` + api + `", "gateway": "http://127.0.0.1:2"}`
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	work, home := t.TempDir(), t.TempDir()
	dataDir(t, filepath.Join(work, ".lambent"), "http://127.0.0.1:1001", "WORK")
	dataDir(t, filepath.Join(home, "lambent"), "http://127.0.0.1:1002", "HOME")
	dataDir(t, filepath.Join(work, "named"), "http://127.0.0.1:1003", "NAMED")
	dataDir(t, filepath.Join(work, "stopped"), "", "STOPPED")
	empty := t.TempDir()
	shared := filepath.Join(work, "named", "credentials")
	for name, tt := range map[string]struct {
		o        FindOptions
		env      map[string]string
		endpoint string
		access   string
		region   string
		code     lambent.Code
		want     string
	}{
		"working directory first":   {o: FindOptions{Dir: work}, env: map[string]string{"XDG_DATA_HOME": home}, endpoint: "http://127.0.0.1:1001", access: "WORK", region: "eu-west-9"},
		"then the user's":           {o: FindOptions{Dir: empty}, env: map[string]string{"XDG_DATA_HOME": home}, endpoint: "http://127.0.0.1:1002", access: "HOME"},
		"flag":                      {o: FindOptions{Dir: work, Data: "named"}, endpoint: "http://127.0.0.1:1003", access: "NAMED"},
		"variable":                  {o: FindOptions{Dir: work}, env: map[string]string{"LAMBENT_DATA": "named"}, endpoint: "http://127.0.0.1:1003", access: "NAMED"},
		"keys for AWS do not count": {o: FindOptions{Dir: work}, env: map[string]string{"AWS_ACCESS_KEY_ID": "AWS", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-west-2"}, access: "WORK", endpoint: "http://127.0.0.1:1001", region: "eu-west-9"},
		"endpoint with keys":        {o: FindOptions{Dir: work, Endpoint: "http://far.example:9000"}, env: map[string]string{"AWS_ACCESS_KEY_ID": "AWS", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-west-2"}, endpoint: "http://far.example:9000", access: "AWS", region: "us-west-2"},
		"endpoint with a file":      {o: FindOptions{Dir: work}, env: map[string]string{"LAMBENT_ENDPOINT": "http://far.example:9000", "AWS_SHARED_CREDENTIALS_FILE": shared}, endpoint: "http://far.example:9000", access: "NAMED"},
		"endpoint on this host":     {o: FindOptions{Dir: work, Endpoint: "http://127.0.0.1:1002"}, env: map[string]string{"XDG_DATA_HOME": home}, endpoint: "http://127.0.0.1:1002", access: "HOME"},
		"endpoint and directory":    {o: FindOptions{Dir: work, Endpoint: "http://far.example:1", Data: "stopped"}, env: map[string]string{"AWS_ACCESS_KEY_ID": "AWS", "AWS_SECRET_ACCESS_KEY": "s"}, endpoint: "http://far.example:1", access: "STOPPED"},
		"default region":            {o: FindOptions{Dir: work, Endpoint: "http://far.example:1"}, env: map[string]string{"AWS_ACCESS_KEY_ID": "AWS", "AWS_SECRET_ACCESS_KEY": "s"}, endpoint: "http://far.example:1", access: "AWS", region: "us-east-1"},
		"endpoint without keys":     {o: FindOptions{Dir: work, Endpoint: "http://far.example:1"}, code: lambent.CodeDenied, want: "AWS_SHARED_CREDENTIALS_FILE"},
		"no server":                 {o: FindOptions{Dir: empty}, env: map[string]string{"XDG_DATA_HOME": empty}, code: lambent.CodeUnavailable, want: "`lambent serve`"},
		"no server there":           {o: FindOptions{Dir: work, Data: "stopped"}, code: lambent.CodeUnavailable, want: "`lambent serve --data " + work + "/stopped`"},
		"bad endpoint":              {o: FindOptions{Dir: work, Endpoint: "localhost:9000"}, code: lambent.CodeInvalid, want: "want a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.o.UID = 1000
			tt.o.Getenv = func(k string) string { return tt.env[k] }
			got, err := Find(tt.o)
			if lambent.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %s %q", err, tt.code, tt.want)
			}
			if got.Endpoint != tt.endpoint || got.Keys.AccessKey != tt.access || tt.region != "" && got.Keys.Region != tt.region {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	c := New(Target{Endpoint: srv.URL, Data: "/d", Keys: config.Keys{AccessKey: "a", SecretKey: "s", Region: "r"}}, nil)
	_, err := c.Version(t.Context())
	if lambent.CodeOf(err) != lambent.CodeUnavailable || !strings.Contains(err.Error(), "start one with `lambent serve --data /d`") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	if _, err := c.Version(ctx); lambent.CodeOf(err) != lambent.CodeCanceled {
		t.Errorf("ended context: %v", err)
	}
}

func TestStrangeAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		status     int
		kind, body string
		code       lambent.Code
		want       string
	}{
		"ours":            {status: 404, body: `{"code":"not_found","reason":"R","message":"no"}`, code: lambent.CodeNotFound, want: "no"},
		"AWS":             {status: 403, kind: "InvalidSignatureException:http://x", body: `{"message":"bad"}`, code: lambent.CodeDenied, want: "bad (the keys"},
		"AWS capital":     {status: 403, kind: "AccessDenied", body: `{"Message":"bad"}`, code: lambent.CodeDenied, want: "bad"},
		"a web server":    {status: 404, body: "<html>", code: lambent.CodeUnavailable, want: "is this a lambent server?"},
		"not JSON":        {status: 200, body: "<html>", code: lambent.CodeUnavailable, want: "did not answer as"},
		"AWS large":       {status: 413, kind: "RequestTooLargeException", body: `{"message":"big"}`, code: lambent.CodeTooLarge, want: "big"},
		"AWS other":       {status: 400, kind: "X", body: `{"message":"odd"}`, code: lambent.CodeInvalid, want: "odd"},
		"nothing at all":  {status: 500, code: lambent.CodeUnavailable, want: "500"},
		"AWS, no message": {status: 400, kind: "X", code: lambent.CodeUnavailable, want: "400"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.kind != "" {
					w.Header().Set("X-Amzn-Errortype", tt.kind)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			defer srv.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			c := New(Target{Endpoint: srv.URL, Keys: config.Keys{AccessKey: "a", SecretKey: "s", Region: "r"}}, transport)
			_, err := c.Version(t.Context())
			if lambent.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestStreamEnds(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"error line":  {`{"progress":"a"}` + "\n" + `{"error":{"code":"unsupported","message":"cannot"}}` + "\n", "cannot"},
		"broken off":  {`{"progress":"a"}` + "\n", "stopped before the end"},
		"not JSON":    {"x\n", "read the server's answer"},
		"no line end": {`{"done":true}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tt.body)) }))
			defer srv.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			err := New(Target{Endpoint: srv.URL, Keys: config.Keys{AccessKey: "a", SecretKey: "s", Region: "r"}}, transport).InstallRuntime(t.Context(), "x", nil, func(string) {})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
