package lambdaapi_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/catalog"
	"lambent.dev/lambent/internal/image"
	"lambent.dev/lambent/internal/lambdaapi"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
	"lambent.dev/lambent/internal/runtimes"
	"lambent.dev/lambent/internal/store"
)

const (
	account = "111111111111"
	region  = "us-east-1"
	role    = "arn:aws:iam::" + account + ":role/lambda-role"
)

type m = map[string]any

// everyRuntime is the real catalogue of runtimes on a host that has all of
// them: which interpreters this one has is not the recordings' matter.
type everyRuntime struct{ *runtimes.Catalog }

func (e everyRuntime) Check(name, arch string) (string, error) {
	_, err := e.Catalog.Check(name, arch)
	if lambent.ReasonOf(err) == "RuntimeNotInstalled" {
		err = nil
	}
	return "", err
}

// echo answers every invocation with its event, if the function exists.
type echo struct{ catalog *catalog.Catalog }

func (e echo) Invoke(_ context.Context, inv *lambent.Invocation) (*lambent.Result, error) {
	v, err := e.catalog.Resolve(inv.Namespace, inv.Function, inv.Qualifier)
	if err != nil {
		return nil, err
	}
	res := &lambent.Result{ExecutedVersion: v.Number, Payload: inv.Payload}
	if inv.WantTail {
		res.LogTail = []byte("START\n")
	}
	return res, nil
}

// server makes the door on real rooms. The s3 map is served as an S3 endpoint.
func server(t *testing.T, s3 map[string][]byte) (http.Handler, *catalog.Catalog) {
	t.Helper()
	o := rooms(t, s3)
	return signed(o), o.Catalog
}

// rooms are those behind a door.
func rooms(t *testing.T, s3 map[string][]byte) lambdaapi.Options {
	t.Helper()
	objects := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serveObject(w, s3, strings.TrimPrefix(r.URL.Path, "/"))
	}))
	t.Cleanup(objects.Close)
	artifacts, err := artifact.Open(artifact.Options{Dir: t.TempDir(), S3: []artifact.S3Endpoint{
		{Endpoint: objects.URL, Region: region, AccessKey: "k", SecretKey: "s", PathStyle: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	rt, err := runtimes.Open(t.Context(), runtimes.Options{DataDir: t.TempDir(), Search: []string{"/nowhere/*"}})
	if err != nil {
		t.Fatal(err)
	}
	records := store.NewMemory()
	t.Cleanup(func() { _ = records.Close() })
	c, err := catalog.Open(t.Context(), catalog.Options{Records: records, Artifacts: artifacts, Runtimes: everyRuntime{rt}, Images: image.New(image.Options{Layers: artifacts}), Region: region})
	if err != nil {
		t.Fatal(err)
	}
	return lambdaapi.Options{Catalog: c, Invoker: echo{c}, Blobs: artifacts, Region: region}
}

// signed is a door whose callers are all the account itself.
func signed(o lambdaapi.Options) http.Handler {
	door := lambdaapi.New(o)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := auth.With(r.Context(), auth.Identity{AccountID: account, ARN: "arn:aws:iam::" + account + ":root"})
		door.ServeHTTP(w, r.WithContext(ctx))
	})
}

func serveObject(w http.ResponseWriter, objects map[string][]byte, name string) {
	fail := func(code, message string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	}
	bucket, _, _ := strings.Cut(name, "/")
	if body, ok := objects[name]; ok {
		_, _ = w.Write(body)
		return
	}
	for n := range objects {
		if strings.HasPrefix(n, bucket+"/") {
			fail("NoSuchKey", "The specified key does not exist.")
			return
		}
	}
	fail("NoSuchBucket", "The specified bucket does not exist")
}

// request builds the HTTP request of an operation from its members, by the tags
// of its shape.
func request(operation string, members m) *http.Request {
	i := slices.IndexFunc(wire.Ops, func(o wire.Op) bool { return o.Name == operation })
	op := wire.Ops[i]
	path, query, header, body := op.Path, url.Values{}, http.Header{}, m{}
	if k, v, ok := strings.Cut(op.Query, "="); ok {
		query.Set(k, v)
	}
	var payload []byte
	shape := reflect.TypeOf(op.New()).Elem()
	for name, value := range members {
		f, ok := shape.FieldByName(name)
		if !ok {
			panic(operation + " has no member " + name)
		}
		tag := append(strings.Fields(f.Tag.Get("aws")), "", "", "")
		switch tag[1] {
		case "path":
			path = strings.ReplaceAll(path, "{"+tag[2]+"}", url.PathEscape(fmt.Sprint(value)))
		case "query":
			if list, ok := value.([]string); ok {
				query[tag[2]] = list
				continue
			}
			query.Set(tag[2], fmt.Sprint(value))
		case "header":
			header.Set(tag[2], fmt.Sprint(value))
		case "payload":
			payload = value.([]byte)
		default:
			body[name] = value
		}
	}
	if payload == nil && len(body) > 0 {
		payload, _ = json.Marshal(body)
	}
	target := path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r := httptest.NewRequest(op.Method, target, bytes.NewReader(payload))
	maps.Copy(r.Header, header)
	return r
}

func archive(name, content string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, _ := z.Create(name)
	_, _ = io.WriteString(w, content)
	_ = z.Close()
	return b.Bytes()
}
