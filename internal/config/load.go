package config

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"lambent.dev/lambent"
)

// Options says where a configuration comes from.
type Options struct {
	// File is the path of a YAML or JSON file; empty is LAMBENT_CONFIG of
	// Environ, and none when that is not set either.
	File string
	// Environ is the environment as "KEY=value", see [os.Environ]; nil is none.
	Environ []string
	// Flags are values by key path, such as "instances.idle".
	Flags map[string]string
}

// envPrefix begins the name of every environment variable that is a setting.
const envPrefix = "LAMBENT_"

// envOther are variables of that prefix that are not settings: the file's path,
// what the client reads, where a crash test ends the server, and the sockets that one
// server hands to the next.
var envOther = []string{"LAMBENT_CONFIG", "LAMBENT_ENDPOINT", "LAMBENT_CRASH_AT", "LAMBENT_SOCKETS"}

// Load puts file, environment and flags over the defaults, fills in what depends
// on the host, and validates. Its errors have CodeInvalid, fit on one line and
// name the file and line, the variable or the flag.
func Load(o Options) (Config, error) {
	c := Default()
	env := environment(o.Environ)
	if o.File == "" {
		o.File = env["LAMBENT_CONFIG"]
	}
	if o.File != "" {
		data, err := os.ReadFile(o.File)
		if err != nil {
			return Config{}, lambent.Errorf(lambent.CodeInvalid, "read configuration: %w", err)
		}
		if err := Decode(o.File, data, &c); err != nil {
			return Config{}, err
		}
	}
	fields := settings(&c)
	c.Traces.applyShared(env)
	if err := applyEnvironment(fields, env); err != nil {
		return Config{}, err
	}
	for _, key := range slices.Sorted(maps.Keys(o.Flags)) {
		field, ok := fields[key]
		if !ok {
			return Config{}, lambent.Errorf(lambent.CodeInvalid, "unknown setting %q: `lambent config print` lists the settings", key)
		}
		if err := assign(field, o.Flags[key]); err != nil {
			return Config{}, lambent.Errorf(lambent.CodeInvalid, "setting %s: %w", key, err)
		}
	}
	if err := c.complete(env); err != nil {
		return Config{}, err
	}
	return c, c.Validate()
}

// Decode reads one YAML or JSON document into a struct. An unknown or repeated
// key is an error; errors have CodeInvalid and begin with "name:line:".
func Decode(name string, data []byte, into any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	err := yaml.UnmarshalWithOptions(data, into, yaml.Strict())
	if err == nil {
		return nil
	}
	message, line := err.Error(), 0
	var y yaml.Error
	if errors.As(err, &y) {
		message = y.GetMessage()
		if token := y.GetToken(); token != nil && token.Position != nil {
			line = token.Position.Line
		}
	}
	message, _, _ = strings.Cut(message, "\n")
	if line == 0 {
		return lambent.Errorf(lambent.CodeInvalid, "%s: %s", name, message)
	}
	return lambent.Errorf(lambent.CodeInvalid, "%s:%d: %s", name, line, message)
}

// Print writes the configuration as YAML that [Load] reads, secrets hidden, with
// what each setting is for.
func (c Config) Print() ([]byte, error) {
	comments := yaml.CommentMap{}
	walk("", reflect.ValueOf(&c).Elem(), func(key string, f reflect.StructField, _ reflect.Value) {
		comments["$."+key] = []*yaml.Comment{yaml.HeadComment(" " + f.Tag.Get("doc"))}
	})
	return yaml.MarshalWithOptions(c, yaml.IndentSequence(true), yaml.WithComment(comments))
}

// PrintJSON writes the same as JSON.
func (c Config) PrintJSON() ([]byte, error) {
	text, err := yaml.MarshalWithOptions(c, yaml.JSON())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, bytes.TrimSpace(text), "", "  ")
	out.WriteByte('\n')
	return out.Bytes(), err
}

// DataDir is the data directory of this user when nothing names one:
// /var/lib/lambent for root, else lambent in the XDG data directory (XDG Base
// Directory Specification 0.8). It is empty when there is no home directory.
func DataDir(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/var/lib/lambent"
	}
	// The specification has relative paths ignored.
	if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "lambent")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local/share/lambent")
	}
	return ""
}

