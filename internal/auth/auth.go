// Package auth decides who is calling: it verifies AWS Signature Version 4 on
// every request, in the header, presigned and chunked forms, and puts the
// caller's [Identity] into the context. It owns the credentials file in the data
// directory and the signing keys derived from it; it refuses to know what a
// caller may do, and which operation a request is. The server wraps its front
// doors in [Keys.Middleware]; the doors ask [From] and [Body].
package auth

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"lambent.dev/lambent"
)

// DefaultAccount is the account id of the namespace that a new server has.
const DefaultAccount = "000000000000"

// Identity is the verified caller of a request.
type Identity struct {
	AccountID string // 12 digits: the namespace
	AccessKey string
	ARN       string   // "arn:aws:iam::000000000000:root"
	Role      string   // ARN of the role that it has assumed; "" is the account itself
	Assumed   *Assumed // nil unless it has done so by a request
	Service   string   // of the signature's scope: "lambda", "logs", "s3" ...
	Region    string   // of the signature's scope
}

// contextKey carries an Identity.
type contextKey struct{}

// With returns ctx with the caller's identity. Only the middleware, and tests of
// a door on its own, have a use for it.
func With(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, &id)
}

// From tells who made the request that ctx belongs to. It is false when the
// request did not pass the middleware.
func From(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(contextKey{}).(*Identity)
	if !ok {
		return Identity{}, false
	}
	return *id, true
}

// Key is one access key.
type Key struct {
	Access  string // public part
	Secret  string
	Token   string   // session token that must accompany the key; "" is none
	Account string   // 12 digits
	ARN     string   // of the principal
	Role    string   // ARN of the role that the principal has assumed; "" is none
	Assumed *Assumed // nil unless it has done so by a request
}

// Lookup finds access keys beyond the one in the credentials file, such as those
// of other tenants. It is called for every request that names another key, so it
// answers from memory.
type Lookup interface {
	Key(ctx context.Context, access string) (Key, bool)
}

// Options configure [Open].
type Options struct {
	Account string // account of the key in the file; DefaultAccount when empty
	Region  string // in the file, too, so that AWS clients need not be told
	Lookup  Lookup // further keys; may be nil
	// Lives tells whether there is still the role of an ARN that has an id: the keys of
	// one that was deleted open nothing. Without it no role can be assumed.
	Lives func(role, id string) bool
	Log   *slog.Logger
}

// MiddlewareOptions say what a signature must be scoped to and how much of a
// body is read.
type MiddlewareOptions struct {
	// Region that the scope must name; "" accepts every region.
	Region string
	// Service names the one that the scope of r must name, "" for any; nil accepts
	// every service.
	Service func(r *http.Request) string
	// MaxBody in bytes; lambent.MaxRequestBody when zero.
	MaxBody int64
	// Operation names what r asks for, for the message about too large a body;
	// nil leaves it out.
	Operation func(r *http.Request) string
	// Refuse answers a request that failed; [Refuse] when nil. The error's Reason
	// is the name of AWS's exception.
	Refuse func(w http.ResponseWriter, r *http.Request, e *lambent.Error)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	Log *slog.Logger
}
