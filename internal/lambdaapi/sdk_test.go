package lambdaapi_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
)

// client is AWS's own client of a door on real rooms whose catalog is running.
func client(t *testing.T) (*awslambda.Client, *httptest.Server) {
	t.Helper()
	door, c := server(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = c.Run(ctx) }() // waited for below
	srv := httptest.NewServer(door)
	t.Cleanup(func() { srv.Close(); cancel(); <-stopped })
	return awslambda.New(awslambda.Options{
		Region: region, BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""),
	}), srv
}

// must ends the test on an error.
func must[T any](t *testing.T) func(out T, err error) T {
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// wantCode checks the code that the client reads from an answer.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code {
		t.Errorf("got %v, want %s", err, code)
	}
}

func create(t *testing.T, c *awslambda.Client, name string) []byte {
	t.Helper()
	code := archive("index.py", "def handler(event, context): return event # "+name)
	made := must[*awslambda.CreateFunctionOutput](t)(c.CreateFunction(t.Context(), &awslambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(role), Runtime: types.RuntimePython312, Handler: aws.String("index.handler"),
		Code: &types.FunctionCode{ZipFile: code}, Tags: map[string]string{"team": "a"},
	}))
	if made.State != types.StatePending || *made.Version != "$LATEST" {
		t.Errorf("created %v %v", made.State, *made.Version)
	}
	err := awslambda.NewFunctionActiveV2Waiter(c, func(o *awslambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}).
		Wait(t.Context(), &awslambda.GetFunctionInput{FunctionName: &name}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func waitUpdated(t *testing.T, c *awslambda.Client, name string) {
	t.Helper()
	err := awslambda.NewFunctionUpdatedV2Waiter(c, func(o *awslambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	}).
		Wait(t.Context(), &awslambda.GetFunctionInput{FunctionName: &name}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
}

func TestSDKFunction(t *testing.T) {
	c, srv := client(t)
	ctx, name := t.Context(), aws.String("hello")
	code := create(t, c, *name)

	got := must[*awslambda.GetFunctionOutput](t)(c.GetFunction(ctx, &awslambda.GetFunctionInput{FunctionName: name}))
	if got.Configuration.State != types.StateActive || got.Tags["team"] != "a" || !strings.HasPrefix(*got.Code.Location, srv.URL) {
		t.Errorf("got %+v %v %v", got.Configuration.State, got.Tags, *got.Code.Location)
	}
	sum := sha256.Sum256(code)
	if *got.Configuration.CodeSha256 != base64.StdEncoding.EncodeToString(sum[:]) {
		t.Errorf("CodeSha256 %s", *got.Configuration.CodeSha256)
	}
	if body, status := fetch(t, *got.Code.Location); status != 200 || string(body) != string(code) {
		t.Errorf("the link to the code answers %d with %d bytes", status, len(body))
	}
	for _, wrong := range []string{
		strings.Replace(*got.Code.Location, "token=", "token=0", 1),
		strings.Replace(*got.Code.Location, "expires=", "expires=9", 1),
		strings.SplitN(*got.Code.Location, "?", 2)[0],
	} {
		if _, status := fetch(t, wrong); status != http.StatusForbidden {
			t.Errorf("%s answers %d", wrong, status)
		}
	}

	up := must[*awslambda.UpdateFunctionConfigurationOutput](t)(c.UpdateFunctionConfiguration(ctx, &awslambda.UpdateFunctionConfigurationInput{
		FunctionName: name, MemorySize: aws.Int32(256), Environment: &types.Environment{Variables: map[string]string{"A1": "b"}},
	}))
	if *up.MemorySize != 256 || up.Environment.Variables["A1"] != "b" || up.LastUpdateStatus != types.LastUpdateStatusInProgress {
		t.Errorf("updated %+v", up)
	}
	waitUpdated(t, c, *name)
	must[*awslambda.UpdateFunctionCodeOutput](t)(c.UpdateFunctionCode(ctx, &awslambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: archive("index.py", "2")}))
	waitUpdated(t, c, *name)
	conf := must[*awslambda.GetFunctionConfigurationOutput](t)(c.GetFunctionConfiguration(ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: got.Configuration.FunctionArn}))
	if *conf.CodeSha256 == *got.Configuration.CodeSha256 || *conf.MemorySize != 256 {
		t.Errorf("after both updates: %+v", conf)
	}

	create(t, c, "other")
	pages, seen := awslambda.NewListFunctionsPaginator(c, &awslambda.ListFunctionsInput{MaxItems: aws.Int32(1)}), []string{}
	for pages.HasMorePages() {
		for _, f := range must[*awslambda.ListFunctionsOutput](t)(pages.NextPage(ctx)).Functions {
			seen = append(seen, *f.FunctionName)
		}
	}
	if strings.Join(seen, " ") != "hello other" {
		t.Errorf("listed %v", seen)
	}

	settings := must[*awslambda.GetAccountSettingsOutput](t)(c.GetAccountSettings(ctx, &awslambda.GetAccountSettingsInput{}))
	if settings.AccountUsage.FunctionCount != 2 || settings.AccountLimit.ConcurrentExecutions != 1000 {
		t.Errorf("settings %+v %+v", settings.AccountUsage, settings.AccountLimit)
	}
	must[*awslambda.DeleteFunctionOutput](t)(c.DeleteFunction(ctx, &awslambda.DeleteFunctionInput{FunctionName: name}))
	_, err := c.GetFunction(ctx, &awslambda.GetFunctionInput{FunctionName: name})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) || *missing.Type != "User" {
		t.Errorf("after the deletion: %v", err)
	}
}

