package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

var (
	regionForm  = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	domainForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
)

// check collects what is wrong, each with its key.
type check struct{ problems []string }

func (k *check) that(ok bool, key, format string, args ...any) {
	if !ok {
		k.problems = append(k.problems, key+": "+fmt.Sprintf(format, args...))
	}
}

// Validate tells everything that is wrong with c in one line, with CodeInvalid.
func (c Config) Validate() error {
	var k check
	k.that(c.Data != "", "data", "name a directory: there is no home directory to choose one in")
	k.store(c.Store)
	k.address("listen", c.Listen)
	k.address("gateway", c.Gateway)
	k.that(c.Listen != c.Gateway || strings.HasSuffix(c.Listen, ":0"), "gateway", "must differ from listen (%s)", c.Listen)
	k.that(len(Prefixes(c.GatewayProxies)) == len(c.GatewayProxies), "gateway_proxies", "not all of %v are networks such as 10.1.0.0/16", c.GatewayProxies)
	k.that(domainForm.MatchString(c.GatewayDomain) && len(c.GatewayDomain) <= 128 && !strings.Contains(c.GatewayDomain, ".."), "gateway_domain", "%q is not a domain name in lower case, such as functions.example.com", c.GatewayDomain)
	if c.TLS.Listen != "" {
		k.address("tls.listen", c.TLS.Listen)
		k.that((c.TLS.Listen != c.Listen && c.TLS.Listen != c.Gateway) || strings.HasSuffix(c.TLS.Listen, ":0"), "tls.listen", "must differ from listen and gateway (%s)", c.TLS.Listen)
	}
	k.acme(c.TLS.ACME)
	k.that(!c.TLS.Redirect || c.TLS.Listen != "", "tls.redirect", "needs tls.listen")
	k.that(regionForm.MatchString(c.Region) && len(c.Region) <= 32, "region", "%q is not a region name such as us-east-1", c.Region)
	k.that(c.Drain >= 0, "drain", "%s is negative", c.Drain)
	k.that(accountForm.MatchString(c.Account), "account", "%q is not 12 digits", c.Account)
	k.that(slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level), "log.level", "%q is not debug, info, warn or error", c.Log.Level)
	k.that(c.Log.Format == "text" || c.Log.Format == "json", "log.format", "%q is not text or json", c.Log.Format)
	k.that(c.Logs.MaxAge >= 0, "logs.max_age", "is negative")
	k.that(c.Logs.MaxBytes == 0 || c.Logs.MaxBytes >= 1<<20, "logs.max_bytes", "%s is less than 1MiB", c.Logs.MaxBytes)
	k.that(c.Instances.Idle >= time.Second, "instances.idle", "%s is less than 1s", c.Instances.Idle)
	k.that(c.Instances.Concurrency >= 1, "instances.concurrency", "%d is less than 1", c.Instances.Concurrency)
	k.that(c.Instances.Queue >= 0, "instances.queue", "%d is negative", c.Instances.Queue)
	k.that(c.Instances.Starts >= 0, "instances.starts", "%d is negative", c.Instances.Starts)
	k.that(c.Instances.QueueWait >= 0, "instances.queue_wait", "%s is negative", c.Instances.QueueWait)
	k.that(c.Instances.Memory >= lambent.MinMemoryMB<<20, "instances.memory", "%s is less than %dMiB, the smallest function", c.Instances.Memory, lambent.MinMemoryMB)
	k.that(c.Instances.Reserve == 0 || c.Instances.Reserve >= 1<<20, "instances.reserve", "%s is less than 1MiB; 0 keeps no reserve", c.Instances.Reserve)
	k.hibernate(c.Instances.Hibernate)
	k.scale(c.Instances.Scale)
	k.that(c.Instances.StreamIdle >= time.Second, "instances.stream_idle", "%s is less than 1s", c.Instances.StreamIdle)
	k.that(c.Instances.StreamRate == 0 || c.Instances.StreamRate >= 1<<10, "instances.stream_rate", "%s is less than 1KiB; 0 is no bound", c.Instances.StreamRate)
	k.that(c.Artifacts.Cache == 0 || c.Artifacts.Cache >= lambent.MaxUnzipped, "artifacts.cache", "%s is less than %s, the largest function; 0 is no limit", c.Artifacts.Cache, Size(lambent.MaxUnzipped))
	k.sandbox(c.Sandbox)
	for i, dir := range c.Runtimes.Search {
		k.that(filepath.IsAbs(dir), fmt.Sprintf("runtimes.search[%d]", i), "%q is not an absolute path", dir)
	}
	k.url("runtimes.npm", c.Runtimes.NPM)
	k.url("runtimes.pypi", c.Runtimes.PyPI)
	k.traces(c.Traces)
	k.async(c.Async)
	k.s3(c.S3)
	k.registries(c)
	if len(k.problems) == 0 {
		return nil
	}
	return lambent.Errorf(lambent.CodeInvalid, "%s", strings.Join(k.problems, "; "))
}

