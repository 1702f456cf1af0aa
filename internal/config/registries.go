package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Registry is a login for one registry of container images, and leave to reach it
// where that is not a matter of course.
type Registry struct {
	// Host is how references name it, with the port if there is one.
	Host     string `yaml:"host"`
	Username string `yaml:"username"`
	Password Secret `yaml:"password"`
	// Token is the registry's own, in place of user and password; TokenFile has it
	// in a file, which is read when the server starts.
	Token     Secret `yaml:"token"`
	TokenFile string `yaml:"token_file"`
	// Insecure lets it be spoken to without TLS, which is else for registries on
	// this host.
	Insecure bool `yaml:"insecure"`
}

// Secrets are the registry's password and token.
func (r Registry) Secrets() (password, token string, err error) {
	if r.TokenFile == "" {
		return string(r.Password), string(r.Token), nil
	}
	text, err := os.ReadFile(r.TokenFile)
	if err != nil {
		return "", "", fmt.Errorf("read the token for the registry %s: %w", r.Host, err)
	}
	return string(r.Password), strings.TrimSpace(string(text)), nil
}

func (k *check) registries(c Config) {
	seen := make(map[string]bool)
	for i, r := range c.Registries {
		key := fmt.Sprintf("registries[%d]", i)
		k.that(r.Host != "" && !strings.ContainsAny(r.Host, "/@ "), key+".host", "%q is not a host as references name it, such as registry.example.com:5000", r.Host)
		k.that(!seen[r.Host], key+".host", "%q has an entry already", r.Host)
		seen[r.Host] = true
		k.that((r.Username == "") == (r.Password == ""), key, "username and password go together")
		k.that(r.Token == "" || r.TokenFile == "", key, "give token or token_file, not both")
		k.that(r.Username == "" || r.Token == "" && r.TokenFile == "", key, "give a user or a token, not both")
	}
	k.that(c.DockerConfig == "" || filepath.IsAbs(c.DockerConfig), "docker_config", "%q is not an absolute path", c.DockerConfig)
}
