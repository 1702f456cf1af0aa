// Package client speaks to a lambent server over HTTP: it finds the server's
// address and keys, signs every request with Signature Version 4 for the service
// "lambent", and turns answers into the nouns of the /v1 dialect, which it
// declares (v1.go). It is what the command line is built on; it refuses to know a
// terminal, and nothing of how the server works inside.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"lambent.dev/lambent"
)

// Service is the service name in the signature of /v1 requests.
const Service = "lambent"

// maxAnswer bounds the answers that are read whole: the largest payload, which
// JSON may write with six bytes for one.
const maxAnswer = 6*lambent.MaxPayload + 1<<20

// maxLine bounds one line of a streamed answer: 256 KiB of message, escaped.
const maxLine = 2 << 20

// Client is safe for use from any goroutine. Its errors are lambent.Errors.
type Client struct {
	target Target
	http   *http.Client
	signer *v4.Signer
}

// New makes a client for a server. Deadlines are those of the calls' contexts.
func New(target Target, transport http.RoundTripper) *Client {
	target.Endpoint = strings.TrimSuffix(target.Endpoint, "/")
	return &Client{target: target, http: &http.Client{Transport: transport}, signer: v4.NewSigner()}
}

// Version asks what the server runs.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var out Version
	return out, c.call(ctx, request{method: "GET", path: "/v1/version"}, &out)
}

