package catalog

import (
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/artifact"
)

func TestCreateFunctionDefaults(t *testing.T) {
	x := open(t)
	v := x.create("f")
	if v.Number != "$LATEST" || v.State != lambent.StatePending || v.StateReason != "The function is being created." || v.UpdateStatus != "" {
		t.Errorf("answer: %+v", v)
	}
	h := x.head("f")
	if h.MemoryMB != 128 || h.EphemeralMB != 512 || h.Timeout != 3*time.Second || h.Arch != "x86_64" || h.PackageType != "Zip" ||
		h.TracingMode != "PassThrough" || h.SnapStart != "None" || h.Logging.Format != "Text" {
		t.Errorf("defaults: %+v", h)
	}
	if h.State != lambent.StateActive || h.UpdateStatus != lambent.UpdateSuccessful || h.RevisionID == v.RevisionID {
		t.Errorf("settled: %+v", h)
	}
	if n, size := x.Usage(ns); n != 1 || size != int64(len("code of f")) {
		t.Errorf("usage = %d, %d", n, size)
	}
}

func TestCreateFunctionRefusals(t *testing.T) {
	const runtimeAndHandler = "Runtime and Handler are mandatory parameters for functions created with deployment packages."
	many := map[string]string{}
	for i := range 51 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	large := strings.Repeat("x", 4096)
	for name, tt := range map[string]struct {
		edit    func(*CreateFunction)
		code    lambent.Code
		message string
	}{
		"exists":     {func(in *CreateFunction) { in.Version.Function = "there" }, lambent.CodeConflict, "Function already exist: there"},
		"no handler": {func(in *CreateFunction) { in.Version.Handler = "" }, lambent.CodeInvalid, runtimeAndHandler},
		"no runtime": {func(in *CreateFunction) { in.Version.Runtime = "" }, lambent.CodeInvalid, runtimeAndHandler},
		"unknown":    {func(in *CreateFunction) { in.Version.Runtime = "cobol" }, lambent.CodeInvalid, "Value cobol at 'runtime' failed"},
		"image with a runtime": {func(in *CreateFunction) { in.Version.PackageType = "Image" }, lambent.CodeInvalid,
			"Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."},
		"image without images": {func(in *CreateFunction) {
			in.Version.PackageType, in.Version.Runtime, in.Version.Handler = "Image", "", ""
		}, lambent.CodeUnsupported, "Functions with the package type Image are not supported by this server"},
		"package type":  {func(in *CreateFunction) { in.Version.PackageType = "Tar" }, lambent.CodeInvalid, `"Tar" is not a package type; use Zip or Image`},
		"no code":       {func(in *CreateFunction) { in.Source = artifact.Source{} }, lambent.CodeInvalid, "Please provide a source for function code."},
		"not a zip":     {func(in *CreateFunction) { in.Source.Zip = []byte("bad") }, lambent.CodeInvalid, "Could not unzip uploaded file. Please check your file, then try to upload again."},
		"many tags":     {func(in *CreateFunction) { in.Tags = many }, lambent.CodeInvalid, "Number of tags exceeds resource tag limit."},
		"zero byte":     {func(in *CreateFunction) { in.Version.Env = map[string]string{"AB": "x\x00y"} }, lambent.CodeInvalid, "The value of the environment variable AB has a zero byte in it"},
		"reserved tag":  {func(in *CreateFunction) { in.Tags = map[string]string{"AWS:x": "v"} }, lambent.CodeInvalid, "aws: prefixed tag key names are not allowed for external use."},
		"little memory": {func(in *CreateFunction) { in.Version.MemoryMB = 64 }, lambent.CodeInvalid, "MemorySize must be from 128 to 10240, not 64"},
		"large tmp":     {func(in *CreateFunction) { in.Version.EphemeralMB = 10241 }, lambent.CodeInvalid, "EphemeralStorage.Size must be from 512 to 10240, not 10241"},
		"long timeout":  {func(in *CreateFunction) { in.Version.Timeout = 901 * time.Second }, lambent.CodeInvalid, "Timeout must be from 1 to 900, not 901"},
		"architecture":  {func(in *CreateFunction) { in.Version.Arch = "mips" }, lambent.CodeInvalid, "mips is not an architecture; use x86_64 or arm64"},
		"snap start":    {func(in *CreateFunction) { in.Version.Runtime, in.Version.SnapStart = "python3.8", "PublishedVersions" }, lambent.CodeInvalid, "python3.8 is not supported for SnapStart enabled functions."},
		"level of text": {func(in *CreateFunction) { in.Version.Logging.SystemLevel = "WARN" }, lambent.CodeInvalid,
			`LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request or change the LogFormat to "JSON" and try again.`},
		"name":       {func(in *CreateFunction) { in.Version.Function = "a/b" }, lambent.CodeInvalid, `"a/b" in the account "111111111111" is not a valid name`},
		"account":    {func(in *CreateFunction) { in.Version.Namespace = "../etc" }, lambent.CodeInvalid, `"f" in the account "../etc" is not a valid name`},
		"six layers": {func(in *CreateFunction) { in.LayerARNs = make([]string, 6) }, lambent.CodeInvalid, "Cannot reference more than 5 layers."},
		"reserved names": {func(in *CreateFunction) {
			in.Version.Env = map[string]string{"AWS_REGION": "", "_HANDLER": "x", "OK": ""}
		}, lambent.CodeInvalid, "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION, _HANDLER"},
		"large env": {func(in *CreateFunction) { in.Version.Env = map[string]string{"LARGE_VAR": large, "SMALL_VAR": "ok"} }, lambent.CodeInvalid,
			`Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {"SMALL_VAR":"ok","LARGE_VAR":"` + large + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			x := open(t)
			x.create("there")
			in := input("f")
			tt.edit(&in)
			_, err := x.CreateFunction(t.Context(), in)
			x.refused(err, tt.code, tt.message)
			if n, _ := x.Usage(ns); n != 1 {
				t.Errorf("%d functions after a refusal", n)
			}
		})
	}
}