func (k *check) store(s Store) {
	if s.URL == "" {
		return
	}
	u, err := url.Parse(string(s.URL)) // its error would show the password
	k.that(err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql"), "store.url",
		"is not of the form postgres://USER:PASSWORD@HOST:PORT/DATABASE")
}

func (k *check) address(key, address string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		k.that(false, key, "%q is not host:port", address)
		return
	}
	_, err = strconv.ParseUint(port, 10, 16)
	k.that(err == nil, key, "port %q is not a number from 0 to 65535", port)
}

func (k *check) url(key, text string) {
	u, err := url.Parse(text)
	k.that(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil,
		key, "is not an http or https URL without a password")
}

func (k *check) acme(a ACME) {
	if a.Directory == "" {
		return // the rest is not used
	}
	k.url("tls.acme.directory", a.Directory)
	if a.Email != "" {
		_, err := mail.ParseAddress(a.Email)
		k.that(err == nil, "tls.acme.email", "%q is not an address such as ops@example.com", a.Email)
	}
	k.that(a.Roots == "" || filepath.IsAbs(a.Roots), "tls.acme.roots", "%q is not an absolute path", a.Roots)
	k.that(slices.Contains([]string{"", "http-01", "tls-alpn-01"}, a.Challenge), "tls.acme.challenge", "%q is not http-01 or tls-alpn-01", a.Challenge)
	k.that((a.KeyID == "") == (a.MACKey == ""), "tls.acme", "key_id and mac_key go together")
}

func (k *check) traces(t Traces) {
	if t.Endpoint != "" {
		k.url("traces.endpoint", t.Endpoint)
	}
	k.that(t.Service != "", "traces.service", "is empty")
	// The comparison is false for NaN, so that NaN is refused too.
	k.that(t.Sample >= 0 && t.Sample <= 1, "traces.sample", "%v is not a share from 0 to 1", t.Sample)
}

func (k *check) hibernate(h Hibernate) {
	k.that(h.Init >= 0, "instances.hibernate.init", "is negative; 0 hibernates nothing")
	if h.Init <= 0 {
		return // the rest is not used
	}
	k.that(h.After >= time.Second, "instances.hibernate.after", "%s is less than 1s", h.After)
	k.that(h.Keep >= h.After, "instances.hibernate.keep", "%s is less than instances.hibernate.after (%s)", h.Keep, h.After)
	k.that(h.Memory >= 1<<20, "instances.hibernate.memory", "%s is less than 1MiB", h.Memory)
}

func (k *check) scale(s Scale) {
	k.that(s.Every >= 100*time.Millisecond && s.Every <= time.Minute, "instances.scale.every", "%s is not from 100ms to 1m", s.Every)
	if _, err := lambent.ParseScaling(s.Scaling().Texts()); err != nil {
		k.that(false, "instances.scale", "%s", err)
	}
}

// Scaling is what functions get that say nothing themselves.
func (s Scale) Scaling() lambent.Scaling {
	forecast := lambent.Off
	if s.Forecast {
		forecast = lambent.On
	}
	return lambent.Scaling{
		Mode: lambent.ScaleMode(s.Mode), Utilisation: s.Utilisation, Stable: s.Stable, Panic: s.Panic, Threshold: s.Threshold,
		UpRate: s.UpRate, DownRate: s.DownRate, Max: s.Max, Initial: s.Initial, DownDelay: s.DownDelay, Grace: s.Grace,
		Forecast: forecast, Factor: 1,
	}
}

func (k *check) sandbox(s Sandbox) {
	k.that(s.Driver == "linux", "sandbox.driver", "%q is not linux", s.Driver)
	prefix, err := netip.ParsePrefix(s.NetworkPool)
	// Each instance takes a /30 at most, so that a /24 has room for 64.
	ok := err == nil && prefix.Addr().Is4() && prefix.Addr().IsPrivate() && prefix.Bits() <= 24 && prefix == prefix.Masked()
	k.that(ok, "sandbox.network_pool", "%q is not a private IPv4 prefix of /24 or more addresses, such as 10.200.0.0/16", s.NetworkPool)
	k.that(filepath.IsLocal(s.CgroupRoot) && s.CgroupRoot != ".", "sandbox.cgroup_root", "%q is not a path below the cgroup mount", s.CgroupRoot)
}

func (k *check) s3(entries []S3) {
	seen := make(map[string]bool)
	for i, e := range entries {
		key := fmt.Sprintf("s3[%d]", i)
		k.that(e.Bucket != "", key+".bucket", `name a bucket, or "*" for every other one`)
		k.that(!seen[e.Bucket], key+".bucket", "%q has an entry already", e.Bucket)
		seen[e.Bucket] = true
		if e.Endpoint != "" {
			k.url(key+".endpoint", e.Endpoint)
		}
		k.that((e.AccessKey == "") == (e.SecretKey == ""), key, "access_key and secret_key go together")
		k.that(e.AccessKey == "" || e.KeyFile == "", key, "give keys or key_file, not both")
	}
}
