package lambdaapi_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// What cannot be made is not there, and making it is not implemented.
func TestAbsent(t *testing.T) {
	c, _ := client(t)
	ctx := t.Context()
	name := aws.String("hello")
	create(t, c, *name)
	signing := aws.String("arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0")
	uuid := aws.String("01234567-0123-0123-0123-012345678901")

	mappings := must[*awslambda.ListEventSourceMappingsOutput](t)(c.ListEventSourceMappings(ctx, &awslambda.ListEventSourceMappingsInput{FunctionName: name}))
	signings := must[*awslambda.ListCodeSigningConfigsOutput](t)(c.ListCodeSigningConfigs(ctx, &awslambda.ListCodeSigningConfigsInput{}))
	providers := must[*awslambda.ListCapacityProvidersOutput](t)(c.ListCapacityProviders(ctx, &awslambda.ListCapacityProvidersInput{}))
	runs := must[*awslambda.ListDurableExecutionsByFunctionOutput](t)(c.ListDurableExecutionsByFunction(ctx, &awslambda.ListDurableExecutionsByFunctionInput{FunctionName: name}))
	if mappings.EventSourceMappings == nil || signings.CodeSigningConfigs == nil || providers.CapacityProviders == nil || runs.DurableExecutions == nil {
		t.Error("an empty list was left out")
	}

	_, err := c.GetEventSourceMapping(ctx, &awslambda.GetEventSourceMappingInput{UUID: uuid})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.DeleteEventSourceMapping(ctx, &awslambda.DeleteEventSourceMappingInput{UUID: uuid})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.GetCodeSigningConfig(ctx, &awslambda.GetCodeSigningConfigInput{CodeSigningConfigArn: signing})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.PutFunctionCodeSigningConfig(ctx, &awslambda.PutFunctionCodeSigningConfigInput{FunctionName: name, CodeSigningConfigArn: signing})
	wantCode(t, err, "CodeSigningConfigNotFoundException")
	_, err = c.ListDurableExecutionsByFunction(ctx, &awslambda.ListDurableExecutionsByFunctionInput{FunctionName: aws.String("gone")})
	wantCode(t, err, "ResourceNotFoundException")

	_, err = c.CreateEventSourceMapping(ctx, &awslambda.CreateEventSourceMappingInput{FunctionName: name, EventSourceArn: aws.String("arn:aws:sqs:us-east-1:000000000000:q")})
	wantCode(t, err, "ServiceException")
}

// A function that would be run in a way that lambent does not have is refused, and
// not run in another one.
func TestUnsupportedKinds(t *testing.T) {
	c, _ := client(t)
	ctx := t.Context()
	input := func() *awslambda.CreateFunctionInput {
		return &awslambda.CreateFunctionInput{
			FunctionName: aws.String("kind"), Role: aws.String(role), Runtime: types.RuntimePython312, Handler: aws.String("index.handler"),
			Code: &types.FunctionCode{ZipFile: archive("index.py", "def handler(event, context): return event")},
		}
	}
	durable := &types.DurableConfig{ExecutionTimeout: aws.Int32(60), RetentionPeriodInDays: aws.Int32(1)}
	files := []types.FileSystemConfig{{LocalMountPath: aws.String("/mnt/data"),
		Arn: aws.String("arn:aws:elasticfilesystem:us-east-1:111111111111:access-point/fsap-01234567890123456")}}
	tenants, long, mounted := input(), input(), input()
	tenants.TenancyConfig = &types.TenancyConfig{TenantIsolationMode: types.TenantIsolationModePerTenant}
	long.DurableConfig = durable
	mounted.FileSystemConfigs = files
	for _, in := range []*awslambda.CreateFunctionInput{tenants, long, mounted} {
		_, err := c.CreateFunction(ctx, in)
		wantCode(t, err, "ServiceException")
	}
	create(t, c, "kind")
	for _, in := range []*awslambda.UpdateFunctionConfigurationInput{{DurableConfig: durable}, {FileSystemConfigs: files}} {
		in.FunctionName = aws.String("kind")
		_, err := c.UpdateFunctionConfiguration(ctx, in)
		wantCode(t, err, "ServiceException")
	}
	_, err := c.UpdateFunctionConfiguration(ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("kind"), FileSystemConfigs: []types.FileSystemConfig{}})
	if err != nil {
		t.Errorf("no file systems: %v", err)
	}
	_, err = c.InvokeWithResponseStream(ctx, &awslambda.InvokeWithResponseStreamInput{FunctionName: aws.String("kind"), TenantId: aws.String("blue")})
	wantCode(t, err, "InvalidParameterValueException")
}

// Tools take a dead letter back with an empty ARN, and look whether it is gone.
func TestDeadLetterIsTakenBack(t *testing.T) {
	c, _ := client(t)
	ctx, name := t.Context(), aws.String("letters")
	create(t, c, *name)
	set := func(arn string) *types.DeadLetterConfig {
		t.Helper()
		must[*awslambda.UpdateFunctionConfigurationOutput](t)(c.UpdateFunctionConfiguration(ctx, &awslambda.UpdateFunctionConfigurationInput{
			FunctionName: name, DeadLetterConfig: &types.DeadLetterConfig{TargetArn: &arn},
		}))
		waitUpdated(t, c, *name)
		return must[*awslambda.GetFunctionConfigurationOutput](t)(c.GetFunctionConfiguration(ctx, &awslambda.GetFunctionConfigurationInput{FunctionName: name})).DeadLetterConfig
	}
	const queue = "arn:aws:sqs:us-east-1:000000000000:q"
	if got := set(queue); got == nil || *got.TargetArn != queue {
		t.Errorf("set to %+v", got)
	}
	to := &types.DeadLetterConfig{TargetArn: aws.String("arn:aws:lambda:us-east-1:000000000000:function:letters")}
	_, err := c.UpdateFunctionConfiguration(ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: name, DeadLetterConfig: to})
	wantCode(t, err, "InvalidParameterValueException")
	_, err = c.CreateFunction(ctx, &awslambda.CreateFunctionInput{
		FunctionName: aws.String("more"), Runtime: types.RuntimePython312, Handler: aws.String("index.handler"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: archive("index.py", "")}, DeadLetterConfig: to,
	})
	wantCode(t, err, "InvalidParameterValueException")
	if got := set(""); got != nil {
		t.Errorf("taken back, it is %+v", got)
	}
}

// Levels are for logs that are JSON, in a request as in what it changes.
func TestLogLevelsOfText(t *testing.T) {
	c, _ := client(t)
	ctx, name := t.Context(), aws.String("levels")
	create(t, c, *name)
	update := func(l types.LoggingConfig) error {
		_, err := c.UpdateFunctionConfiguration(ctx, &awslambda.UpdateFunctionConfigurationInput{FunctionName: name, LoggingConfig: &l})
		if err == nil {
			waitUpdated(t, c, *name)
		}
		return err
	}
	const debug = types.ApplicationLogLevelDebug
	wantCode(t, update(types.LoggingConfig{ApplicationLogLevel: debug}), "InvalidParameterValueException")
	wantCode(t, update(types.LoggingConfig{LogFormat: types.LogFormatText, SystemLogLevel: types.SystemLogLevelWarn}), "InvalidParameterValueException")
	for _, l := range []types.LoggingConfig{{LogFormat: types.LogFormatJson}, {ApplicationLogLevel: debug}, {LogFormat: types.LogFormatText}} {
		if err := update(l); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
	wantCode(t, update(types.LoggingConfig{ApplicationLogLevel: debug}), "InvalidParameterValueException")
}