func TestEnvironmentNearTheLimit(t *testing.T) {
	x := open(t)
	in := input("f")
	in.Version.Env = map[string]string{"K": strings.Repeat("<", 4096-len(`{"K":""}`))}
	_, err := x.CreateFunction(t.Context(), in)
	x.ok(err)
	in.Version.Function = "g"
	in.Version.Env = map[string]string{"K": in.Version.Env["K"] + "<"}
	if _, err = x.CreateFunction(t.Context(), in); lambent.ReasonOf(err) != "EnvironmentTooLarge" {
		t.Errorf("one byte more: %v", err)
	}
}

// TestRevisions follows what AWS was recorded to do with revision ids.
func TestRevisions(t *testing.T) {
	x := open(t)
	seen := map[string]string{}
	fresh := func(what, revision string) {
		t.Helper()
		if revision == "" || seen[revision] != "" {
			t.Errorf("%s has the revision %q of %q", what, revision, seen[revision])
		}
		seen[revision] = what
	}
	v, err := x.CreateFunction(t.Context(), input("f"))
	x.ok(err)
	fresh("create", v.RevisionID)
	x.settleAll()
	fresh("active", x.head("f").RevisionID)

	const mismatch = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
	code := UpdateCode{Namespace: ns, Function: "f", Source: input("f").Source, RevisionID: v.RevisionID}
	_, err = x.UpdateCode(t.Context(), code)
	x.refused(err, lambent.CodePrecondition, mismatch)
	code.RevisionID = x.head("f").RevisionID
	u, err := x.UpdateCode(t.Context(), code)
	x.ok(err)
	fresh("update code", u.RevisionID)
	if u.State != lambent.StateActive || u.UpdateStatus != lambent.UpdateInProgress || u.UpdateReasonCode != "Creating" {
		t.Errorf("updating: %+v", u)
	}
	x.settleAll()
	fresh("updated code", x.head("f").RevisionID)

	config := UpdateConfig{Namespace: ns, Function: "f", RevisionID: u.RevisionID}
	_, err = x.UpdateConfig(t.Context(), config)
	x.refused(err, lambent.CodePrecondition, mismatch)
	config.RevisionID = x.head("f").RevisionID
	u, err = x.UpdateConfig(t.Context(), config)
	x.ok(err)
	fresh("update config", u.RevisionID)
	x.settleAll()
	fresh("updated config", x.head("f").RevisionID)

}