// complete fills in what depends on the host.
func (c *Config) complete(env map[string]string) error {
	if c.Data == "" {
		c.Data = DataDir(os.Geteuid(), func(key string) string { return env[key] })
	}
	if c.Data != "" {
		abs, err := filepath.Abs(c.Data)
		if err != nil {
			return lambent.Errorf(lambent.CodeInvalid, "data directory %s: %w", c.Data, err)
		}
		c.Data = abs
	}
	if c.Instances.Memory == 0 {
		c.Instances.Memory = hostMemory() / 10 * 8 >> 20 << 20 // whole MiB
	}
	return nil
}

// hostMemory is the memory of this host, or 1 GiB where that cannot be told.
func hostMemory() Size {
	if n, ok := MemInfo("MemTotal"); ok && n > 0 {
		return n
	}
	return 1 << 30
}

// MemInfo is a figure of the host's memory, such as MemAvailable; false where it
// cannot be told.
func MemInfo(name string) (Size, bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }() // only read from
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			// proc_meminfo(5): the unit is always KiB.
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return Size(n << 10), err == nil
		}
	}
	return 0, false
}

// environment makes a map of "KEY=value" strings; the last of a key wins.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, entry := range environ {
		if key, value, ok := strings.Cut(entry, "="); ok {
			env[key] = value
		}
	}
	return env
}

// applyEnvironment sets the fields that have a variable. A variable that only
// looks like a setting is an error, as a misspelt key in the file is.
func applyEnvironment(fields map[string]reflect.Value, env map[string]string) error {
	byName := make(map[string]reflect.Value, len(fields))
	for key, field := range fields {
		byName[envPrefix+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))] = field
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(envOther, name) || strings.HasPrefix(name, "LAMBENT_TEST_") {
			continue
		}
		field, ok := byName[name]
		if !ok {
			return lambent.Errorf(lambent.CodeInvalid, "unknown environment variable %s: `lambent config print` lists the settings", name)
		}
		if err := assign(field, env[name]); err != nil {
			return lambent.Errorf(lambent.CodeInvalid, "environment variable %s: %w", name, err)
		}
	}
	return nil
}

// applyShared takes in the variables that OpenTelemetry has for all programs
// (OpenTelemetry specification, "Environment Variable Specification" and "OTLP
// Exporter Configuration"). An empty one is as good as none; the endpoint of
// traces alone is taken as it is, that of all signals is what their paths are
// added to.
func (t *Traces) applyShared(env map[string]string) {
	if name := env["OTEL_SERVICE_NAME"]; name != "" {
		t.Service = name
	}
	if strings.EqualFold(env["OTEL_SDK_DISABLED"], "true") {
		return
	}
	if all := env["OTEL_EXPORTER_OTLP_ENDPOINT"]; all != "" {
		t.Endpoint = strings.TrimRight(all, "/") + "/v1/traces"
	}
	if own := env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]; own != "" {
		t.Endpoint = own
		if u, err := url.Parse(own); err == nil && u.Path == "" {
			t.Endpoint += "/"
		}
	}
}

// settings maps the path of every leaf of c to the field that holds it.
func settings(c *Config) map[string]reflect.Value {
	fields := make(map[string]reflect.Value)
	walk("", reflect.ValueOf(c).Elem(), func(key string, _ reflect.StructField, v reflect.Value) { fields[key] = v })
	return fields
}

// walk calls leaf with every leaf of a struct and its path.
func walk(prefix string, v reflect.Value, leaf func(key string, f reflect.StructField, v reflect.Value)) {
	for f, field := range v.Fields() {
		key := prefix + f.Tag.Get("yaml")
		if field.Kind() == reflect.Struct {
			walk(key+".", field, leaf)
			continue
		}
		leaf(key, f, field)
	}
}

// assign parses text into a field. A list of names is separated by commas; a
// list of structs is a YAML or JSON list.
func assign(field reflect.Value, text string) (err error) {
	switch p := field.Addr().Interface().(type) {
	case *string:
		*p = text
	case *Secret:
		*p = Secret(text)
	case *Size:
		*p, err = ParseSize(text)
	case *time.Duration:
		*p, err = time.ParseDuration(text)
	case *bool:
		*p, err = strconv.ParseBool(text)
	case *int:
		*p, err = strconv.Atoi(text)
	case *float64:
		*p, err = strconv.ParseFloat(text, 64)
	case *[]string:
		*p = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
	case *[]S3:
		*p = nil
		err = Decode("value", []byte(text), p)
	default:
		panic(fmt.Sprintf("config: no parser for a field of type %s", field.Type()))
	}
	return err
}
