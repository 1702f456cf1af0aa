package cli

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/rogpeppe/go-internal/testscript"

	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
)

const trustsLambda = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"lambda.amazonaws.com"}}}`

// makeRole is a command of scripts: the role of a name, with inline policies and then
// the ARNs of others: role NAME FILE=POLICY... ARN...
func makeRole(ts *testscript.TestScript, _ bool, args []string) {
	room, ctx := ts.Value("roles").(*iam.Room), context.Background()
	_, err := room.CreateRole(ctx, iam.Role{
		Namespace: auth.DefaultAccount, Path: "/", Name: args[0], MaxSession: 3600,
		Trust: trustsLambda,
	}, nil)
	ts.Check(err)
	_, err = room.UpdateRole(ctx, auth.DefaultAccount, args[0], func(v *iam.Role) error {
		for _, arg := range args[1:] {
			if file, name, inline := strings.Cut(arg, "="); inline {
				v.Inline[name] = ts.ReadFile(file)
			} else {
				v.Attach(arg)
			}
		}
		return nil
	})
	ts.Check(err)
}

// clerkScript is a command of scripts: the server of a data directory gets a role with
// a policy, as its clients make them.
func clerkScript(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	var at struct{ API string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(dir, "endpoints.json"))), &at))
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion("us-east-1"), config.WithBaseEndpoint(at.API),
		config.WithSharedCredentialsFiles([]string{filepath.Join(dir, "credentials")}), config.WithSharedConfigFiles([]string{}))
	ts.Check(err)
	roles := sdk.NewFromConfig(cfg)
	_, err = roles.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: aws.String("clerk"), AssumeRolePolicyDocument: aws.String(trustsLambda)})
	ts.Check(err)
	made, err := roles.CreatePolicy(ctx, &sdk.CreatePolicyInput{
		PolicyName:     aws.String("reads"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"lambda:Get*","Resource":"*"}}`),
	})
	ts.Check(err)
	_, err = roles.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: aws.String("clerk"), PolicyArn: made.Policy.Arn})
	ts.Check(err)
}