// TestRevisionsOfVersionsAndAliases goes on where TestRevisions ends.
func TestRevisionsOfVersionsAndAliases(t *testing.T) {
	x := open(t)
	x.create("f")
	seen := map[string]string{x.head("f").RevisionID: "active"}
	fresh := func(what, revision string) {
		t.Helper()
		if revision == "" || seen[revision] != "" {
			t.Errorf("%s has the revision %q of %q", what, revision, seen[revision])
		}
		seen[revision] = what
	}
	const mismatch = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
	_, err := x.PublishVersion(t.Context(), PublishVersion{Namespace: ns, Function: "f", RevisionID: "wrong"})
	x.refused(err, lambent.CodePrecondition, mismatch)
	one := x.publishVersion("f")
	fresh("version 1", one.RevisionID)
	latest := x.head("f").RevisionID
	fresh("head after publish", latest)
	a, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1"})
	x.ok(err)
	fresh("alias", a.RevisionID)
	if got := x.head("f").RevisionID; got != latest {
		t.Errorf("an alias changed the head's revision to %s", got)
	}
	_, err = x.UpdateAlias(t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "live", RevisionID: "wrong"})
	x.refused(err, lambent.CodePrecondition, mismatch)
	a, err = x.UpdateAlias(t.Context(), UpdateAlias{Namespace: ns, Function: "f", Name: "live", Description: ptr("x"), RevisionID: a.RevisionID})
	x.ok(err)
	fresh("updated alias", a.RevisionID)
	x.ok(x.Tag(t.Context(), ns, "f", map[string]string{"a": "b"}))
	fresh("head after tag", x.head("f").RevisionID)
	if got, _ := x.Get(ns, "f", "1"); got.Version.RevisionID != one.RevisionID {
		t.Error("version 1 has another revision")
	}
}

func TestUpdateWhileBusy(t *testing.T) {
	x := open(t)
	_, err := x.CreateFunction(t.Context(), input("f"))
	x.ok(err)
	config := UpdateConfig{Namespace: ns, Function: "f"}
	_, err = x.UpdateConfig(t.Context(), config)
	x.refused(err, lambent.CodeConflict, "The operation cannot be performed at this time. The function is currently in the following state: Pending")
	x.settleAll()
	_, err = x.UpdateConfig(t.Context(), config)
	x.ok(err)
	const busy = "The operation cannot be performed at this time. An update is in progress for resource: A:function:f"
	_, err = x.UpdateConfig(t.Context(), config)
	x.refused(err, lambent.CodeConflict, busy)
	_, err = x.UpdateCode(t.Context(), UpdateCode{Namespace: ns, Function: "f", Source: input("f").Source})
	x.refused(err, lambent.CodeConflict, busy)
	_, err = x.PublishVersion(t.Context(), PublishVersion{Namespace: ns, Function: "f"})
	x.refused(err, lambent.CodeConflict, busy)
	x.ok(x.Tag(t.Context(), ns, "f", map[string]string{"a": "b"})) // tags wait for nothing
	if h := x.head("f"); h.UpdateStatus != lambent.UpdateInProgress {
		t.Errorf("tagging ended the update: %+v", h)
	}
	x.settleAll()
	if h := x.head("f"); h.UpdateStatus != lambent.UpdateSuccessful {
		t.Errorf("not settled: %+v", h)
	}
	x.ok(x.DeleteFunction(t.Context(), ns, "f", ""))
}

func TestUpdateConfigEditsACopy(t *testing.T) {
	x := open(t)
	in := input("f")
	in.Version.Env = map[string]string{"A": "1"}
	_, err := x.CreateFunction(t.Context(), in)
	x.ok(err)
	in.Version.Env["A"] = "changed by the caller"
	x.settleAll()
	before := x.head("f")
	mine := map[string]string{"B": "2"}
	u, err := x.UpdateConfig(t.Context(), UpdateConfig{Namespace: ns, Function: "f", Apply: func(v *lambent.Version) {
		v.Env["A"] = "2"
		v.Env = mine
		v.Function, v.Number, v.Code, v.Arch, v.State = "other", "9", lambent.CodeRef{}, "arm64", lambent.StateFailed
		v.Logging = lambent.Logging{Format: "JSON", ApplicationLevel: "DEBUG"}
	}})
	x.ok(err)
	mine["B"] = "changed by the caller"
	if before.Env["A"] != "1" {
		t.Errorf("the version that was handed out changed: %v", before.Env)
	}
	if u.Env["B"] != "2" || u.Function != "f" || u.Number != "$LATEST" || u.Code != before.Code || u.Arch != "x86_64" || u.State != lambent.StateActive {
		t.Errorf("updated: %+v", u)
	}
	if u.Logging != (lambent.Logging{Format: "JSON", ApplicationLevel: "DEBUG", SystemLevel: "INFO"}) {
		t.Errorf("logging: %+v", u.Logging)
	}
	x.settleAll()
	_, err = x.UpdateConfig(t.Context(), UpdateConfig{Namespace: ns, Function: "f", Apply: func(v *lambent.Version) { v.Runtime = "cobol" }})
	x.refused(err, lambent.CodeInvalid, "Value cobol at 'runtime' failed")
	if got := strings.Join(x.changes, " "); got != "f:$LATEST" {
		t.Errorf("changes told: %q", got)
	}
}

