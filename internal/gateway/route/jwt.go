package route

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lambent.dev/lambent"
)

// Limits of tokens and key sets.
const (
	maxToken  = 16 << 10 // bytes
	MaxKeySet = 256 << 10
	maxKeys   = 100
	// leeway is how far the clock of an issuer may be from ours.
	leeway = 30 * time.Second
)

// algorithms are those of public keys. None of a shared secret is among them, nor
// is "none" (RFC 8725, sections 2.1, 3.1 and 3.2).
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (e *Entry) tokens() error {
	j := e.JWT
	switch {
	case j.Issuer == "" || len(j.Issuer) > 1024:
		return invalid("jwt.issuer is missing, or too long")
	case len(j.Audiences) == 0 || slices.Contains(j.Audiences, "") || max(len(j.Audiences), len(j.Scopes)) > maxList:
		return invalid("jwt.audiences: 1 to %d of them; a token for somebody else opens nothing", maxList)
	case (j.Keys == "") == (j.KeysURL == ""):
		return invalid("jwt: either keys or keysUrl")
	case j.Keys != "":
		set, err := ParseKeySet([]byte(j.Keys))
		if err != nil {
			return invalid("jwt.keys: %w", err)
		}
		e.keys = set
		return nil
	}
	u, err := url.Parse(j.KeysURL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return invalid("jwt.keysUrl %q is not an https address; http is for this host only", j.KeysURL)
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// StaticKeys are the keys that the route itself names; nil tells that they are at
// JWT.KeysURL.
func (e *Entry) StaticKeys() *KeySet { return e.keys }

// KeySet is the public keys of an issuer.
type KeySet struct{ keys []publicKey }

type publicKey struct {
	id, algorithm string // algorithm is "" when the set does not say it
	key           any
}

// ParseKeySet reads a JSON Web Key Set (RFC 7517, section 5). Keys that are not for
// signatures, or of kinds that are not known here, are left out, as that section
// asks for; a set without any key left is an error.
func ParseKeySet(text []byte) (*KeySet, error) {
	if len(text) > MaxKeySet {
		return nil, fmt.Errorf("the key set has more than %d bytes", MaxKeySet)
	}
	var in struct {
		Keys []webKey `json:"keys"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("the key set is not JSON: %w", err)
	}
	if len(in.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has more than %d keys", maxKeys)
	}
	set := &KeySet{}
	for _, k := range in.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		if key := k.public(); key != nil {
			set.keys = append(set.keys, publicKey{k.ID, k.Algorithm, key})
		}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("the key set has no public key for signatures (RSA from 2048 bits, P-256, P-384, P-521 or Ed25519)")
	}
	return set, nil
}

// webKey is a JSON Web Key (RFC 7518, section 6; RFC 8037, section 2).
type webKey struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Curve     string `json:"crv"`
	N         string `json:"n"`
	E         string `json:"e"`
	X         string `json:"x"`
	Y         string `json:"y"`
}

func (k *webKey) public() any {
	switch {
	case k.Type == "RSA":
		return k.rsa()
	case k.Type == "EC":
		return k.ecdsa()
	case k.Type == "OKP" && k.Curve == "Ed25519":
		if x := number(k.X); len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x)
		}
	}
	return nil
}

func (k *webKey) rsa() any {
	n, e := new(big.Int).SetBytes(number(k.N)), new(big.Int).SetBytes(number(k.E))
	if n.BitLen() < 2048 || n.BitLen() > 16384 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 || e.Bit(0) == 0 {
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

func (k *webKey) ecdsa() any {
	curve, ok := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Curve]
	if !ok {
		return nil
	}
	size := (curve.Params().BitSize + 7) / 8
	x, y := number(k.X), number(k.Y)
	if len(x) != size || len(y) != size {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y)) // a point of the curve
	if err != nil {
		return nil
	}
	return key
}

func number(s string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "=")) // nil is refused by its length
	return b
}

// candidates are the keys that may have signed a token.
func (s *KeySet) candidates(id, algorithm string) (keys []jwt.VerificationKey) {
	for _, k := range s.keys {
		if (id == "" || k.id == id) && (k.algorithm == "" || k.algorithm == algorithm) && fits(k.key, algorithm) {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// fits tells whether an algorithm is one of a key's kind: what a token says of
// itself never turns a key of one kind into one of another.
func fits(key any, algorithm string) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return algorithm[0] == 'R' || algorithm[0] == 'P'
	case *ecdsa.PublicKey:
		return algorithm == map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[k.Params().Name]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// ErrNoKey tells of a token that names a key which is not in the set: the issuer may
// have made another one since the set was read.
var ErrNoKey = errors.New("the token's key is not among those of the issuer")

// ErrScope tells of a token that is good but lacks what the route asks for.
var ErrScope = errors.New("the token has none of the scopes that open this route")

// Claims are what a token says.
type Claims map[string]any

// Subject is whom the token is for, "" if it does not say.
func (c Claims) Subject() string {
	s, _ := c["sub"].(string)
	return s
}

// Text is a claim as text; lists are joined by spaces, objects and absent claims are
// none.
func (c Claims) Text(name string) (string, bool) { return claimText(c[name]) }

func claimText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return fmt.Sprint(v), true
	case json.Number:
		return v.String(), true
	case []any:
		parts := make([]string, 0, len(v))
		for _, item := range v {
			if _, list := item.([]any); list {
				return "", false
			}
			text, ok := claimText(item)
			if !ok {
				return "", false
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, " "), true
	}
	return "", false
}

// Verify checks a token of the Authorization header, with or without "Bearer ": its
// signature, by a key of the set and an algorithm of that key, its issuer, audience
// and times, and its scopes. Its error is ErrNoKey, ErrScope or another one; none
// holds a part of the token.
func (e *Entry) Verify(authorization string, set *KeySet, now time.Time) (Claims, error) {
	token := strings.TrimSpace(authorization)
	if len(token) > 7 && strings.EqualFold(token[:7], "bearer ") {
		token = strings.TrimSpace(token[7:])
	}
	if token == "" || len(token) > maxToken {
		return nil, errors.New("there is no token, or it is too long")
	}
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(
		jwt.WithValidMethods(algorithms), jwt.WithIssuer(e.JWT.Issuer), jwt.WithIssuedAt(),
		jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithJSONNumber(), jwt.WithStrictDecoding(),
	)
	_, err := parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical {
			return nil, errors.New("the token asks for an extension") // RFC 7515, section 4.1.11
		}
		id, _ := t.Header["kid"].(string)
		keys := set.candidates(id, t.Method.Alg())
		if len(keys) == 0 {
			return nil, ErrNoKey
		}
		return jwt.VerificationKeySet{Keys: keys}, nil
	})
	if errors.Is(err, ErrNoKey) {
		return nil, ErrNoKey
	}
	if err != nil {
		return nil, &lambent.Error{Code: lambent.CodeDenied, Message: reason(err), Cause: err}
	}
	if !e.meant(claims) {
		return nil, lambent.Errorf(lambent.CodeDenied, "token has invalid audience")
	}
	if !e.scoped(Claims(claims)) {
		return nil, ErrScope
	}
	return Claims(claims), nil
}

// reason says what is wrong with a token without quoting it.
func reason(err error) string {
	for _, known := range []error{
		jwt.ErrTokenExpired, jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenInvalidIssuer,
		jwt.ErrTokenSignatureInvalid, jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenMalformed,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the token is not valid"
}

// meant tells whether a token is for one of the route's audiences: by aud or, where there
// is none, by client_id, which is what the access tokens of Amazon Cognito have (JWT
// authorizers of API Gateway's HTTP APIs do the same).
func (e *Entry) meant(c jwt.MapClaims) bool {
	if _, said := c["aud"]; !said {
		client, _ := c["client_id"].(string)
		return slices.Contains(e.JWT.Audiences, client)
	}
	audience, err := c.GetAudience()
	return err == nil && slices.ContainsFunc(audience, func(one string) bool { return slices.Contains(e.JWT.Audiences, one) })
}

// scoped looks at scope (RFC 8693, section 4.2: words) and scp (a list, or words).
func (e *Entry) scoped(c Claims) bool {
	if len(e.JWT.Scopes) == 0 {
		return true
	}
	for _, name := range []string{"scope", "scp"} {
		text, _ := c.Text(name)
		for word := range strings.FieldsSeq(text) {
			if slices.Contains(e.JWT.Scopes, word) {
				return true
			}
		}
	}
	return false
}
