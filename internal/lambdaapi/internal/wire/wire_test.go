package wire

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"lambent.dev/lambent"
)

func TestMatch(t *testing.T) {
	arn := "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af"
	for _, tt := range []struct {
		method, path, query string
		want                string // operation, or "" for none
		param, value        string
	}{
		{"POST", "/2015-03-31/functions", "", "CreateFunction", "", ""},
		{"POST", "/2015-03-31/functions/", "", "CreateFunction", "", ""}, // older clients
		{"GET", "/2015-03-31/functions/", "MaxItems=1", "ListFunctions", "", ""},
		{"GET", "/2015-03-31/functions/f", "", "GetFunction", "FunctionName", "f"},
		{"GET", "/2015-03-31/functions/f/", "", "GetFunction", "FunctionName", "f"},
		{"GET", "/2015-03-31/functions/f:alias", "", "GetFunction", "FunctionName", "f:alias"},
		{"GET", "/2015-03-31/functions/" + arn, "", "GetFunction", "FunctionName", "arn:aws:lambda:us-east-1:000000000000:function:f"},
		{"GET", "/2015-03-31/functions/configuration", "", "GetFunction", "FunctionName", "configuration"},
		{"GET", "/2015-03-31/functions/f/configuration", "", "GetFunctionConfiguration", "", ""},
		{"GET", "/2018-10-31/layers", "", "ListLayers", "", ""},
		{"GET", "/2018-10-31/layers", "find=LayerVersion&Arn=x", "GetLayerVersionByArn", "", ""},
		{"GET", "/2018-10-31/layers", "find=Other", "ListLayers", "", ""},
		{"GET", "/2018-10-31/layers/l/versions/3", "", "GetLayerVersion", "VersionNumber", "3"},
		{"GET", "/2019-09-30/functions/f/provisioned-concurrency", "", "GetProvisionedConcurrencyConfig", "", ""},
		{"GET", "/2019-09-30/functions/f/provisioned-concurrency", "List=ALL", "ListProvisionedConcurrencyConfigs", "", ""},
		{"PUT", "/2017-10-31/functions/f/concurrency", "", "PutFunctionConcurrency", "", ""},
		{"GET", "/2019-09-30/functions/f/concurrency", "", "GetFunctionConcurrency", "", ""},
		{"GET", "/2017-10-31/functions/f/concurrency", "", "", "", ""},
		{"POST", "/2019-09-25/functions/f/event-invoke-config", "", "UpdateFunctionEventInvokeConfig", "", ""},
		{"PUT", "/2019-09-25/functions/f/event-invoke-config", "", "PutFunctionEventInvokeConfig", "", ""},
		{"POST", "/2014-11-13/functions/f/invoke-async", "", "InvokeAsync", "", ""},
		{"POST", "/2014-11-13/functions/f/invoke-async/", "", "InvokeAsync", "", ""},
		{"POST", "/2015-03-31/functions/f/invocations", "Qualifier=1", "Invoke", "FunctionName", "f"},
		{"GET", "/2017-03-31/tags/" + arn, "", "ListTags", "Resource", "arn:aws:lambda:us-east-1:000000000000:function:f"},
		{"GET", "/2025-12-01/durable-executions/a%2Fb%2Fc", "", "GetDurableExecution", "DurableExecutionArn", "a/b/c"},
		{"GET", "/2025-12-01/durable-executions/a/b/c", "", "", "", ""},
		{"PATCH", "/2015-03-31/functions/f", "", "", "", ""},
		{"GET", "/2015-03-31/functions//", "", "", "", ""},
		{"GET", "/2015-03-31/functions/%zz", "", "", "", ""},
		{"GET", "/", "", "", "", ""},
		{"GET", "", "", "", "", ""},
		{"GET", strings.Repeat("/a", 1000), "", "", "", ""},
	} {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		op, params := Match(tt.method, tt.path, query)
		got := ""
		if op != nil {
			got = op.Name
		}
		if got != tt.want || (tt.param != "" && params[tt.param] != tt.value) {
			t.Errorf("%s %s?%s: got %q with %v, want %q with %s=%s", tt.method, tt.path, tt.query, got, params, tt.want, tt.param, tt.value)
		}
	}
}