func TestRuntimeWarning(t *testing.T) {
	x := open(t)
	in := input("f")
	in.Version.Runtime, in.Publish = "python3.8", true
	_, err := x.CreateFunction(t.Context(), in)
	x.ok(err)
	x.settleAll()
	if h := x.head("f"); h.State != lambent.StateActive || h.StateReason != oldWarning {
		t.Errorf("head: %+v", h)
	}
	if e, _ := x.Get(ns, "f", "1"); e.Version.StateReason != oldWarning {
		t.Errorf("version 1: %+v", e.Version)
	}
	x.describe("f", "keeps the warning")
	if h := x.head("f"); h.StateReason != oldWarning {
		t.Errorf("after an update: %+v", h)
	}
	_, err = x.UpdateConfig(t.Context(), UpdateConfig{Namespace: ns, Function: "f", Apply: func(v *lambent.Version) { v.Runtime = "python3.12" }})
	x.ok(err)
	x.settleAll()
	if h := x.head("f"); h.StateReason != "" {
		t.Errorf("after the runtime changed: %+v", h)
	}
}

func TestUpdateCode(t *testing.T) {
	x := open(t)
	x.create("f")
	was := x.head("f")
	in := UpdateCode{Namespace: ns, Function: "f", Source: artifact.Source{Zip: []byte("other code")}, DryRun: true}
	dry, err := x.UpdateCode(t.Context(), in)
	x.ok(err)
	if dry.Code.Size != int64(len("other code")) || x.head("f") != was {
		t.Errorf("dry run: %+v", dry)
	}
	in.DryRun, in.Publish = false, true
	one, err := x.UpdateCode(t.Context(), in)
	x.ok(err)
	if one.Number != "1" || one.State != lambent.StatePending || one.UpdateStatus != "" || one.Code != dry.Code {
		t.Errorf("published: %+v", one)
	}
	if h := x.head("f"); h.UpdateStatus != lambent.UpdateInProgress || h.State != lambent.StateActive || h.Code != dry.Code {
		t.Errorf("head: %+v", h)
	}
	x.settleAll()
	if e, _ := x.Get(ns, "f", "1"); e.Version.State != lambent.StateActive || e.Version.UpdateStatus != lambent.UpdateSuccessful {
		t.Errorf("settled: %+v", e.Version)
	}
	_, err = x.UpdateCode(t.Context(), UpdateCode{Namespace: ns, Function: "none", Source: in.Source})
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:none")
	if !x.Digests()[dry.Code.Digest] || x.Digests()[was.Code.Digest] {
		t.Errorf("alive: %v", x.Digests())
	}
}