func fetch(t *testing.T, link string) ([]byte, int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body, res.StatusCode
}

func TestSDKVersionsAndAliases(t *testing.T) {
	c, _ := client(t)
	ctx, name := t.Context(), aws.String("hello")
	create(t, c, *name)
	v := must[*awslambda.PublishVersionOutput](t)(c.PublishVersion(ctx, &awslambda.PublishVersionInput{FunctionName: name, Description: aws.String("one")}))
	list := must[*awslambda.ListVersionsByFunctionOutput](t)(c.ListVersionsByFunction(ctx, &awslambda.ListVersionsByFunctionInput{FunctionName: name}))
	if *v.Version != "1" || len(list.Versions) != 2 || *list.Versions[1].FunctionArn != *v.FunctionArn {
		t.Errorf("published %s, listed %d", *v.Version, len(list.Versions))
	}
	live := aws.String("live")
	must[*awslambda.CreateAliasOutput](t)(c.CreateAlias(ctx, &awslambda.CreateAliasInput{FunctionName: name, Name: live, FunctionVersion: v.Version}))
	must[*awslambda.UpdateAliasOutput](t)(c.UpdateAlias(ctx, &awslambda.UpdateAliasInput{FunctionName: name, Name: live, Description: aws.String("d")}))
	a := must[*awslambda.GetAliasOutput](t)(c.GetAlias(ctx, &awslambda.GetAliasInput{FunctionName: name, Name: live}))
	aliases := must[*awslambda.ListAliasesOutput](t)(c.ListAliases(ctx, &awslambda.ListAliasesInput{FunctionName: name, FunctionVersion: v.Version}))
	if *a.Description != "d" || len(aliases.Aliases) != 1 {
		t.Errorf("alias %+v, listed %d", a, len(aliases.Aliases))
	}

	out := must[*awslambda.InvokeOutput](t)(c.Invoke(ctx, &awslambda.InvokeInput{
		FunctionName: name, Qualifier: live, Payload: []byte(`{"a":1}`), LogType: types.LogTypeTail,
		ClientContext: aws.String(base64.StdEncoding.EncodeToString([]byte(`{}`))),
	}))
	if string(out.Payload) != `{"a":1}` || *out.ExecutedVersion != "1" || out.StatusCode != http.StatusOK || out.LogResult == nil || out.FunctionError != nil {
		t.Errorf("invoked: %+v", out)
	}
	dry := must[*awslambda.InvokeOutput](t)(c.Invoke(ctx, &awslambda.InvokeInput{FunctionName: aws.String("hello:live"), InvocationType: types.InvocationTypeDryRun}))
	if dry.StatusCode != http.StatusNoContent {
		t.Errorf("a dry run answers %d", dry.StatusCode)
	}
	_, err := c.Invoke(ctx, &awslambda.InvokeInput{FunctionName: aws.String("hello:gone"), InvocationType: types.InvocationTypeDryRun})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.Invoke(ctx, &awslambda.InvokeInput{FunctionName: name, Payload: []byte("{")})
	wantCode(t, err, "InvalidRequestContentException")

	must[*awslambda.DeleteAliasOutput](t)(c.DeleteAlias(ctx, &awslambda.DeleteAliasInput{FunctionName: name, Name: live}))
	_, err = c.GetAlias(ctx, &awslambda.GetAliasInput{FunctionName: name, Name: live})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestSDKTagsAndPolicies(t *testing.T) {
	c, _ := client(t)
	ctx, name := t.Context(), aws.String("hello")
	create(t, c, *name)
	arn := aws.String("arn:aws:lambda:us-east-1:" + account + ":function:hello")
	must[*awslambda.TagResourceOutput](t)(c.TagResource(ctx, &awslambda.TagResourceInput{Resource: arn, Tags: map[string]string{"x": "y"}}))
	must[*awslambda.UntagResourceOutput](t)(c.UntagResource(ctx, &awslambda.UntagResourceInput{Resource: arn, TagKeys: []string{"team"}}))
	tags := must[*awslambda.ListTagsOutput](t)(c.ListTags(ctx, &awslambda.ListTagsInput{Resource: arn}))
	if len(tags.Tags) != 1 || tags.Tags["x"] != "y" {
		t.Errorf("tags %v", tags.Tags)
	}
	add := &awslambda.AddPermissionInput{FunctionName: name, StatementId: aws.String("s3"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("s3.amazonaws.com")}
	must[*awslambda.AddPermissionOutput](t)(c.AddPermission(ctx, add))
	_, err := c.AddPermission(ctx, add)
	wantCode(t, err, "ResourceConflictException")
	for _, action := range []string{"s3:GetObject", "lambda:Invoke Function", "lambda:"} {
		other := *add
		other.StatementId, other.Action = aws.String("other"), aws.String(action)
		_, err = c.AddPermission(ctx, &other)
		wantCode(t, err, "ValidationException")
	}
	public := *add
	public.StatementId, public.Principal, public.FunctionUrlAuthType = aws.String("url"), aws.String("*"), types.FunctionUrlAuthTypeNone
	_, err = c.AddPermission(ctx, &public)
	wantCode(t, err, "InvalidParameterValueException")
	p := must[*awslambda.GetPolicyOutput](t)(c.GetPolicy(ctx, &awslambda.GetPolicyInput{FunctionName: name}))
	if !strings.Contains(*p.Policy, `"Sid":"s3"`) {
		t.Errorf("policy %s", *p.Policy)
	}
	must[*awslambda.RemovePermissionOutput](t)(c.RemovePermission(ctx, &awslambda.RemovePermissionInput{FunctionName: name, StatementId: add.StatementId, RevisionId: p.RevisionId}))
	_, err = c.GetPolicy(ctx, &awslambda.GetPolicyInput{FunctionName: name})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestSDKLayers(t *testing.T) {
	c, _ := client(t)
	ctx, name := t.Context(), aws.String("lib")
	made := must[*awslambda.PublishLayerVersionOutput](t)(c.PublishLayerVersion(ctx, &awslambda.PublishLayerVersionInput{
		LayerName: name, Content: &types.LayerVersionContentInput{ZipFile: archive("python/lib.py", "x = 1")}, CompatibleRuntimes: []types.Runtime{types.RuntimePython312},
	}))
	one := aws.Int64(1)
	got := must[*awslambda.GetLayerVersionOutput](t)(c.GetLayerVersion(ctx, &awslambda.GetLayerVersionInput{LayerName: name, VersionNumber: one}))
	same := must[*awslambda.GetLayerVersionByArnOutput](t)(c.GetLayerVersionByArn(ctx, &awslambda.GetLayerVersionByArnInput{Arn: made.LayerVersionArn}))
	if *got.Content.CodeSha256 != *made.Content.CodeSha256 || *same.LayerVersionArn != *made.LayerVersionArn || got.Version != 1 {
		t.Errorf("got %+v and %+v", got, same)
	}
	if body, status := fetch(t, *got.Content.Location); status != 200 || int64(len(body)) != got.Content.CodeSize {
		t.Errorf("the layer's link answers %d with %d bytes", status, len(body))
	}
	layers := must[*awslambda.ListLayersOutput](t)(c.ListLayers(ctx, &awslambda.ListLayersInput{CompatibleRuntime: types.RuntimePython312}))
	versions := must[*awslambda.ListLayerVersionsOutput](t)(c.ListLayerVersions(ctx, &awslambda.ListLayerVersionsInput{LayerName: made.LayerArn}))
	if len(layers.Layers) != 1 || *layers.Layers[0].LayerName != "lib" || len(versions.LayerVersions) != 1 {
		t.Errorf("listed %v and %v", layers.Layers, versions.LayerVersions)
	}
	add := must[*awslambda.AddLayerVersionPermissionOutput](t)(c.AddLayerVersionPermission(ctx, &awslambda.AddLayerVersionPermissionInput{
		LayerName: name, VersionNumber: one, StatementId: aws.String("all"), Action: aws.String("lambda:GetLayerVersion"), Principal: aws.String("*"),
	}))
	policy := must[*awslambda.GetLayerVersionPolicyOutput](t)(c.GetLayerVersionPolicy(ctx, &awslambda.GetLayerVersionPolicyInput{LayerName: name, VersionNumber: one}))
	if !strings.Contains(*policy.Policy, *add.Statement) {
		t.Errorf("%s is not in %s", *add.Statement, *policy.Policy)
	}
	must[*awslambda.RemoveLayerVersionPermissionOutput](t)(c.RemoveLayerVersionPermission(ctx, &awslambda.RemoveLayerVersionPermissionInput{LayerName: name, VersionNumber: one, StatementId: aws.String("all")}))
	must[*awslambda.DeleteLayerVersionOutput](t)(c.DeleteLayerVersion(ctx, &awslambda.DeleteLayerVersionInput{LayerName: name, VersionNumber: one}))
	_, err := c.GetLayerVersion(ctx, &awslambda.GetLayerVersionInput{LayerName: name, VersionNumber: one})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestSDKSettings(t *testing.T) {
	c, _ := client(t)
	ctx, name := t.Context(), aws.String("hello")
	create(t, c, *name)
	must[*awslambda.PutFunctionConcurrencyOutput](t)(c.PutFunctionConcurrency(ctx, &awslambda.PutFunctionConcurrencyInput{FunctionName: name, ReservedConcurrentExecutions: aws.Int32(7)}))
	n := must[*awslambda.GetFunctionConcurrencyOutput](t)(c.GetFunctionConcurrency(ctx, &awslambda.GetFunctionConcurrencyInput{FunctionName: name}))
	settings := must[*awslambda.GetAccountSettingsOutput](t)(c.GetAccountSettings(ctx, &awslambda.GetAccountSettingsInput{}))
	if *n.ReservedConcurrentExecutions != 7 || *settings.AccountLimit.UnreservedConcurrentExecutions != 993 {
		t.Errorf("reserved %d, left %d", *n.ReservedConcurrentExecutions, *settings.AccountLimit.UnreservedConcurrentExecutions)
	}
	got := must[*awslambda.GetFunctionOutput](t)(c.GetFunction(ctx, &awslambda.GetFunctionInput{FunctionName: name}))
	if *got.Concurrency.ReservedConcurrentExecutions != 7 {
		t.Errorf("GetFunction shows %+v", got.Concurrency)
	}
	must[*awslambda.DeleteFunctionConcurrencyOutput](t)(c.DeleteFunctionConcurrency(ctx, &awslambda.DeleteFunctionConcurrencyInput{FunctionName: name}))

	signing := must[*awslambda.GetFunctionCodeSigningConfigOutput](t)(c.GetFunctionCodeSigningConfig(ctx, &awslambda.GetFunctionCodeSigningConfigInput{FunctionName: name}))
	runtime := must[*awslambda.GetRuntimeManagementConfigOutput](t)(c.GetRuntimeManagementConfig(ctx, &awslambda.GetRuntimeManagementConfigInput{FunctionName: name}))
	loop := must[*awslambda.GetFunctionRecursionConfigOutput](t)(c.GetFunctionRecursionConfig(ctx, &awslambda.GetFunctionRecursionConfigInput{FunctionName: name}))
	must[*awslambda.PublishVersionOutput](t)(c.PublishVersion(ctx, &awslambda.PublishVersionInput{FunctionName: name}))
	scaling := must[*awslambda.GetFunctionScalingConfigOutput](t)(c.GetFunctionScalingConfig(ctx, &awslambda.GetFunctionScalingConfigInput{FunctionName: name, Qualifier: aws.String("1")}))
	must[*awslambda.PutRuntimeManagementConfigOutput](t)(c.PutRuntimeManagementConfig(ctx, &awslambda.PutRuntimeManagementConfigInput{FunctionName: name, UpdateRuntimeOn: types.UpdateRuntimeOnAuto}))
	_, frozen := c.PutRuntimeManagementConfig(ctx, &awslambda.PutRuntimeManagementConfigInput{FunctionName: name, UpdateRuntimeOn: types.UpdateRuntimeOnFunctionUpdate})
	wantCode(t, frozen, "ServiceException")
	if signing.CodeSigningConfigArn != nil || runtime.UpdateRuntimeOn != types.UpdateRuntimeOnAuto || loop.RecursiveLoop != types.RecursiveLoopTerminate || scaling.FunctionArn == nil {
		t.Errorf("got %+v %+v %+v %+v", signing, runtime, loop, scaling)
	}
	_, err := c.GetFunctionScalingConfig(ctx, &awslambda.GetFunctionScalingConfigInput{FunctionName: aws.String("gone"), Qualifier: aws.String("1")})
	wantCode(t, err, "ResourceNotFoundException")
}
