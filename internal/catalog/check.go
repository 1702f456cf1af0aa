package catalog

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// reservedEnv are the variables that the runtime environment sets itself and a
// function may not (AWS Lambda developer guide, "Defined runtime environment
// variables").
var reservedEnv = map[string]bool{
	"_HANDLER": true, "_X_AMZN_TRACE_ID": true, "AWS_DEFAULT_REGION": true, "AWS_REGION": true, "AWS_EXECUTION_ENV": true,
	"AWS_LAMBDA_FUNCTION_NAME": true, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": true, "AWS_LAMBDA_FUNCTION_VERSION": true,
	"AWS_LAMBDA_INITIALIZATION_TYPE": true, "AWS_LAMBDA_LOG_GROUP_NAME": true, "AWS_LAMBDA_LOG_STREAM_NAME": true,
	"AWS_ACCESS_KEY": true, "AWS_ACCESS_KEY_ID": true, "AWS_SECRET_ACCESS_KEY": true, "AWS_SESSION_TOKEN": true,
	"AWS_LAMBDA_RUNTIME_API": true, "LAMBDA_TASK_ROOT": true, "LAMBDA_RUNTIME_DIR": true,
	"AWS_LAMBDA_MAX_CONCURRENCY": true, "AWS_LAMBDA_METADATA_API": true, "AWS_LAMBDA_METADATA_TOKEN": true,
}

// checkNames refuses names that are none. Doors check them with AWS's own
// texts; here it keeps record keys what they are.
func checkNames(k id, longest int) error {
	account := len(k.ns) == 12 && strings.Trim(k.ns, "0123456789") == ""
	if !account || !lambent.ValidName(k.name) || len(k.name) > longest {
		return invalid("InvalidName", "%q in the account %q is not a valid name", k.name, k.ns)
	}
	return nil
}

// normalise fills in the defaults of the AWS Lambda API.
func normalise(v *lambent.Version) {
	v.PackageType = cmp.Or(v.PackageType, "Zip")
	v.Arch = cmp.Or(v.Arch, "x86_64")
	v.MemoryMB = cmp.Or(v.MemoryMB, lambent.DefaultMemoryMB)
	v.EphemeralMB = cmp.Or(v.EphemeralMB, lambent.DefaultEphemeralMB)
	v.Timeout = cmp.Or(v.Timeout, lambent.DefaultTimeout)
	v.TracingMode = cmp.Or(v.TracingMode, "PassThrough")
	v.SnapStart = cmp.Or(v.SnapStart, "None")
	v.Logging.Format = cmp.Or(v.Logging.Format, "Text")
	if v.Logging.Format == "JSON" {
		v.Logging.ApplicationLevel = cmp.Or(v.Logging.ApplicationLevel, "INFO")
		v.Logging.SystemLevel = cmp.Or(v.Logging.SystemLevel, "INFO")
	}
}

