package runtimes

import (
	"crypto/rand"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"lambent.dev/lambent"
)

// Env is what [Environment] needs to know.
type Env struct {
	Version   *lambent.Version
	Region    string
	LogStream string
	// Provisioned tells that the instance is started for provisioned concurrency.
	Provisioned bool
	// Credentials for the function. With no AccessKeyID it gets some that open
	// nothing: SDKs refuse to make a client without any, and the names are reserved,
	// so that a function could not set its own. An empty one of the others leaves
	// its variable out.
	AccessKeyID, SecretAccessKey, SessionToken string
	// API is where those credentials are good, as the function reaches it:
	// "http://127.0.0.1:9001". "" is nowhere.
	API string
}

// Environment is the whole environment of a function's runtime but for
// AWS_LAMBDA_RUNTIME_API, as "Using Lambda environment variables" (AWS Lambda
// developer guide) lists it. No name occurs twice. The function's own variables
// win over the platform's defaults, and lose against what is reserved. It is
// sorted by name.
func Environment(e Env) []string {
	r, _ := lookup(e.Version.Runtime) // no release: only the common part
	vars := defaults(e.Version, r)
	if e.Version.Image != nil {
		vars = imageDefaults(e.Version.Image)
	}
	if e.Version.App != nil {
		applicationDefaults(vars, e.Version.Image != nil)
	}
	if e.API != "" {
		for _, name := range endpoints {
			vars[name] = e.API
		}
	}
	return inOrder(vars, e.Version.Env, reserved(e, r))
}

// inOrder is an environment, sorted by name, of which later layers win. A list is made
// and sorted in half the time of a map, and all of it is one string.
func inOrder(layers ...map[string]string) []string {
	type variable struct{ name, value string }
	all, size := make([]variable, 0, 64), 0
	for _, l := range layers {
		for name, value := range l {
			if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
				continue // execve cannot carry it; the API refuses such names before
			}
			all = append(all, variable{name, value})
			size += len(name) + len(value) + 1
		}
	}
	slices.SortStableFunc(all, func(a, b variable) int { return strings.Compare(a.name, b.name) })
	var text strings.Builder
	text.Grow(size)
	out := make([]string, 0, len(all))
	for n, v := range all {
		if n+1 < len(all) && all[n+1].name == v.name {
			continue
		}
		begin := text.Len()
		text.WriteString(v.name)
		text.WriteByte('=')
		text.WriteString(v.value)
		out = append(out, text.String()[begin:])
	}
	return out
}

// endpoints are the variables by which SDKs find single services ("Service-specific
// endpoints", AWS SDKs and tools reference): those that are spoken here. The one for
// all services is left alone, so that a function with keys of its own reaches others
// at AWS. SDKs that do not know them have to be told in the program.
var endpoints = []string{"AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "AWS_ENDPOINT_URL_SCHEDULER"}

// powerless are credentials of the length and letters that AWS gives to
// functions, new ones each time. No service knows them.
func powerless(e Env) Env {
	e.AccessKeyID = "ASIA" + rand.Text()[:16] // base32, as AWS's own
	e.SecretAccessKey = (rand.Text() + rand.Text())[:40]
	e.SessionToken = strings.Repeat(rand.Text(), 10)
	return e
}

// defaults are the variables that a function may set for itself.
func defaults(v *lambent.Version, r release) map[string]string {
	vars := map[string]string{
		"PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:" +
			"/var/task:/var/task/lib:/opt/lib",
		"LANG":                     "en_US.UTF-8",
		"TZ":                       ":UTC",
		"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
		// No daemon listens; an SDK's datagrams must not leave the sandbox.
		"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
	}
	if l, ok := languages[r.family]; ok && l.env != nil {
		maps.Copy(vars, l.env(v, r))
	}
	switch r.family {
	case familyProvided:
		// A Go program sizes its scheduler by the processor quota of its cgroup,
		// which it cannot see here; with more threads than that its goroutines
		// wake each other across processors for nothing.
		vars["GOMAXPROCS"] = strconv.Itoa(max(1, int(math.Ceil(v.CPUs()))))
	case familyPython:
		vars["PYTHONPATH"] = guestRuntime
	case familyNode:
		layers := nodeLayers(r)
		vars["NODE_PATH"] = layers[0] + ":" + layers[1] + ":" + guestRuntime + "/node_modules"
	}
	return vars
}

// applicationDefaults are what an HTTP application finds where it is not a
// function: its output as it writes it, the programs of its own packages, and a home
// that it can write to. An image has its own programs, and its users their homes,
// where pip and others look for what was installed for them.
func applicationDefaults(vars map[string]string, image bool) {
	vars["PYTHONUNBUFFERED"] = "1"
	if image {
		return
	}
	vars["PATH"] = "/var/task/bin:/var/task/node_modules/.bin:" + vars["PATH"] + ":" + guestTools
	vars["HOME"] = "/tmp"
	if _, ok := vars["PYTHONPATH"]; ok {
		vars["PYTHONPATH"] = "/var/task"
	}
}

const onDemand = "on-demand"

// initializationType names how the instance comes to be ("Using Lambda environment
// variables", AWS Lambda developer guide). A version may have only one of the two
// others on AWS.
func initializationType(e Env) string {
	switch {
	case e.Provisioned:
		return "provisioned-concurrency"
	case e.Version.SnapStart == "PublishedVersions" && e.Version.Published():
		return "snap-start"
	}
	return onDemand
}

// places are the reserved variables that are the same for all functions.
var places = map[string]string{"LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": guestRuntime}

// regional are the reserved variables that are the same for most functions of a region.
func regional(region, version, initialization string) map[string]string {
	return map[string]string{
		"AWS_REGION":                     region,
		"AWS_DEFAULT_REGION":             region,
		"AWS_LAMBDA_FUNCTION_VERSION":    version,
		"AWS_LAMBDA_INITIALIZATION_TYPE": initialization,
		"_AWS_XRAY_DAEMON_ADDRESS":       "127.0.0.1",
		"_AWS_XRAY_DAEMON_PORT":          "2000",
	}
}

// reserved are the variables that only the platform sets.
func reserved(e Env, r release) map[string]string {
	v := e.Version
	if e.AccessKeyID == "" {
		e = powerless(e)
	}
	vars := regional(e.Region, v.Number, initializationType(e))
	maps.Copy(vars, places)
	maps.Copy(vars, map[string]string{
		"_HANDLER":                        v.Handler,
		"AWS_LAMBDA_FUNCTION_NAME":        v.Function,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(v.MemoryMB),
		"AWS_LAMBDA_LOG_GROUP_NAME":       v.LogGroup(),
		"AWS_LAMBDA_LOG_STREAM_NAME":      e.LogStream,
	})
	if v.App != nil {
		// The environment is an ordinary host's with what AWS's SDKs look for: a
		// program that finds itself in a function may behave like one.
		vars["PORT"] = strconv.Itoa(v.App.Port)
		delete(vars, "_HANDLER")
	}
	if v.Image != nil {
		delete(vars, "_HANDLER") // the image's command stands for it
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID":     e.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY": e.SecretAccessKey,
		"AWS_SESSION_TOKEN":     e.SessionToken,
	} {
		if value != "" {
			vars[name] = value
		}
	}
	if r.family != familyProvided && r.family != "" {
		vars["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + v.Runtime
	}
	if v.Logging.Format == "JSON" {
		vars["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
		if v.Logging.ApplicationLevel != "" {
			vars["AWS_LAMBDA_LOG_LEVEL"] = v.Logging.ApplicationLevel
		}
	}
	return vars
}
