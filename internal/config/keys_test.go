package config

import (
	"os"
	"path/filepath"
	"testing"

	"lambent.dev/lambent"
)

func TestReadKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	text := "# made by a test\n[other]\naws_access_key_id=no\n\n[ default ]\naws_access_key_id = AK\naws_secret_access_key = s/e+c=r\n; region = x\nregion=eu-west-1\n[broken]\naws_access_key_id=b\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadKeys(path, "default")
	if want := (Keys{AccessKey: "AK", SecretKey: "s/e+c=r", Region: "eu-west-1"}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, profile := range []string{"broken", "absent"} {
		if _, err := ReadKeys(path, profile); lambent.CodeOf(err) != lambent.CodeNotFound {
			t.Errorf("profile %s: %v", profile, err)
		}
	}
	if _, err := ReadKeys(path+"x", "default"); lambent.CodeOf(err) != lambent.CodeNotFound {
		t.Errorf("absent file: %v", err)
	}
	fromFile, err := S3{KeyFile: path}.Keys()
	if err != nil || fromFile.AccessKey != "AK" {
		t.Errorf("key file: %+v, %v", fromFile, err)
	}
}
