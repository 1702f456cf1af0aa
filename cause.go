package lambent

import "context"

// Cause is the version from within which a call was made; the zero value is nobody's.
type Cause struct {
	Namespace string `json:"namespace"`
	Function  string `json:"function"`
	Number    string `json:"number"` // of the version
}

// causeKey carries a Cause.
type causeKey struct{}

// WithCause returns a context for what a function has asked for.
func WithCause(ctx context.Context, c Cause) context.Context {
	return context.WithValue(ctx, causeKey{}, c)
}

// CauseOf tells from within which version a call was made. It is known for certain:
// callers have no say in it.
func CauseOf(ctx context.Context) Cause {
	c, _ := ctx.Value(causeKey{}).(Cause)
	return c
}
