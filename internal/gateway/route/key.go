package route

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"regexp"
	"strings"

	"lambent.dev/lambent"
)

// keyPrefix tells people, and programs that look for secrets, what it is.
const keyPrefix = "lambent_"

var keyNameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ValidKeyName tells whether an API key may have a name.
func ValidKeyName(name string) bool { return keyNameForm.MatchString(name) }

// NewKey makes an API key of 160 random bits and the hash by which it is known. The
// key is never kept. A hash without salt and stretching is enough for what nobody
// has chosen.
func NewKey() (key string, hash lambent.Digest) {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	key = keyPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	return key, HashKey(key)
}

// HashKey is the hash of a key that was sent.
func HashKey(key string) lambent.Digest {
	sum := sha256.Sum256([]byte(key))
	return lambent.Digest(hex.EncodeToString(sum[:]))
}

// OpenedBy tells whether an API key opens the route.
func (e *Entry) OpenedBy(k *lambent.APIKey) bool {
	if k == nil || k.Namespace != e.Namespace {
		return false
	}
	if len(e.Keys) == 0 {
		return true
	}
	for _, name := range e.Keys {
		if name == k.Name {
			return true
		}
	}
	return false
}
