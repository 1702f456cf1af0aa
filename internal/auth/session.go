package auth

import (
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"lambent.dev/lambent"
)

// Session is an instance of a function that has assumed its function's role. The
// zero value is nobody.
type Session struct {
	Account, Function, Version string
	Instance                   string // its id, which no other instance ever has
	Role                       string // ARN
}

// ARN is the principal as AWS writes one that has assumed a role: without the role's
// path, and with the function for the session's name.
func (s *Session) ARN() string {
	return assumedARN(s.Account, s.Role, s.Function)
}

// sessionSecret makes what the keys of sessions are derived from. It is the
// process's: no instance outlives the server that has started it, so nothing has to
// be kept, and nothing of it can be stolen from a disk or a backup.
func sessionSecret() []byte {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails: crypto/rand
	return secret
}

// Session is the key of s: always the same one for as long as the server runs, which
// is longer than the instance does. It is derived and not stored, so that a cold
// start costs one hash, and nothing has to be forgotten.
func (k *Keys) Session(s Session) Key {
	s.Role = cmp.Or(s.Role, lambent.DefaultRole(s.Account)) // who has none is the account itself
	const token = 96                                        // bytes
	b, err := hkdf.Expand(sha256.New, k.sessions, fmt.Sprintf("%q", s), accessBytes+secretBytes+token)
	if err != nil { // only for a length beyond 255 hashes
		panic(err)
	}
	key := derived(b)
	key.Token = base64.StdEncoding.EncodeToString(b[accessBytes+secretBytes:])
	key.Account, key.ARN, key.Role = s.Account, s.ARN(), s.Role
	return key
}

// withinKey carries the Key of an instance.
type withinKey struct{}

// Within returns a context for requests that come from inside the instance that has a
// key: that one is accepted there and nowhere else, and no other key is but those of
// roles that were assumed in its account.
func Within(ctx context.Context, key Key) context.Context {
	return context.WithValue(ctx, withinKey{}, key)
}
