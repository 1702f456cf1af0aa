package route

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lambent.dev/lambent"
)

var now = time.Unix(1_800_000_000, 0)

type signer struct {
	rsa     *rsa.PrivateKey
	ec      *ecdsa.PrivateKey
	ed      ed25519.PrivateKey
	set     []byte
	modulus []byte
}

var keys = sync.OnceValue(func() signer {
	var s signer
	s.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	s.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, s.ed, _ = ed25519.GenerateKey(rand.Reader)
	point, _ := s.ec.PublicKey.Bytes()
	b64 := base64.RawURLEncoding.EncodeToString
	s.modulus = s.rsa.N.Bytes()
	s.set, _ = json.Marshal(map[string]any{"keys": []map[string]any{
		{"kty": "RSA", "kid": "r", "use": "sig", "n": b64(s.modulus), "e": "AQAB"},
		{"kty": "EC", "kid": "e", "alg": "ES256", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		{"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": b64(s.ed.Public().(ed25519.PublicKey))},
		{"kty": "RSA", "kid": "enc", "use": "enc", "n": b64(s.modulus), "e": "AQAB"},
		{"kty": "oct", "kid": "o", "k": b64([]byte("secret"))},
	}})
	return s
})

func tokenRoute(t testing.TB) *Entry {
	t.Helper()
	e, err := Compile(&lambent.Route{
		ID: "r", Path: "/", Function: "f", Format: "2.0", Access: "jwt",
		JWT: &lambent.RouteJWT{Issuer: "https://id.test", Audiences: []string{"api", "other"}, Scopes: []string{"read", "write"}, Keys: string(keys().set)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func goodClaims() jwt.MapClaims {
	return jwt.MapClaims{"iss": "https://id.test", "aud": []string{"x", "api"}, "sub": "ann", "scope": "list read", "exp": now.Unix() + 60, "n": 12345678901234567}
}

func sign(t testing.TB, m jwt.SigningMethod, kid string, key any, change func(jwt.MapClaims, map[string]any)) string {
	t.Helper()
	claims := goodClaims()
	token := jwt.NewWithClaims(m, claims)
	token.Header["kid"] = kid
	if change != nil {
		change(claims, token.Header)
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestGoodTokens(t *testing.T) {
	e, k := tokenRoute(t), keys()
	for name, token := range map[string]string{
		"RS256":    sign(t, jwt.SigningMethodRS256, "r", k.rsa, nil),
		"PS512":    sign(t, jwt.SigningMethodPS512, "r", k.rsa, nil),
		"ES256":    sign(t, jwt.SigningMethodES256, "e", k.ec, nil),
		"EdDSA":    sign(t, jwt.SigningMethodEdDSA, "d", k.ed, nil),
		"no kid":   sign(t, jwt.SigningMethodRS256, "", k.rsa, func(_ jwt.MapClaims, h map[string]any) { delete(h, "kid") }),
		"scp":      sign(t, jwt.SigningMethodES256, "e", k.ec, func(c jwt.MapClaims, _ map[string]any) { delete(c, "scope"); c["scp"] = []string{"write"} }),
		"one aud":  sign(t, jwt.SigningMethodES256, "e", k.ec, func(c jwt.MapClaims, _ map[string]any) { c["aud"] = "other" }),
		"no aud":   sign(t, jwt.SigningMethodRS256, "r", k.rsa, func(c jwt.MapClaims, _ map[string]any) { delete(c, "aud"); c["client_id"] = "api" }),
		"skew":     sign(t, jwt.SigningMethodES256, "e", k.ec, func(c jwt.MapClaims, _ map[string]any) { c["exp"] = now.Unix() - 10; c["nbf"] = now.Unix() - 60 }),
		"fraction": sign(t, jwt.SigningMethodES256, "e", k.ec, func(c jwt.MapClaims, _ map[string]any) { c["exp"] = float64(now.Unix()) + 60.5 }),
	} {
		for _, prefix := range []string{"Bearer ", "bearer  ", ""} {
			claims, err := e.Verify(prefix+token, e.StaticKeys(), now)
			if err != nil || claims.Subject() != "ann" {
				t.Errorf("%s: %v %v", name, claims, err)
			}
		}
	}
	claims, _ := e.Verify(sign(t, jwt.SigningMethodES256, "e", k.ec, nil), e.StaticKeys(), now)
	if n, _ := claims.Text("n"); n != "12345678901234567" {
		t.Errorf("a long number became %s", n)
	}
}

// TestTokenAttacks are the classical ones (RFC 8725, section 2).
func TestTokenAttacks(t *testing.T) {
	e, k := tokenRoute(t), keys()
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	good := sign(t, jwt.SigningMethodES256, "e", k.ec, nil)
	parts := strings.Split(good, ".")
	claim := func(name string, value any) string {
		return sign(t, jwt.SigningMethodES256, "e", k.ec, func(c jwt.MapClaims, _ map[string]any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		})
	}
	attacks := map[string]string{
		"alg none":              sign(t, jwt.SigningMethodNone, "e", jwt.UnsafeAllowNoneSignatureType, nil),
		"alg None":              base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None","kid":"e"}`)) + "." + parts[1] + ".",
		"no signature":          parts[0] + "." + parts[1] + ".",
		"public key as secret":  sign(t, jwt.SigningMethodHS256, "r", k.modulus, nil),
		"key set as secret":     sign(t, jwt.SigningMethodHS256, "r", k.set, nil),
		"secret of the set":     sign(t, jwt.SigningMethodHS256, "o", []byte("secret"), nil),
		"RSA token, EC key":     sign(t, jwt.SigningMethodRS256, "e", k.rsa, nil),
		"key for encryption":    sign(t, jwt.SigningMethodRS256, "enc", k.rsa, nil),
		"another key":           sign(t, jwt.SigningMethodES256, "e", other, nil),
		"key of the token's":    sign(t, jwt.SigningMethodES256, "e", other, func(_ jwt.MapClaims, h map[string]any) { h["jwk"] = map[string]any{"kty": "EC"} }),
		"critical extension":    sign(t, jwt.SigningMethodES256, "e", k.ec, func(_ jwt.MapClaims, h map[string]any) { h["crit"] = []string{"b64"} }),
		"claims changed":        parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://id.test","aud":"api","sub":"root","scope":"read","exp":9999999999}`)) + "." + parts[2],
		"expired":               claim("exp", now.Unix()-60),
		"never expires":         claim("exp", nil),
		"exp is text":           claim("exp", "9999999999"),
		"not yet":               claim("nbf", now.Unix()+120),
		"wrong issuer":          claim("iss", "https://evil.test"),
		"no issuer":             claim("iss", nil),
		"wrong audience":        claim("aud", "somebody"),
		"no audience":           claim("aud", nil),
		"audience begins alike": claim("aud", "api2"),
		"client is not asked":   sign(t, jwt.SigningMethodES256, "e", k.ec, func(c jwt.MapClaims, _ map[string]any) { c["aud"], c["client_id"] = "x", "api" }),
		"audience is null":      sign(t, jwt.SigningMethodES256, "e", k.ec, func(c jwt.MapClaims, _ map[string]any) { c["aud"], c["client_id"] = nil, "api" }),
		"other client":          sign(t, jwt.SigningMethodES256, "e", k.ec, func(c jwt.MapClaims, _ map[string]any) { delete(c, "aud"); c["client_id"] = "x" }),
		"issued later":          claim("iat", now.Unix()+120),
		"no scope":              claim("scope", nil),
		"scope begins alike":    claim("scope", "readonly"),
		"empty":                 "",
		"bearer alone":          "Bearer ",
		"two tokens":            good + "." + good,
		"long":                  good + strings.Repeat("A", maxToken),
		"cut":                   good[:len(good)-3],
	}
	for name, token := range attacks {
		if claims, err := e.Verify("Bearer "+token, e.StaticKeys(), now); err == nil {
			t.Errorf("%s opened the route: %v", name, claims)
		} else if len(token) > 40 && strings.Contains(err.Error(), token[20:40]) {
			t.Errorf("%s: the error quotes the token: %v", name, err)
		}
	}
	if _, err := e.Verify(sign(t, jwt.SigningMethodES256, "new", k.ec, nil), e.StaticKeys(), now); !errors.Is(err, ErrNoKey) {
		t.Errorf("a new key: %v", err)
	}
	if _, err := e.Verify(claim("scope", "x"), e.StaticKeys(), now); !errors.Is(err, ErrScope) {
		t.Errorf("another scope: %v", err)
	}
}

func TestKeySets(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	for name, text := range map[string]string{
		"not JSON":     "x",
		"empty":        `{"keys":[]}`,
		"secret":       `{"keys":[{"kty":"oct","k":"AAAA"}]}`,
		"short RSA":    `{"keys":[{"kty":"RSA","n":"` + b64(make([]byte, 64)) + `","e":"AQAB"}]}`,
		"even e":       `{"keys":[{"kty":"RSA","n":"` + b64(keys().modulus) + `","e":"Ag"}]}`,
		"not on curve": `{"keys":[{"kty":"EC","crv":"P-256","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `"}]}`,
		"short Ed":     `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}`,
		"too long":     `{"keys":[]}` + strings.Repeat(" ", MaxKeySet),
	} {
		if _, err := ParseKeySet([]byte(text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	e, err := Compile(&lambent.Route{
		ID: "r", Path: "/", Function: "f", Format: "2.0", Access: "jwt",
		JWT: &lambent.RouteJWT{Issuer: "https://id.test", Audiences: []string{"api"}, Keys: string(keys().set)},
	})
	if err != nil {
		f.Fatal(err)
	}
	good := jwt.NewWithClaims(jwt.SigningMethodEdDSA, goodClaims())
	text, err := good.SignedString(crypto.Signer(keys().ed))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer " + text)
	f.Add("Bearer a.b.c")
	f.Fuzz(func(t *testing.T, authorization string) {
		claims, err := e.Verify(authorization, e.StaticKeys(), now)
		if (err == nil) != (claims != nil) {
			t.Errorf("%v %v", claims, err)
		}
		if err == nil && !strings.Contains(authorization, text[:strings.LastIndexByte(text, '.')]) {
			t.Errorf("%q opened the route", authorization)
		}
	})
}