// Every operation is found by its own template, and its request's path members
// are what the template has.
func TestEveryOperationIsReachable(t *testing.T) {
	if len(Ops) < 88 {
		t.Errorf("%d operations, the API has at least 88", len(Ops))
	}
	for i := range Ops {
		op := &Ops[i]
		path := op.Path
		for strings.Contains(path, "{") {
			path = path[:strings.Index(path, "{")] + "x1" + path[strings.Index(path, "}")+1:]
		}
		query, _ := url.ParseQuery(op.Query)
		got, params := Match(op.Method, path, query)
		if got != op {
			t.Errorf("%s %s: got %v", op.Method, path, got)
			continue
		}
		if n := strings.Count(op.Path, "{"); n != len(params) {
			t.Errorf("%s: %d variables, %v", op.Name, n, params)
		}
	}
}

// Every pattern of the model must compile, or have a replacement.
func TestPatternsCompile(t *testing.T) {
	for name, c := range constraints {
		if c.pattern != "" {
			func() {
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("%s: %v", name, r)
					}
				}()
				c.match("x")
			}()
		}
		for _, ref := range []string{c.elem, c.key, c.value} {
			if ref != "" && constraints[ref] == nil {
				t.Errorf("%s refers to %s, which is not there", name, ref)
			}
		}
	}
}

func TestLookarounds(t *testing.T) {
	for _, tt := range []struct {
		shape, value string
		want         bool
	}{
		{"Alias", "2024", false}, {"Alias", "2024-01", true}, {"Alias", "a b", false}, {"Alias", "", false},
		{"FunctionUrlQualifier", "1", false}, {"FunctionUrlQualifier", "v1", true}, {"FunctionUrlQualifier", "$LATEST", false},
		{"CollectionName", "system.x", false}, {"CollectionName", "systems", true}, {"CollectionName", "a$", false},
		{"S3Bucket", "my.bucket", true}, {"S3Bucket", "bucket.", false},
		{"FunctionUrlFunctionName", "f:1", false}, {"FunctionUrlFunctionName", "f:v1", true}, {"FunctionUrlFunctionName", "123", true},
	} {
		if got := constraints[tt.shape].match(tt.value); got != tt.want {
			t.Errorf("%s matches %q: %v, want %v", tt.shape, tt.value, got, tt.want)
		}
	}
}

func decode(t *testing.T, operation, path, query, body string) (any, error) {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	for i := range Ops {
		if Ops[i].Name == operation {
			op, params := Match(Ops[i].Method, path, q)
			if op == nil || op.Name != operation {
				t.Fatalf("%s is at %v", path, op)
			}
			return op.Decode(Request{Params: params, Query: q, Header: http.Header{}, Body: []byte(body)})
		}
	}
	t.Fatalf("no operation %s", operation)
	return nil, nil
}

func TestDecode(t *testing.T) {
	in, err := decode(t, "AddLayerVersionPermission", "/2018-10-31/layers/l/versions/7/policy", "RevisionId=r",
		`{"StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*", "Unknown": 1}`)
	if err != nil {
		t.Fatal(err)
	}
	got := in.(*AddLayerVersionPermissionRequest)
	if *got.LayerName != "l" || *got.VersionNumber != 7 || *got.RevisionId != "r" || *got.StatementId != "s" {
		t.Errorf("got %+v", got)
	}
	up, err := decode(t, "UpdateFunctionCode", "/2015-03-31/functions/f/code", "", `{"ZipFile": "aGVsbG8=", "Publish": true}`)
	if err != nil {
		t.Fatal(err)
	}
	if c := up.(*UpdateFunctionCodeRequest); string(c.ZipFile) != "hello" || !*c.Publish {
		t.Errorf("got %+v", c)
	}
}