// Functions yields every function, in order of name.
func (c *Client) Functions(ctx context.Context) iter.Seq2[Function, error] {
	return func(yield func(Function, error) bool) {
		query := url.Values{}
		for {
			var page FunctionList
			if err := c.call(ctx, request{method: "GET", path: "/v1/functions", query: query}, &page); err != nil {
				yield(Function{}, err)
				return
			}
			for _, f := range page.Functions {
				if !yield(f, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("after", page.Next)
		}
	}
}

// Function asks for one function; qualifier is a version or an alias, or empty.
func (c *Client) Function(ctx context.Context, name, qualifier string) (Function, error) {
	var out Function
	return out, c.call(ctx, request{method: "GET", path: functionPath(name), query: values("qualifier", qualifier)}, &out)
}

// Deploy makes the function what d says, and returns when it can be invoked.
func (c *Client) Deploy(ctx context.Context, name string, d Deploy) (Deployed, error) {
	var out Deployed
	zip := d.Zip
	d.Zip = nil
	description, err := json.Marshal(d)
	if err != nil {
		return out, lambent.Errorf(lambent.CodeInvalid, "write deploy request: %w", err)
	}
	var body bytes.Buffer
	body.Grow(len(zip) + len(description) + 1024)
	form := multipart.NewWriter(&body)
	err = part(form, "config", "application/json", description)
	if zip != nil {
		err = errors.Join(err, part(form, "zip", "application/zip", zip))
	}
	if err = errors.Join(err, form.Close()); err != nil {
		return out, lambent.Errorf(lambent.CodeInternal, "write deploy request: %w", err)
	}
	return out, c.call(ctx, request{method: "PUT", path: functionPath(name), body: body.Bytes(), contentType: form.FormDataContentType()}, &out)
}

func part(form *multipart.Writer, name, contentType string, data []byte) error {
	w, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="` + name + `"`},
		"Content-Type":        {contentType},
	})
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// Delete removes a function with all its versions and aliases.
func (c *Client) Delete(ctx context.Context, name string) error {
	return c.call(ctx, request{method: "DELETE", path: functionPath(name)}, nil)
}

// InvokeOptions are the choices of [Client.Invoke].
type InvokeOptions struct {
	Qualifier string
	Tail      bool // ask for the last lines of the log
}

// Invoke calls a function and waits for its answer. A function that fails is an
// Invocation with Error set.
func (c *Client) Invoke(ctx context.Context, name string, payload []byte, o InvokeOptions) (Invocation, error) {
	query := values("qualifier", o.Qualifier)
	if o.Tail {
		query.Set("tail", "true")
	}
	var out Invocation
	return out, c.call(ctx, request{method: "POST", path: functionPath(name) + "/invocations", query: query, body: payload, contentType: "application/json"}, &out)
}

// LogOptions select log lines.
type LogOptions struct {
	Since     time.Time // zero is from the beginning
	RequestID string
	Follow    bool // go on with lines as they come, until the context ends
}

// Logs yields a function's log lines, oldest first.
func (c *Client) Logs(ctx context.Context, name string, o LogOptions) iter.Seq2[LogEvent, error] {
	query := values("request", o.RequestID)
	if !o.Since.IsZero() {
		query.Set("since", o.Since.UTC().Format(time.RFC3339Nano))
	}
	if o.Follow {
		query.Set("follow", strconv.FormatBool(true))
	}
	return stream[LogEvent](ctx, c, request{method: "GET", path: functionPath(name) + "/logs", query: query})
}

// Runtimes asks which language runtimes the server has.
func (c *Client) Runtimes(ctx context.Context) ([]Runtime, error) {
	var out RuntimeList
	err := c.call(ctx, request{method: "GET", path: "/v1/runtimes"}, &out)
	return out.Runtimes, err
}

// InstallRuntime has the server install a runtime, and packages beside it; progress
// gets a line per step.
func (c *Client) InstallRuntime(ctx context.Context, name string, packages []string, progress func(string)) error {
	done := false
	install := request{method: "POST", path: "/v1/runtimes/" + url.PathEscape(name) + "/install", query: values("with", strings.Join(packages, ","))}
	for p, err := range stream[Progress](ctx, c, install) {
		if err != nil {
			return err
		}
		if p.Progress != "" {
			progress(p.Progress)
		}
		done = done || p.Done
	}
	if !done {
		return lambent.Errorf(lambent.CodeUnavailable, "install %s: the server stopped before the end", name)
	}
	return nil
}

func functionPath(name string) string { return "/v1/functions/" + url.PathEscape(name) }

// values is a query with one parameter, or none when its value is empty.
func values(key, value string) url.Values {
	if value == "" {
		return url.Values{}
	}
	return url.Values{key: {value}}
}

// request is one request before it is signed.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	contentType  string
}

// call sends r and reads the answer into out, which may be nil.
func (c *Client) call(ctx context.Context, r request, out any) error {
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read from
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return c.unreachable(ctx, err)
	}
	if resp.StatusCode >= 300 {
		return refusal(resp, body)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return lambent.Errorf(lambent.CodeUnavailable, "%s did not answer as a lambent server does: %w", c.target.Endpoint, err)
	}
	return nil
}

// stream sends r and yields each line of the answer.
func stream[T any](ctx context.Context, c *Client, r request) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		resp, err := c.send(ctx, r)
		if err != nil {
			yield(zero, err)
			return
		}
		defer func() { _ = resp.Body.Close() }() // only read from
		if resp.StatusCode >= 300 {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, maxLine))
			yield(zero, refusal(resp, body))
			return
		}
		lines := newLines(resp.Body)
		for lines.Scan() {
			item, err := parseLine[T](lines.Bytes())
			if !yield(item, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(zero, c.unreachable(ctx, err))
		}
	}
}

// send signs and sends r.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	address := c.target.Endpoint + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, lambent.Errorf(lambent.CodeInvalid, "make request: %w", err)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	sum := sha256.Sum256(r.body)
	keys := aws.Credentials{
		AccessKeyID:     c.target.Keys.AccessKey,
		SecretAccessKey: string(c.target.Keys.SecretKey),
		SessionToken:    string(c.target.Keys.SessionToken),
	}
	if err := c.signer.SignHTTP(ctx, keys, req, hex.EncodeToString(sum[:]), Service, c.target.Keys.Region, time.Now()); err != nil {
		return nil, lambent.Errorf(lambent.CodeInvalid, "sign request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return resp, nil
}

// unreachable says why the server did not answer, and what to do.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return lambent.Errorf(lambent.CodeCanceled, "wait for %s: %w", c.target.Endpoint, ctx.Err())
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		start := "lambent serve"
		if c.target.Data != "" {
			start += " --data " + c.target.Data
		}
		return &lambent.Error{
			Code: lambent.CodeUnavailable, Reason: "NotRunning", Cause: err,
			Message: fmt.Sprintf("no lambent server answers at %s: start one with `%s`", c.target.Endpoint, start),
		}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return lambent.Errorf(lambent.CodeUnavailable, "%s broke off its answer: the server has stopped (%w)", c.target.Endpoint, err)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return lambent.Errorf(lambent.CodeUnavailable, "%s: %w", c.target.Endpoint, err)
}
