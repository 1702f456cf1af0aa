package auth

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Assumed is a role that somebody has assumed for a time, as the token of its keys
// says it.
type Assumed struct {
	Account string `json:"a"`
	Role    string `json:"r"` // ARN
	RoleID  string `json:"i"` // which no other role of that name ever has
	Name    string `json:"n"` // of the session
	Expires int64  `json:"e"` // seconds since 1970
	// Policy and Policies limit what the role allows: a document, and ARNs.
	Policy   string   `json:"p,omitempty"`
	Policies []string `json:"m,omitempty"`
}

// ARN is the principal, without the role's path.
func (a *Assumed) ARN() string { return assumedARN(a.Account, a.Role, a.Name) }

// assumedARN is who has assumed a role as AWS writes it: without the role's path.
func assumedARN(account, role, session string) string {
	return "arn:aws:sts::" + account + ":assumed-role/" + role[strings.LastIndexByte(role, '/')+1:] + "/" + session
}

// Parts of what is derived for a key, in bytes, and how access keys begin that are
// good for a time, as AWS's do.
const (
	accessBytes = 10
	secretBytes = 30
	temporary   = "ASIA"
)

// derived makes a key of bytes that nobody can guess: the first are its public part.
func derived(b []byte) Key {
	return Key{
		Access: temporary + base32.StdEncoding.EncodeToString(b[:accessBytes]),
		Secret: base64.StdEncoding.EncodeToString(b[accessBytes:][:secretBytes]),
	}
}

// sealBytes is the length of a token's seal.
const sealBytes = 32

// maxToken bounds the token of an assumed role in characters: AWS's packed policies,
// which are most of it, have less.
const maxToken = 16 << 10

// Assume makes the keys of a role that somebody has assumed. Nothing is kept: the
// token says what the keys are good for, under a seal, and the seal and the secret are
// derived from it and from the key in the credentials file. So they are good after a
// restart, and no longer than that key.
func (k *Keys) Assume(a Assumed) Key {
	text, err := json.Marshal(a)
	if err != nil { // strings and a number
		panic(err)
	}
	key, seal := k.sealed(text)
	key.Token = base64.StdEncoding.EncodeToString(append(seal, text...))
	key.of(&a)
	return key
}

// of says whose key it is.
func (k *Key) of(a *Assumed) {
	k.Account, k.ARN, k.Role, k.Assumed = a.Account, a.ARN(), a.Role, a
}

// sealed derives what belongs to the text of a token.
func (k *Keys) sealed(text []byte) (key Key, seal []byte) {
	b, err := hkdf.Key(sha256.New, []byte(k.own.Secret), []byte("lambent assumed role"), string(text), accessBytes+secretBytes+sealBytes)
	if err != nil { // only for a length beyond 255 hashes
		panic(err)
	}
	return derived(b), b[accessBytes+secretBytes:]
}

// assumed is the key that belongs to a token, or why it opens nothing (any more).
// Nothing of a token is read before its seal.
func (k *Keys) assumed(access, token string, now time.Time) (Key, *lambent.Error) {
	if len(token) > maxToken {
		return Key{}, unrecognized()
	}
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(b) <= sealBytes {
		return Key{}, unrecognized()
	}
	key, seal := k.sealed(b[sealBytes:])
	if subtle.ConstantTimeCompare(seal, b[:sealBytes]) != 1 || access != key.Access {
		return Key{}, unrecognized()
	}
	var a Assumed
	if json.Unmarshal(b[sealBytes:], &a) != nil {
		return Key{}, unrecognized() // sealed by another version of the server
	}
	switch {
	case now.Unix() >= a.Expires:
		return Key{}, denied(reasonExpired, "The security token included in the request is expired")
	case k.lives == nil || !k.lives(a.Role, a.RoleID):
		return Key{}, unrecognized()
	}
	key.Token = token
	key.of(&a)
	return key, nil
}
