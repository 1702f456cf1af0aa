package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// gate is the middleware around one handler.
type gate struct {
	keys *Keys
	next http.Handler
	o    MiddlewareOptions
}

// Middleware lets only requests through whose signature holds, with the caller's
// identity in their context. Bodies whose hash the signature covers are read
// whole, at most MaxBody bytes, before next is called, and [Body] gives them
// without a copy; streaming ones are read and verified as next reads them, so that
// next must not act on a body before its end.
func (k *Keys) Middleware(next http.Handler, o MiddlewareOptions) http.Handler {
	if o.MaxBody == 0 {
		o.MaxBody = lambent.MaxRequestBody
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Service == nil {
		o.Service = func(*http.Request) string { return "" }
	}
	if o.Refuse == nil {
		o.Refuse = Refuse
	}
	return &gate{keys: k, next: next, o: o}
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent := r.Body
	r.Body = patiently(w, r)
	id, refusal := g.admit(r)
	if refusal != nil {
		if refusal.Code == lambent.CodeTooLarge && g.o.Operation != nil {
			if name := g.o.Operation(r); name != "" {
				refusal.Message += " for the " + name + " operation"
			}
		}
		logRefusal(r.Context(), g.o.Log, r, refusal)
		drain(w, sent, 2*g.o.MaxBody)
		g.o.Refuse(w, r, refusal)
		return
	}
	g.next.ServeHTTP(w, r.WithContext(With(r.Context(), id)))
}

// admit verifies r and replaces its body by a verified one. What is cheap to
// refuse comes first: nothing is read for a caller without a known key.
func (g *gate) admit(r *http.Request) (Identity, *lambent.Error) {
	c, refusal := parseClaim(r)
	if refusal != nil {
		return Identity{}, refusal
	}
	if refusal := c.checkScope(g.o.Region, g.o.Service(r)); refusal != nil {
		return Identity{}, refusal
	}
	now := g.o.Now()
	if refusal := c.checkTime(now); refusal != nil {
		return Identity{}, refusal
	}
	if name := c.unsignedHeader(r); name != "" {
		return Identity{}, denied(reasonInvalid, "'"+clip(name)+"' must be a 'SignedHeader' in the AWS Authorization.")
	}
	key, refusal := g.keys.find(r.Context(), &c, now)
	if refusal != nil {
		return Identity{}, refusal
	}
	s, fresh := g.keys.signer(key, &c)
	if refusal := g.admitBody(r, &c, s); refusal != nil {
		return Identity{}, refusal
	}
	if fresh {
		g.keys.signers.keep(&c, s)
	}
	return Identity{
		AccountID: key.Account, AccessKey: key.Access, ARN: key.ARN, Role: key.Role, Assumed: key.Assumed,
		Service: c.service, Region: c.region,
	}, nil
}

// admitBody verifies the signature over the payload as the client declared it.
func (g *gate) admitBody(r *http.Request, c *claim, s *signer) *lambent.Error {
	switch mode := first(r.Header["X-Amz-Content-Sha256"]); mode {
	case "":
		return g.admitHashed(r, c, s)
	case payloadUnsigned, payloadUnsignedTrailer:
		return denied(reasonInvalid, "The payload of a request to this service must be signed: '"+mode+"' is not accepted.")
	case payloadChunks, payloadChunksTrailer:
		return g.admitChunks(r, c, s, mode)
	default:
		return g.admitDeclared(r, c, s, mode)
	}
}

// admitHashed is the plain case: the payload's hash is ours.
func (g *gate) admitHashed(r *http.Request, c *claim, s *signer) *lambent.Error {
	body, hash, refusal := g.readBody(r)
	if refusal != nil {
		return refusal
	}
	if !c.matches(r, s, hash) {
		return mismatch()
	}
	setBody(r, body)
	return nil
}

// admitDeclared is for a hash in the header: the signature is verified before
// the body is read.
func (g *gate) admitDeclared(r *http.Request, c *claim, s *signer, declared string) *lambent.Error {
	if len(declared) != len(emptySHA256) || !c.matches(r, s, declared) {
		return mismatch()
	}
	body, hash, refusal := g.readBody(r)
	if refusal != nil {
		return refusal
	}
	if !strings.EqualFold(hash, declared) {
		return mismatch()
	}
	setBody(r, body)
	return nil
}

// admitChunks is for a body in chunks, each of which is signed.
func (g *gate) admitChunks(r *http.Request, c *claim, s *signer, mode string) *lambent.Error {
	if !c.matches(r, s, mode) {
		return mismatch()
	}
	cr, refusal := newChunkReader(r, c, s, mode)
	if refusal != nil {
		return refusal
	}
	if cr.left > g.o.MaxBody {
		return tooLarge(g.o.MaxBody)
	}
	r.Body = cr
	r.ContentLength = cr.left
	if rest := dropChunked(r.Header.Values("Content-Encoding")); rest != "" {
		r.Header.Set("Content-Encoding", rest)
	} else {
		r.Header.Del("Content-Encoding")
	}
	return nil
}

// dropChunked removes aws-chunked, which has been undone, from the encodings.
func dropChunked(values []string) string {
	var kept []string
	for v := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if v = strings.TrimSpace(v); v != "" && !strings.EqualFold(v, "aws-chunked") {
			kept = append(kept, v)
		}
	}
	return strings.Join(kept, ",")
}

