package auth

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"lambent.dev/lambent"
)

const (
	fileName = "credentials"
	// maxFile bounds the credentials file.
	maxFile = 64 << 10
)

// Keys holds the access keys that this server accepts, and what was derived from
// them. Its methods may be called from any goroutine.
type Keys struct {
	own      Key
	lookup   Lookup
	sessions []byte // the secret of sessions' keys
	lives    func(role, id string) bool
	signers  signers
}

// Open reads the access key from dir/credentials, an AWS shared-credentials
// file, and writes one with a new random key when there is none. The file is of
// mode 0600 and appears whole or not at all. A file that cannot be used is an
// error that names it; it is never replaced.
func Open(dir string, o Options) (*Keys, error) {
	if o.Account == "" {
		o.Account = DefaultAccount
	}
	path := filepath.Join(dir, fileName)
	key, err := readKey(path, o.Log)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = writeKey(path, o.Region)
	}
	if err != nil {
		return nil, err
	}
	key.Account = o.Account
	key.ARN = "arn:aws:iam::" + o.Account + ":root"
	return &Keys{own: key, lookup: o.Lookup, sessions: sessionSecret(), lives: o.Lives}, nil
}

// Default is the key in the credentials file.
func (k *Keys) Default() Key { return k.own }

// LogValue keeps the secrets of a key out of every log.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.Access) }

// String keeps the secrets of a key out of every message.
func (k Key) String() string { return k.Access }

// GoString does the same for %#v.
func (k Key) GoString() string { return "auth.Key(" + k.Access + ")" }

// readKey reads the [default] profile.
func readKey(path string, log *slog.Logger) (Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, fmt.Errorf("read credentials: %w", err)
	}
	if info.Size() > maxFile {
		return Key{}, lambent.Errorf(lambent.CodeInvalid, "credentials file %s is too large to be one", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Key{}, fmt.Errorf("read credentials: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 && log != nil {
		log.Warn("credentials file can be read by others; make it mode 0600", "path", path)
	}
	key := parseProfile(text)
	if key.Access == "" || key.Secret == "" {
		return Key{}, lambent.Errorf(lambent.CodeInvalid,
			"credentials file %s has no [default] profile with aws_access_key_id and aws_secret_access_key; mend it, or remove it to get a new key", path)
	}
	return key, nil
}

// parseProfile takes the [default] profile from the shared-credentials format
// (AWS SDKs and tools reference, "Format of the shared credentials file").
func parseProfile(text []byte) Key {
	var key Key
	inside := false
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[':
			inside = strings.TrimSpace(strings.Trim(line, "[]")) == "default"
			continue
		case !inside:
			continue
		}
		name, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "aws_access_key_id":
			key.Access = value
		case "aws_secret_access_key":
			key.Secret = value
		case "aws_session_token":
			key.Token = value
		}
	}
	return key
}

// newKey makes an access key of AWS's lengths: 20 characters, which begin so that
// nobody takes them for AWS's, and a secret of 40 with 240 random bits.
func newKey() Key {
	var secret [30]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand
	return Key{
		Access: "LAMB" + rand.Text()[:16],
		Secret: base64.StdEncoding.EncodeToString(secret[:]),
	}
}

// writeKey makes a key and puts it at path in one step.
func writeKey(path, region string) (Key, error) {
	key := newKey()
	text := "# Access key of this lambent server, in the format of the AWS shared credentials file.\n" +
		"[default]\naws_access_key_id = " + key.Access + "\naws_secret_access_key = " + key.Secret + "\n"
	if region != "" {
		text += "region = " + region + "\n"
	}
	text += "disable_host_prefix_injection = true\n" // botocore has addresses of its own for some operations
	if err := writeFile(path, []byte(text)); err != nil {
		return Key{}, fmt.Errorf("write credentials: %w", err)
	}
	return key, nil
}

// writeFile is atomic and durable. The temporary name is always the same, so that
// a crash leaves at most one and the next start takes it over.
func writeFile(path string, text []byte) error {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sameToken compares session tokens in constant time.
func sameToken(want, got string) bool {
	if want == "" {
		return got == ""
	}
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
