package client

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/config"
)

// FindOptions is what the search for a server starts from.
type FindOptions struct {
	Endpoint string              // flag --endpoint
	Data     string              // flag --data
	Dir      string              // working directory
	UID      int                 // of the user
	Getenv   func(string) string // of the environment
}

// Target is a server and the keys for it.
type Target struct {
	Endpoint string
	Keys     config.Keys
	// Data is the data directory that Endpoint or Keys came from, if any.
	Data string
}

// endpointsFile is what a running server writes into its data directory.
type endpointsFile struct {
	API string `json:"api"`
}

// Find looks for a server: the --endpoint flag, LAMBENT_ENDPOINT, then the data
// directories, which are the --data flag or LAMBENT_DATA or else ./.lambent and
// the user's own. A server found by its data directory is spoken to with that
// directory's credentials, so that keys for AWS in the environment do not get in
// the way; for a named endpoint AWS_ACCESS_KEY_ID, AWS_SHARED_CREDENTIALS_FILE
// and, on this host, the data directories are tried in this order. CodeUnavailable
// means that there is no server.
func Find(o FindOptions) (Target, error) {
	dirs := dataDirs(o)
	endpoint := o.Endpoint
	if endpoint == "" {
		endpoint = o.Getenv("LAMBENT_ENDPOINT")
	}
	if endpoint != "" {
		return findNamed(o, endpoint, dirs)
	}
	for _, dir := range dirs {
		api, err := readEndpoint(dir)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return Target{}, lambent.Errorf(lambent.CodeUnavailable, "look for a server: %w", err)
		}
		keys, err := config.ReadKeys(filepath.Join(dir, "credentials"), "default")
		if err != nil {
			return Target{}, err
		}
		return Target{Endpoint: api, Keys: withRegion(keys, o), Data: dir}, nil
	}
	return Target{}, notRunning(dirs)
}

// dataDirs are the data directories to look in, first choice first.
func dataDirs(o FindOptions) []string {
	abs := func(dir string) string {
		if filepath.IsAbs(dir) {
			return dir
		}
		return filepath.Join(o.Dir, dir)
	}
	for _, named := range []string{o.Data, o.Getenv("LAMBENT_DATA")} {
		if named != "" {
			return []string{abs(named)}
		}
	}
	dirs := []string{abs(".lambent")}
	if own := config.DataDir(o.UID, o.Getenv); own != "" {
		dirs = append(dirs, own)
	}
	return dirs
}

func notRunning(dirs []string) error {
	start := "lambent serve"
	if len(dirs) == 1 {
		start += " --data " + dirs[0]
	}
	return lambent.Errorf(lambent.CodeUnavailable,
		"no lambent server is running here: start one with `%s`, or name the data directory of one by --data or the variable LAMBENT_DATA", start).WithReason("NotRunning")
}

func readEndpoint(dir string) (string, error) {
	path := filepath.Join(dir, "endpoints.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var file endpointsFile
	if err := json.Unmarshal(data, &file); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if _, err := parseEndpoint(file.API); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return file.API, nil
}

// findNamed finds the keys for an endpoint that the user named.
func findNamed(o FindOptions, endpoint string, dirs []string) (Target, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return Target{}, err
	}
	if access, secret := o.Getenv("AWS_ACCESS_KEY_ID"), o.Getenv("AWS_SECRET_ACCESS_KEY"); access != "" && secret != "" && o.Data == "" {
		keys := config.Keys{AccessKey: access, SecretKey: config.Secret(secret), SessionToken: config.Secret(o.Getenv("AWS_SESSION_TOKEN"))}
		return Target{Endpoint: endpoint, Keys: withRegion(keys, o)}, nil
	}
	if file := o.Getenv("AWS_SHARED_CREDENTIALS_FILE"); file != "" && o.Data == "" {
		profile := o.Getenv("AWS_PROFILE")
		if profile == "" {
			profile = "default"
		}
		keys, err := config.ReadKeys(file, profile)
		if err != nil {
			return Target{}, err
		}
		return Target{Endpoint: endpoint, Keys: withRegion(keys, o)}, nil
	}
	if o.Data != "" || local(u) {
		// A directory whose server has this address goes first.
		slices.SortStableFunc(dirs, func(a, b string) int { return rank(a, endpoint) - rank(b, endpoint) })
		for _, dir := range dirs {
			if keys, err := config.ReadKeys(filepath.Join(dir, "credentials"), "default"); err == nil {
				return Target{Endpoint: endpoint, Keys: withRegion(keys, o), Data: dir}, nil
			}
		}
	}
	return Target{}, lambent.Errorf(lambent.CodeDenied,
		"no credentials for %s: set AWS_SHARED_CREDENTIALS_FILE to the file `credentials` of the server's data directory, or name that directory with --data", endpoint).WithReason("NoCredentials")
}

// rank is 0 for the directory of the server at endpoint and 1 for another.
func rank(dir, endpoint string) int {
	if api, err := readEndpoint(dir); err == nil && api == endpoint {
		return 0
	}
	return 1
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") {
		return nil, lambent.Errorf(lambent.CodeInvalid, "endpoint %q: want a URL such as http://127.0.0.1:9000", endpoint)
	}
	return u, nil
}

// local tells whether u is on this host.
func local(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// withRegion completes keys with the region that requests are signed for.
func withRegion(k config.Keys, o FindOptions) config.Keys {
	for _, region := range []string{o.Getenv("LAMBENT_REGION"), k.Region, o.Getenv("AWS_REGION"), o.Getenv("AWS_DEFAULT_REGION"), config.Default().Region} {
		if region != "" {
			k.Region = region
			break
		}
	}
	return k
}