// checkConfig checks what a version is configured to be, runtime and layers
// apart.
func checkConfig(v *lambent.Version) error {
	if v.PackageType != "Zip" && v.PackageType != PackageImage {
		return invalid("PackageType", "%.20q is not a package type; use Zip or Image", v.PackageType)
	}
	if err := checkApp(v); err != nil {
		return err
	}
	if err := checkImage(v, nil); err != nil {
		return err
	}
	if v.PackageType == "Zip" && (v.Runtime == "" || v.Handler == "" && v.App == nil) {
		return invalid("RuntimeAndHandler", "Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	if v.Arch != "x86_64" && v.Arch != "arm64" {
		return invalid("Architecture", "%s is not an architecture; use x86_64 or arm64", v.Arch)
	}
	if err := checkSnapStart(v); err != nil {
		return err
	}
	if l := v.Logging; l.Format != "JSON" && (l.ApplicationLevel != "" || l.SystemLevel != "") {
		return invalid("LogLevel", `LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request or change the LogFormat to "JSON" and try again.`)
	}
	switch {
	case v.MemoryMB < lambent.MinMemoryMB || v.MemoryMB > lambent.MaxMemoryMB:
		return outOfRange("MemorySize", v.MemoryMB, lambent.MinMemoryMB, lambent.MaxMemoryMB)
	case v.EphemeralMB < lambent.DefaultEphemeralMB || v.EphemeralMB > lambent.MaxEphemeralMB:
		return outOfRange("EphemeralStorage.Size", v.EphemeralMB, lambent.DefaultEphemeralMB, lambent.MaxEphemeralMB)
	case v.Timeout < time.Second || v.Timeout > lambent.MaxTimeout:
		return outOfRange("Timeout", int(v.Timeout.Seconds()), 1, int(lambent.MaxTimeout.Seconds()))
	}
	return checkEnv(v.Env)
}

// checkRole refuses a role that does not let functions have it.
func (c *Catalog) checkRole(v *lambent.Version) error {
	if c.o.Trusts == nil || c.o.Trusts(v.Role, lambent.FunctionARN(c.o.Region, v.Namespace, v.Function, "")) {
		return nil
	}
	return invalid("RoleTrust", "The role defined for the function cannot be assumed by Lambda.")
}

// Bounds of an application's start, and of what is told about it.
const (
	maxStart   = 15 * time.Minute
	maxIdle    = 24 * time.Hour
	maxCommand = 32 << 10 // bytes of all arguments
	maxHealth  = 1 << 10  // bytes
)

// checkApp checks what makes a version an HTTP application.
func checkApp(v *lambent.Version) error {
	a := v.App
	if a == nil {
		return nil
	}
	size := 0
	for _, arg := range a.Command {
		size += len(arg) + 1
		if strings.IndexByte(arg, 0) >= 0 {
			return invalid("AppCommand", "The command of an application cannot have a zero byte in it")
		}
	}
	switch {
	case a.Port < 1 || a.Port > 65535:
		return outOfRange("The port of an application", a.Port, 1, 65535)
	case a.Concurrency < 1 || a.Concurrency > lambent.MaxConcurrency:
		return outOfRange("The concurrency of an application", a.Concurrency, 1, lambent.MaxConcurrency)
	case a.StartTimeout < time.Second || a.StartTimeout > maxStart:
		return outOfRange("The start timeout of an application, in seconds,", int(a.StartTimeout.Seconds()), 1, int(maxStart.Seconds()))
	case a.IdleTimeout < 0 || a.IdleTimeout > 0 && a.IdleTimeout < time.Second || a.IdleTimeout > maxIdle:
		return outOfRange("The idle timeout of an application, in seconds,", int(a.IdleTimeout.Seconds()), 1, int(maxIdle.Seconds()))
	case size > maxCommand || len(a.Command) > 0 && a.Command[0] == "":
		return invalid("AppCommand", "The command of an application must have a program, and at most %d bytes", maxCommand)
	case a.Health != "" && (a.Health[0] != '/' || len(a.Health) > maxHealth || strings.ContainsFunc(a.Health, func(r rune) bool { return r <= ' ' || r > '~' })):
		return invalid("AppHealth", "The health path of an application must begin with / and be plain text of at most %d bytes", maxHealth)
	case v.SnapStart == "PublishedVersions":
		return invalid("SnapStart", "HTTP applications are not supported for SnapStart enabled functions.")
	}
	return nil
}

// checkSnapStart refuses what AWS does not take together with SnapStart: other
// runtimes, more ephemeral storage than the default, network file systems (AWS
// Lambda developer guide, "Lambda SnapStart"). Provisioned concurrency is the
// last of that list; it is checked where it is set.
func checkSnapStart(v *lambent.Version) error {
	var what string
	switch {
	case v.SnapStart != "PublishedVersions":
		return nil
	case !snapStarts(v.Runtime):
		what = v.Runtime
	case v.EphemeralMB > lambent.DefaultEphemeralMB:
		what = "Ephemeral storage greater than " + strconv.Itoa(lambent.DefaultEphemeralMB) + " MB"
	case len(v.Extra["FileSystemConfigs"]) > 0:
		what = "Amazon EFS"
	default:
		return nil
	}
	return invalid("SnapStart", "%s is not supported for SnapStart enabled functions.", what)
}

func outOfRange(what string, got, low, high int) error {
	return invalid("OutOfRange", "%s must be from %d to %d, not %d", what, low, high, got)
}

// snapStarts tells whether AWS takes snapshots of a runtime: Java 11, Python
// 3.12, .NET 8 and what is newer (AWS Lambda developer guide, "Lambda
// SnapStart").
func snapStarts(runtime string) bool {
	for prefix, from := range map[string]int{"java": 11, "python3.": 12, "dotnet": 8} {
		if version, ok := strings.CutPrefix(runtime, prefix); ok {
			version = strings.TrimSuffix(version, ".al2023")
			n, err := strconv.Atoi(version)
			return err == nil && n >= from
		}
	}
	return false
}

func checkEnv(env map[string]string) error {
	var reserved []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if reservedEnv[name] {
			reserved = append(reserved, name)
		}
	}
	if len(reserved) > 0 {
		return invalid("ReservedEnvironment", "Lambda was unable to configure your environment variables because the environment variables you have provided "+
			"contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(reserved, ", "))
	}
	size := 0
	for name, value := range env {
		if strings.IndexByte(value, 0) >= 0 { // execve(2) would end it there
			return invalid("ZeroByte", "The value of the environment variable %s has a zero byte in it", name)
		}
		size += len(name) + len(value)
	}
	if size < lambent.MaxEnvironment/8 { // escaping makes it six times as large at the most
		return nil
	}
	if text := measured(env); len(text) > lambent.MaxEnvironment {
		return invalid("EnvironmentTooLarge", "Lambda was unable to configure your environment variables because the environment variables "+
			"you have provided exceeded the 4KB limit. String measured: %s", text)
	}
	return nil
}

// measured is the environment as the JSON that AWS measures, without escapes
// for HTML. The order of its members, which the map has lost, is the smallest
// first.
func measured(env map[string]string) string {
	members := make([]string, 0, len(env))
	for name, value := range env {
		members = append(members, plainJSON(name)+":"+plainJSON(value))
	}
	slices.SortFunc(members, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	return "{" + strings.Join(members, ",") + "}"
}

func plainJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // no string fails
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// checkUnpacked checks the code of v together with its layers.
func checkUnpacked(v *lambent.Version) error {
	if v.Code.Unpacked > lambent.MaxUnzipped {
		return invalid("UnzippedTooLarge", "Unzipped size must be smaller than %d bytes", lambent.MaxUnzipped)
	}
	total := v.Code.Unpacked
	for _, l := range v.Layers {
		total += l.Unpacked
	}
	if total > lambent.MaxUnzipped {
		return invalid("UnzippedTooLarge", "Function code combined with layers exceeds the maximum allowed size of %d bytes. The actual size is %d bytes.",
			lambent.MaxUnzipped, total)
	}
	return nil
}