func TestDeleteFunction(t *testing.T) {
	x := open(t)
	x.refused(x.DeleteFunction(t.Context(), ns, "f", ""), lambent.CodeNotFound, "Function not found: A:function:f")
	x.refused(x.DeleteFunction(t.Context(), ns, "f", "1"), lambent.CodeNotFound, "Function not found: A:function:f")
	x.refused(x.DeleteFunction(t.Context(), ns, "f", "$LATEST"), lambent.CodeInvalid, "$LATEST version cannot be deleted without deleting the function.")
	x.refused(x.DeleteFunction(t.Context(), ns, "f", "live"), lambent.CodeInvalid, "Deletion of aliases is not currently supported.")
	x.create("f")
	for _, d := range []string{"one", "two", "three"} {
		x.describe("f", d)
		x.publishVersion("f")
	}
	_, err := x.CreateAlias(t.Context(), lambent.Alias{Namespace: ns, Function: "f", Name: "live", Version: "1", Weights: map[string]float64{"3": 0.1}})
	x.ok(err)
	for _, number := range []string{"1", "3"} {
		x.refused(x.DeleteFunction(t.Context(), ns, "f", number), lambent.CodeConflict, "Unable to delete version because the following aliases reference it: [live]")
	}
	x.changes = nil
	x.ok(x.DeleteFunction(t.Context(), ns, "f", "2"))
	x.ok(x.DeleteFunction(t.Context(), ns, "f", "2"))  // again
	x.ok(x.DeleteFunction(t.Context(), ns, "f", "99")) // and what never was
	if got := strings.Join(x.changes, " "); got != "f:2" {
		t.Errorf("changes told: %q", got)
	}
	_, err = x.Resolve(ns, "f", "2")
	x.refused(err, lambent.CodeNotFound, "Function not found: A:function:f:2")

	x.ok(x.DeleteAlias(t.Context(), ns, "f", "live"))
	x.ok(x.DeleteFunction(t.Context(), ns, "f", "3"))
	x.describe("f", "four")
	if v := x.publishVersion("f"); v.Number != "4" {
		t.Errorf("the version after a deleted 3 is %s", v.Number)
	}
	x.changes = nil
	x.ok(x.DeleteFunction(t.Context(), ns, "f", ""))
	if got := strings.Join(x.changes, " "); got != "f:$LATEST f:1 f:4" {
		t.Errorf("changes told: %q", got)
	}
	if n, size := x.Usage(ns); n != 0 || size != 0 {
		t.Errorf("usage = %d, %d", n, size)
	}
	x.create("f")
	if v := x.publishVersion("f"); v.Number != "1" {
		t.Errorf("the first version of a new function is %s", v.Number)
	}
}

func TestTags(t *testing.T) {
	x := open(t)
	x.refused(x.Tag(t.Context(), ns, "f", map[string]string{"a": "b"}), lambent.CodeNotFound, "Function not found: A:function:f")
	x.refused(x.Untag(t.Context(), ns, "f", []string{"a"}), lambent.CodeNotFound, "Function not found: A:function:f")
	x.create("f")
	x.refused(x.Tag(t.Context(), ns, "f", nil), lambent.CodeInvalid, "An error occurred and the request cannot be processed.")
	x.ok(x.Tag(t.Context(), ns, "f", map[string]string{"a": "1", "b": "2"}))
	x.ok(x.Tag(t.Context(), ns, "f", map[string]string{"b": "3"}))
	x.ok(x.Untag(t.Context(), ns, "f", []string{"a", "none"}))
	before := x.head("f").RevisionID
	x.ok(x.Untag(t.Context(), ns, "f", []string{"none"}))
	e, err := x.Get(ns, "f", "")
	x.ok(err)
	if len(e.Function.Tags) != 1 || e.Function.Tags["b"] != "3" || e.Version.RevisionID != before {
		t.Errorf("tags: %v, revision %s", e.Function.Tags, e.Version.RevisionID)
	}
	many := map[string]string{}
	for i := range 50 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	x.refused(x.Tag(t.Context(), ns, "f", many), lambent.CodeInvalid, "Number of tags exceeds resource tag limit.")
}

// What may be reserved follows the account's limit.
func TestSetReservedOfALargeAccount(t *testing.T) {
	x := open(t)
	x.o.Concurrency = 5000
	x.create("f")
	x.ok(x.SetReserved(t.Context(), ns, "f", ptr(4900)))
	x.refused(x.SetReserved(t.Context(), ns, "f", ptr(4901)), lambent.CodeInvalid,
		"Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100].")
}

func TestSetReserved(t *testing.T) {
	x := open(t)
	x.refused(x.SetReserved(t.Context(), ns, "f", ptr(1)), lambent.CodeNotFound, "Function not found: A:function:f:$LATEST")
	x.create("f")
	x.create("g")
	x.ok(x.SetReserved(t.Context(), ns, "f", ptr(900)))
	const low = "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."
	x.refused(x.SetReserved(t.Context(), ns, "g", ptr(1)), lambent.CodeInvalid, low)
	x.refused(x.SetReserved(t.Context(), ns, "f", ptr(901)), lambent.CodeInvalid, low)
	x.ok(x.SetReserved(t.Context(), ns, "g", ptr(0)))
	x.ok(x.SetReserved(t.Context(), ns, "f", nil))
	x.ok(x.SetReserved(t.Context(), ns, "g", ptr(7)))
	e, _ := x.Get(ns, "f", "")
	if e.Function.Reserved != nil {
		t.Errorf("f reserves %d", *e.Function.Reserved)
	}
	if e, _ = x.Get(ns, "g", ""); e.Function.Reserved == nil || *e.Function.Reserved != 7 {
		t.Errorf("g reserves %v", e.Function.Reserved)
	}
}