// eager is how much of a declared length is allocated before it has arrived.
const eager = 1 << 20

// readBody reads the body and hashes it.
func (g *gate) readBody(r *http.Request) ([]byte, string, *lambent.Error) {
	if r.ContentLength > g.o.MaxBody {
		return nil, "", tooLarge(g.o.MaxBody)
	}
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, emptySHA256, nil
	}
	body, err := readAll(r, g.o.MaxBody)
	switch {
	case err != nil:
		e := badBody("The body could not be read.")
		e.Code, e.Cause = lambent.CodeCanceled, err
		return nil, "", e
	case int64(len(body)) > g.o.MaxBody:
		return nil, "", tooLarge(g.o.MaxBody)
	}
	sum := sha256.Sum256(body)
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return body, string(text[:]), nil
}

// readAll reads at most one byte more than most.
func readAll(r *http.Request, most int64) ([]byte, error) {
	if n := r.ContentLength; n > 0 && n <= eager {
		body := make([]byte, n)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(eager)
	}
	_, err := b.ReadFrom(io.LimitReader(r.Body, most+1))
	return b.Bytes(), err
}

// verified is a body that has been read and verified.
type verified struct {
	bytes.Reader
	whole []byte
	form  any // what Decoded has made of it
}

// Close implements io.Closer.
func (*verified) Close() error { return nil }

func setBody(r *http.Request, body []byte) {
	v := &verified{whole: body}
	v.Reset(body)
	r.Body, r.ContentLength = v, int64(len(body))
}

// Body returns the whole body of a request. Behind the middleware these are the
// bytes that were verified, without a copy: the caller must not change them. A
// body that turns out not to match its signature is an error of code denied or
// invalid. It may be called again.
func Body(r *http.Request) ([]byte, error) {
	if v, ok := r.Body.(*verified); ok {
		return v.whole, nil
	}
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		setBody(r, body)
		return body, nil
	}
	var e *lambent.Error
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return nil, e
	case errors.As(err, &big):
		return nil, tooLarge(big.Limit)
	}
	return nil, lambent.Errorf(lambent.CodeCanceled, "read body: %w", err)
}

// BodyUpTo is [Body] for a body of at most so many bytes. A longer one is an error of
// code too large, before it is read where its length is known.
func BodyUpTo(r *http.Request, most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, tooLarge(most)
	}
	if r.ContentLength < 0 && r.Body != nil {
		r.Body = http.MaxBytesReader(nil, r.Body, most)
	}
	return Body(r)
}

// form is a decoded body.
type form[T any] struct {
	value T
	err   error
}

// Decoded is what decode makes of a request's whole body. It is asked once: who has to
// know what a request is about, to decide whether its caller may do that, and the
// operation behind get the same value, which nobody may change. A request has one form,
// so decode is always the same. The errors are those of [Body], and decode's.
func Decoded[T any](r *http.Request, decode func(body []byte) (T, error)) (T, error) {
	var f form[T]
	body, err := Body(r)
	if err != nil {
		return f.value, err
	}
	v, ok := r.Body.(*verified)
	if !ok { // there is none
		return decode(body)
	}
	if made, ok := v.form.(form[T]); ok {
		return made.value, made.err
	}
	f.value, f.err = decode(body)
	v.form = f
	return f.value, f.err
}

// signer makes key's signatures; fresh tells that it is to be kept once one holds. Those of
// roles are not: they are many and each is used little.
func (k *Keys) signer(key Key, c *claim) (s *signer, fresh bool) {
	if key.Role != "" {
		return newSigner(key.Secret, c), false
	}
	if s = k.signers.get(key, c); s != nil {
		return s, false
	}
	return newSigner(key.Secret, c), true
}

// find is the key that a claim names, with its token.
func (k *Keys) find(ctx context.Context, c *claim, now time.Time) (Key, *lambent.Error) {
	key, ok := Key{}, false
	instance, within := ctx.Value(withinKey{}).(Key)
	switch {
	case within:
		key, ok = instance, c.access == instance.Access
	case c.access == k.own.Access:
		key, ok = k.own, true
	case k.lookup != nil:
		key, ok = k.lookup.Key(ctx, c.access)
	}
	if ok && sameToken(key.Token, c.token) {
		return key, nil
	}
	if ok || c.token == "" || !strings.HasPrefix(c.access, temporary) {
		return Key{}, unrecognized()
	}
	key, refusal := k.assumed(c.access, c.token, now)
	if refusal == nil && within && key.Account != instance.Account {
		refusal = unrecognized()
	}
	return key, refusal
}
