package auth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

var someone = Session{Account: "123456789012", Function: "f", Version: "3", Instance: "abc", Role: "arn:aws:iam::123456789012:role/service/clerk"}

// ofKey is a server's middleware and a request that key signed.
func ofKey(t *testing.T, keys *Keys, key Key) (http.Handler, *http.Request) {
	t.Helper()
	h := keys.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := From(r.Context())
		_, _ = w.Write([]byte(id.ARN + " " + id.Role))
	}), MiddlewareOptions{Now: func() time.Time { return testTime }})
	return h, call{access: key.Access, secret: key.Secret, token: key.Token}.signed(t)
}

func answered(h http.Handler, r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// The keys of an instance open its own door, and no other one.
func TestSessionKeys(t *testing.T) {
	keys := open(t)
	key := keys.Session(someone)
	if key.Access == "" || key != keys.Session(someone) {
		t.Fatalf("keys of one session: %#v, %#v", key, keys.Session(someone))
	}
	h, r := ofKey(t, keys, key)
	if code, body := answered(h, r.WithContext(Within(r.Context(), keys.Session(someone)))); code != 200 ||
		body != "arn:aws:sts::123456789012:assumed-role/clerk/f "+someone.Role {
		t.Errorf("from within: %d %s", code, body)
	}
	if code, body := answered(h, r); code != http.StatusForbidden {
		t.Errorf("from outside: %d %s", code, body)
	}
	for name, other := range map[string]Session{
		"instance": {someone.Account, someone.Function, someone.Version, "abd", someone.Role},
		"version":  {someone.Account, someone.Function, "4", someone.Instance, someone.Role},
		"function": {someone.Account, "g", someone.Version, someone.Instance, someone.Role},
		"role":     {someone.Account, someone.Function, someone.Version, someone.Instance, someone.Role + "s"},
		"account":  {"123456789013", someone.Function, someone.Version, someone.Instance, someone.Role},
		"border":   {someone.Account, someone.Function + "3", "", someone.Instance, someone.Role},
		"nobody":   {},
	} {
		if code, body := answered(h, r.WithContext(Within(r.Context(), keys.Session(other)))); code != http.StatusForbidden {
			t.Errorf("from another %s: %d %s", name, code, body)
		}
	}
	h, r = ofKey(t, keys, keys.Default())
	if code, body := answered(h, r.WithContext(Within(r.Context(), keys.Session(someone)))); code != http.StatusForbidden {
		t.Errorf("the account's key from within: %d %s", code, body)
	}
	if other := open(t).Session(someone); other.Access == key.Access || other.Secret == key.Secret || other.Token == key.Token {
		t.Error("two servers make the same keys")
	}
}

// A token that is not the session's, in whatever byte, is refused.
func TestSessionTokenAltered(t *testing.T) {
	keys := open(t)
	key := keys.Session(someone)
	refused := func(what string, key Key) {
		t.Helper()
		h, r := ofKey(t, keys, key)
		if code, body := answered(h, r.WithContext(Within(r.Context(), keys.Session(someone)))); code != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, code, body)
		}
	}
	for i := range len(key.Token) {
		altered := []byte(key.Token)
		altered[i] ^= 1
		forged := key
		forged.Token = string(altered)
		refused(fmt.Sprintf("token, byte %d", i), forged)
	}
	for i := range len(key.Secret) {
		altered := []byte(key.Secret)
		altered[i] ^= 1
		forged := key
		forged.Secret = string(altered)
		refused("secret", forged)
	}
	forged := key
	forged.Token = ""
	refused("no token", forged)
	forged.Token = key.Token + "="
	refused("longer token", forged)
}

// A function without a role has the least one, and is not taken for the account.
func TestSessionWithoutRole(t *testing.T) {
	if key := open(t).Session(Session{Account: "123456789012", Function: "f"}); key.Role != "arn:aws:iam::123456789012:role/lambent" ||
		key.ARN != "arn:aws:sts::123456789012:assumed-role/lambent/f" {
		t.Errorf("%+v", key)
	}
}

func open(t *testing.T) *Keys {
	t.Helper()
	keys, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
