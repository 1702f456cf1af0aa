package lambdaapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/lambdaapi/internal/wire"
)

// timestamp is how AWS writes times in the Lambda API.
const timestamp = "2006-01-02T15:04:05.000-0700"

// defaultLevel is the log level of either kind that comes with JSON logs
// (recorded).
const defaultLevel = "INFO"

// configuration is the view of a version that lists show. qualifier is what the
// ARN ends in, "" for an unqualified one.
func (h *handler) configuration(v *lambent.Version, qualifier string) *wire.FunctionConfiguration {
	out := &wire.FunctionConfiguration{
		FunctionName:     &v.Function,
		FunctionArn:      new(lambent.FunctionARN(h.Region, v.Namespace, v.Function, qualifier)),
		Runtime:          some(v.Runtime),
		Role:             &v.Role,
		Handler:          some(v.Handler),
		CodeSize:         &v.Code.Size,
		Description:      &v.Description,
		Timeout:          new(int64(v.Timeout / time.Second)),
		MemorySize:       new(int64(v.MemoryMB)),
		LastModified:     new(v.LastModified.UTC().Format(timestamp)),
		CodeSha256:       new(v.CodeSHA256()),
		Version:          &v.Number,
		TracingConfig:    &wire.TracingConfigResponse{Mode: &v.TracingMode},
		RevisionId:       &v.RevisionID,
		PackageType:      &v.PackageType,
		Architectures:    []string{v.Arch},
		EphemeralStorage: &wire.EphemeralStorage{Size: new(int64(v.EphemeralMB))},
		SnapStart:        &wire.SnapStartResponse{ApplyOn: &v.SnapStart, OptimizationStatus: new(h.optimization(v))},
		LoggingConfig:    logging(v),
	}
	if v.Env != nil {
		out.Environment = &wire.EnvironmentResponse{Variables: v.Env}
	}
	for _, l := range v.Layers {
		out.Layers = append(out.Layers, wire.Layer{Arn: &l.ARN, CodeSize: &l.Size})
	}
	out.ImageConfigResponse = imageConfig(v)
	restore(v, out)
	return out
}

// detail is the view of a version that an operation on it alone answers with:
// the states and the runtime's version are only here.
func (h *handler) detail(v *lambent.Version, qualifier string) *wire.FunctionConfiguration {
	out := h.configuration(v, qualifier)
	out.State = some(string(v.State))
	out.StateReason = some(v.StateReason)
	out.StateReasonCode = some(v.StateReasonCode)
	out.LastUpdateStatus = some(string(v.UpdateStatus))
	out.LastUpdateStatusReason = some(v.UpdateReason)
	out.LastUpdateStatusReasonCode = some(v.UpdateReasonCode)
	if v.Runtime != "" {
		out.RuntimeVersionConfig = &wire.RuntimeVersionConfig{RuntimeVersionArn: new(h.runtimeARN(v.Runtime))}
	}
	return out
}

// optimization is "On" when starts of a version go by what was prepared for them.
// The head is never prepared, as on AWS.
func (h *handler) optimization(v *lambent.Version) string {
	if v.SnapStart == "PublishedVersions" && v.Published() && h.Optimizer != nil && h.Optimizer.Optimized(v) {
		return "On"
	}
	return "Off"
}

// runtimeARN names a runtime's version. Here a runtime has one version at a
// time, which its name stands for.
func (h *handler) runtimeARN(runtime string) string {
	sum := sha256.Sum256([]byte(runtime))
	return "arn:aws:lambda:" + h.Region + "::runtime:" + hex.EncodeToString(sum[:])
}

func logging(v *lambent.Version) *wire.LoggingConfig {
	out := &wire.LoggingConfig{LogFormat: some(v.Logging.Format), LogGroup: new(v.LogGroup())}
	if v.Logging.Format == "JSON" {
		out.ApplicationLogLevel = some(v.Logging.ApplicationLevel)
		out.SystemLogLevel = some(v.Logging.SystemLevel)
	}
	return out
}

// setLogging merges what a request says about logs into a version: members that
// it leaves out stay. Levels exist with JSON only: others do not outlast that
// format, and are the catalog's to refuse where a request has some.
func setLogging(v *lambent.Version, in *wire.LoggingConfig) {
	if in == nil {
		return
	}
	l := &v.Logging
	set(&l.Format, in.LogFormat)
	set(&l.Group, in.LogGroup)
	if l.Format != "JSON" {
		l.ApplicationLevel, l.SystemLevel = deref(in.ApplicationLogLevel), deref(in.SystemLogLevel)
		return
	}
	set(&l.ApplicationLevel, in.ApplicationLogLevel)
	set(&l.SystemLevel, in.SystemLogLevel)
	if l.ApplicationLevel == "" {
		l.ApplicationLevel = defaultLevel
	}
	if l.SystemLevel == "" {
		l.SystemLevel = defaultLevel
	}
}

// set overwrites *dst where a request has the member.
func set[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}

// extra is the members of a configuration that lambent keeps and shows without
// acting on them, by name.
type extra map[string]any

// keep puts the members that are set into the version. A request that has a
// member replaces it as a whole.
func (x extra) keep(v *lambent.Version) error {
	for name, value := range x {
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		switch string(raw) {
		case "null":
			continue
		case "{}", `""`, "[]", `{"TargetArn":""}`:
			delete(v.Extra, name) // how a request takes a setting back
			continue
		}
		if v.Extra == nil {
			v.Extra = map[string][]byte{}
		}
		v.Extra[name] = raw
	}
	return nil
}

func createExtra(in *wire.CreateFunctionRequest) extra {
	return extra{
		"VpcConfig": in.VpcConfig, "DeadLetterConfig": in.DeadLetterConfig, "KMSKeyArn": in.KMSKeyArn,
		"FileSystemConfigs": in.FileSystemConfigs, "RuntimeConfig": in.RuntimeConfig, "AcceleratorConfig": in.AcceleratorConfig,
	}
}

func updateExtra(in *wire.UpdateFunctionConfigurationRequest) extra {
	return extra{
		"VpcConfig": in.VpcConfig, "DeadLetterConfig": in.DeadLetterConfig, "KMSKeyArn": in.KMSKeyArn,
		"FileSystemConfigs": in.FileSystemConfigs, "RuntimeConfig": in.RuntimeConfig, "AcceleratorConfig": in.AcceleratorConfig,
	}
}

// restore shows what keep has kept. What does not parse any more is left out.
func restore(v *lambent.Version, out *wire.FunctionConfiguration) {
	for name, dst := range map[string]any{
		"DeadLetterConfig": &out.DeadLetterConfig, "KMSKeyArn": &out.KMSKeyArn,
		"FileSystemConfigs": &out.FileSystemConfigs, "RuntimeConfig": &out.RuntimeConfig, "AcceleratorConfig": &out.AcceleratorConfig,
	} {
		if raw, ok := v.Extra[name]; ok {
			_ = json.Unmarshal(raw, dst)
		}
	}
	if raw, ok := v.Extra["VpcConfig"]; ok {
		// There is no VPC here; lists and flag are shown as they were given.
		out.VpcConfig = &wire.VpcConfigResponse{VpcId: new(""), Ipv6AllowedForDualStack: new(false)}
		_ = json.Unmarshal(raw, out.VpcConfig)
	}
}