func TestDecodeRefuses(t *testing.T) {
	const policy = "/2015-03-31/functions/f/policy"
	for _, tt := range []struct {
		operation, path, query, body string
		reason, message              string
	}{
		{"AddPermission", policy, "", `{`, "InvalidRequestContentException", "Could not parse request body into json: "},
		{"PutFunctionConcurrency", "/2017-10-31/functions/f/concurrency", "", `{"ReservedConcurrentExecutions": 1.5}`, "SerializationException", "NUMBER_VALUE can not be converted to an Integer at 'ReservedConcurrentExecutions'"},
		{"AddPermission", policy, "", `[]`, "SerializationException", "ARRAY_VALUE can not be converted to an Object"},
		{"AddPermission", policy, "", `{"StatementId": 7}`, "SerializationException", "NUMBER_VALUE can not be converted to a String at 'StatementId'"},
		{"AddPermission", policy, "", ``, "ValidationException", "3 validation errors detected: Value null at 'statementId' failed to satisfy constraint: Member must not be null; "},
		{"UpdateFunctionCode", "/2015-03-31/functions/f/code", "", `{"ZipFile": "!"}`, "SerializationException", "the value of a blob is not base64"},
		{"GetLayerVersion", "/2018-10-31/layers/l/versions/x", "", ``, "SerializationException", "STRING_VALUE can not be converted to an Integer at 'VersionNumber'"},
		{"ListFunctions", "/2015-03-31/functions", "MaxItems=0", ``, "ValidationException", "1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"UpdateFunctionConfiguration", "/2015-03-31/functions/f/configuration", "", `{"Environment": {"Variables": {"1x": "secret"}}}`, "ValidationException",
			"1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: ["},
		{"UpdateFunctionConfiguration", "/2015-03-31/functions/f/configuration", "", `{"FileSystemConfigs": [{"Arn": "x", "LocalMountPath": "/mnt/a"}]}`, "ValidationException",
			"1 validation error detected: Value 'x' at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: Member must satisfy regular expression pattern: "},
	} {
		_, err := decode(t, tt.operation, tt.path, tt.query, tt.body)
		if lambent.ReasonOf(err) != tt.reason || !strings.HasPrefix(err.Error(), tt.message) {
			t.Errorf("%s %s: got %s %v, want %s %s", tt.operation, tt.body, lambent.ReasonOf(err), err, tt.reason, tt.message)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: a value of the environment is repeated: %v", tt.operation, err)
		}
	}
}

// FuzzMatch: whatever the path, the router neither panics nor finds an operation
// without all of its variables.
func FuzzMatch(f *testing.F) {
	f.Add("GET", "/2015-03-31/functions/f", "")
	f.Add("GET", "/2018-10-31/layers", "find=LayerVersion")
	f.Add("GET", "/2025-12-01/durable-executions/a%2Fb", "")
	f.Add("PUT", "/2015-03-31/functions/%00/code/", "")
	f.Fuzz(func(t *testing.T, method, path, rawQuery string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		op, params := Match(method, path, query)
		if op == nil {
			return
		}
		for name, value := range params {
			if value == "" || !strings.Contains(op.Path, "{"+name+"}") {
				t.Errorf("%s: %q = %q", op.Path, name, value)
			}
		}
	})
}

// FuzzDecode: whatever is sent, decoding ends in a request of the operation's
// type or in an error with one of three reasons.
func FuzzDecode(f *testing.F) {
	f.Add(7, "f", "Qualifier=1", `{"Role": "r", "Code": {"ZipFile": "AA=="}}`)
	f.Add(0, "l", "RevisionId=x", `{"StatementId": "s"}`)
	f.Add(3, "f:a", "", `{"RoutingConfig": {"AdditionalVersionWeights": {"2": 1e400}}}`)
	f.Add(90, "f", "", `{"Cors": {"AllowMethods": ["*", null]}}`)
	f.Fuzz(func(t *testing.T, n int, param, rawQuery, body string) {
		op := &Ops[(n%len(Ops)+len(Ops))%len(Ops)]
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		params := Params{}
		for _, seg := range strings.Split(op.Path, "/") {
			if strings.HasPrefix(seg, "{") {
				params[strings.Trim(seg, "{}")] = param
			}
		}
		in, err := op.Decode(Request{Params: params, Query: query, Header: http.Header{}, Body: []byte(body)})
		if err == nil && in == nil {
			t.Fatal("neither a request nor an error")
		}
		switch reason := lambent.ReasonOf(err); reason {
		case "", "ValidationException", "SerializationException", "InvalidRequestContentException":
		default:
			t.Errorf("reason %q: %v", reason, err)
		}
	})
}
