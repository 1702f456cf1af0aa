package runtimes

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"lambent.dev/lambent/test/harness"
)

// TestRolesOfFunctions has a running function do what its role allows, from the moment
// that the role is made or changed.
func TestRolesOfFunctions(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	c := deployCalling(t, s, "python", "clerk")
	roles := iam.NewFromConfig(s.Config())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const (
		read = `{"do":"code","function":"clerk"}`
		call = `{"do":"invoke","function":"clerk","event":{"do":"echo"}}`
		mine = "User: arn:aws:sts::" + account + ":assumed-role/test/clerk is not authorized to perform: lambda:"
	)
	c.wantRefusal(read, "AccessDeniedException", mine+"GetFunction")

	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	_, err := roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("test"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	c.wantRefusal(call, "AccessDeniedException", mine+"InvokeFunction") // the role is on record, and says nothing
	say := func(effect, action string) {
		t.Helper()
		text := `{"Version":"2012-10-17","Statement":{"Effect":"` + effect + `","Action":"` + action + `","Resource":"arn:aws:lambda:*:*:function:clerk"}}`
		_, err := roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("test"), PolicyName: aws.String(effect), PolicyDocument: &text})
		if err != nil {
			t.Fatal(err)
		}
	}
	say("Allow", "lambda:Get*")
	if o := c.do(read); o.Code != "" {
		t.Errorf("what the role allows: %+v", o)
	}
	c.wantRefusal(call, "AccessDeniedException", mine+"InvokeFunction")
	const put = `{"do":"put","stream":"its own","message":"put by the function"}`
	c.wantRefusal(put, "AccessDeniedException", "User: ")
	basic := "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
	if _, err := roles.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("test"), PolicyArn: &basic}); err != nil {
		t.Fatal(err)
	}
	if o := c.do(put); o.Code != "" || !strings.Contains(logText(t, s, "clerk"), "put by the function") {
		t.Errorf("events of its own: %+v, %s", o, logText(t, s, "clerk"))
	}
	say("Deny", "lambda:GetFunction")
	c.wantRefusal(read, "AccessDeniedException", mine+"GetFunction")
}
