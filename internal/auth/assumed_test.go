package auth

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

const clerkID = "AROACLERK"

// roles has the one role, until it is gone.
type roles struct{ gone bool }

func (r *roles) lives(role, id string) bool { return !r.gone && role == someone.Role && id == clerkID }

func clerk(at time.Time) Assumed {
	return Assumed{
		Account: someone.Account, Role: someone.Role, RoleID: clerkID, Name: "me@work", Expires: at.Add(time.Hour).Unix(),
		Policy: `{"a":"b"}`, Policies: []string{"arn:aws:iam::aws:policy/x"},
	}
}

// openIn opens the keys of a directory, with roles.
func openIn(t *testing.T, dir string, r *roles) *Keys {
	t.Helper()
	keys, err := Open(dir, Options{Lives: r.lives})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// The keys of an assumed role are good for their time, for as long as there is the
// role, after a restart as well, and within instances of the account.
func TestAssumedKeys(t *testing.T) {
	dir, on := t.TempDir(), &roles{}
	key := openIn(t, dir, on).Assume(clerk(testTime))
	if len(key.Access) != 20 || len(key.Secret) != 40 {
		t.Fatalf("keys %#v", key)
	}
	keys := openIn(t, dir, on) // the next server
	const want = "arn:aws:sts::123456789012:assumed-role/clerk/me@work arn:aws:iam::123456789012:role/service/clerk"
	h, r := ofKey(t, keys, key)
	if code, body := answered(h, r); code != http.StatusOK || body != want {
		t.Errorf("after a restart: %d %s", code, body)
	}
	if code, body := answered(h, r.WithContext(Within(r.Context(), keys.Session(Session{Account: someone.Account, Function: "g"})))); code != http.StatusOK || body != want {
		t.Errorf("within an instance: %d %s", code, body)
	}
	if code, body := answered(h, r.WithContext(Within(r.Context(), keys.Session(Session{Account: "999999999999", Function: "g"})))); code != http.StatusForbidden {
		t.Errorf("within another account's: %d %s", code, body)
	}
	on.gone = true
	if code, body := answered(h, r); code != http.StatusForbidden || !strings.Contains(body, "is invalid") {
		t.Errorf("of a role that is gone: %d %s", code, body)
	}
	on.gone = false
	h, r = ofKey(t, openIn(t, t.TempDir(), on), key)
	if code, _ := answered(h, r); code != http.StatusForbidden {
		t.Errorf("with another key in the file: %d", code)
	}
	late := clerk(testTime)
	late.Expires = testTime.Unix()
	h, r = ofKey(t, keys, keys.Assume(late))
	if code, body := answered(h, r); code != http.StatusForbidden || !strings.Contains(body, "The security token included in the request is expired") {
		t.Errorf("that have expired: %d %s", code, body)
	}
	h, r = ofKey(t, open(t), key)
	if code, _ := answered(h, r); code != http.StatusForbidden {
		t.Errorf("where no role can be assumed: %d", code)
	}
}

// A token that says something else than it was made for opens nothing.
func TestAssumedTokenAltered(t *testing.T) {
	keys := openIn(t, t.TempDir(), &roles{})
	key := keys.Assume(clerk(testTime))
	raw, err := base64.StdEncoding.DecodeString(key.Token)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, forged Key) {
		t.Helper()
		h, r := ofKey(t, keys, forged)
		if code, body := answered(h, r); code != http.StatusForbidden {
			t.Errorf("%s: %d %s", what, code, body)
		}
	}
	for i := range raw {
		altered := append([]byte(nil), raw...)
		altered[i] ^= 1
		forged := key
		forged.Token = base64.StdEncoding.EncodeToString(altered)
		refused("a byte is altered", forged)
	}
	later := clerk(testTime.Add(time.Hour))
	for what, forged := range map[string]Key{
		"no token":             {Access: key.Access, Secret: key.Secret},
		"another's token":      {Access: key.Access, Secret: key.Secret, Token: keys.Assume(later).Token},
		"not base64":           {Access: key.Access, Secret: key.Secret, Token: "?"},
		"a seal alone":         {Access: key.Access, Secret: key.Secret, Token: base64.StdEncoding.EncodeToString(raw[:sealBytes])},
		"too long":             {Access: key.Access, Secret: key.Secret, Token: strings.Repeat("A", maxToken+4)},
		"another secret":       {Access: key.Access, Secret: key.Secret + "x", Token: key.Token},
		"another access key":   {Access: "ASIAAAAAAAAAAAAAAAAA", Secret: key.Secret, Token: key.Token},
		"the account's secret": {Access: key.Access, Secret: keys.Default().Secret, Token: key.Token},
	} {
		refused(what, forged)
	}
	h, r := ofKey(t, keys, key)
	if code, body := answered(h, r); code != http.StatusOK {
		t.Errorf("the key itself: %d %s", code, body)
	}
}

// Whatever stands in a token, it is refused or a role's.
func FuzzToken(f *testing.F) {
	dir := f.TempDir()
	keys, err := Open(dir, Options{Lives: (&roles{}).lives})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(keys.Assume(clerk(testTime)).Token)
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		if key, refusal := keys.assumed("ASIAAAAAAAAAAAAAAAAA", token, testTime); refusal == nil {
			t.Errorf("%q opens as %#v", token, key)
		}
	})
}
