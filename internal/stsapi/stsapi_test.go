package stsapi

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
	"lambent.dev/lambent/internal/store"
)

// start serves the door behind the real middleware.
func start(t *testing.T) (url string, key auth.Key) {
	t.Helper()
	url, key, _ = startAt(t, time.Now)
	return url, key
}

// startAt does so with a clock, and gives the roles.
func startAt(t *testing.T, now func() time.Time) (url string, key auth.Key, room *iam.Room) {
	t.Helper()
	room, err := iam.Open(t.Context(), iam.Options{Records: store.NewMemory(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.Open(t.TempDir(), auth.Options{Lives: room.Lives})
	if err != nil {
		t.Fatal(err)
	}
	door := queryapi.New(map[string]queryapi.API{"sts": New(Options{Roles: room, Keys: keys, Now: now})}, nil)
	srv := httptest.NewServer(keys.Middleware(door, auth.MiddlewareOptions{
		Region: "us-east-1",
		Refuse: func(w http.ResponseWriter, _ *http.Request, e *lambent.Error) { queryapi.Refuse(w, e) },
	}))
	t.Cleanup(srv.Close)
	return srv.URL, keys.Default(), room
}

func client(url, access, secret string) *sts.Client {
	return sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	})
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestCallerIdentity(t *testing.T) {
	url, key := start(t)
	got, err := client(url, key.Access, key.Secret).GetCallerIdentity(deadline(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Account != auth.DefaultAccount || *got.UserId != auth.DefaultAccount || *got.Arn != "arn:aws:iam::000000000000:root" {
		t.Errorf("account %s, user %s, ARN %s", *got.Account, *got.UserId, *got.Arn)
	}
}

// A presigned GetCallerIdentity is how programs prove to others who they are.
func TestPresigned(t *testing.T) {
	url, key := start(t)
	ctx := deadline(t)
	link, err := sts.NewPresignClient(client(url, key.Access, key.Secret)).PresignGetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, link.Method, link.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Account   string `xml:"GetCallerIdentityResult>Account"`
		RequestID string `xml:"ResponseMetadata>RequestId"`
	}
	if err := xml.Unmarshal(body, &got); err != nil || res.StatusCode != http.StatusOK || got.Account != auth.DefaultAccount ||
		got.RequestID == "" || got.RequestID != res.Header.Get("X-Amzn-Requestid") {
		t.Errorf("status %d, error %v: %s", res.StatusCode, err, body)
	}
}

func TestRefusals(t *testing.T) {
	url, key := start(t)
	good := client(url, key.Access, key.Secret)
	for _, c := range []struct {
		name, code string
		status     int
		call       func(context.Context) error
	}{
		{"unknown key", "InvalidClientTokenId", http.StatusForbidden, func(ctx context.Context) error {
			_, err := client(url, "AKIAAAAAAAAAAAAAAAAA", key.Secret).GetCallerIdentity(ctx, nil)
			return err
		}},
		{"wrong secret", "SignatureDoesNotMatch", http.StatusForbidden, func(ctx context.Context) error {
			_, err := client(url, key.Access, "no"+key.Secret).GetCallerIdentity(ctx, nil)
			return err
		}},
		{"another action", "NotImplemented", http.StatusNotImplemented, func(ctx context.Context) error {
			_, err := good.GetSessionToken(ctx, nil)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(deadline(t))
			var api smithy.APIError
			var status interface{ HTTPStatusCode() int }
			if !errors.As(err, &api) || api.ErrorCode() != c.code || !errors.As(err, &status) || status.HTTPStatusCode() != c.status {
				t.Errorf("error %v, want %d %s", err, c.status, c.code)
			}
		})
	}
}
