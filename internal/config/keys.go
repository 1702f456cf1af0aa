package config

import (
	"bufio"
	"bytes"
	"os"
	"strings"

	"lambent.dev/lambent"
)

// Keys are one profile of an AWS shared-credentials file.
type Keys struct {
	AccessKey    string
	SecretKey    Secret
	SessionToken Secret
	Region       string
}

// ReadKeys reads a profile of an AWS shared-credentials file ("Shared config and
// credentials files", AWS SDKs and Tools Reference Guide). An absent file or
// profile is CodeNotFound.
func ReadKeys(file, profile string) (Keys, error) {
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return Keys{}, lambent.Errorf(lambent.CodeNotFound, "read credentials: %w", err)
	}
	if err != nil {
		return Keys{}, lambent.Errorf(lambent.CodeInvalid, "read credentials: %w", err)
	}
	keys := parseKeys(data, profile)
	if keys.AccessKey == "" || keys.SecretKey == "" {
		return Keys{}, lambent.Errorf(lambent.CodeNotFound, "credentials file %s has no keys for profile [%s]", file, profile)
	}
	return keys, nil
}

// Keys gives the keys of an S3 entry: its own, or those of its key file. No keys
// at all are no error; requests then go out unsigned.
func (e S3) Keys() (Keys, error) {
	if e.KeyFile != "" {
		return ReadKeys(e.KeyFile, "default")
	}
	return Keys{AccessKey: e.AccessKey, SecretKey: e.SecretKey, Region: e.Region}, nil
}

func parseKeys(data []byte, profile string) Keys {
	var keys Keys
	inside := false
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		// Files of earlier lambent servers name the region in a comment.
		if region, ok := strings.CutPrefix(line, "# Region:"); ok && keys.Region == "" {
			keys.Region = strings.TrimSpace(region)
		}
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' {
			inside = strings.Trim(line, "[] \t") == profile
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !inside || !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "aws_access_key_id":
			keys.AccessKey = value
		case "aws_secret_access_key":
			keys.SecretKey = Secret(value)
		case "aws_session_token":
			keys.SessionToken = Secret(value)
		case "region":
			keys.Region = value
		}
	}
	return keys
}
