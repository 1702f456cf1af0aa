package iamapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/auth"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/queryapi"
	"lambent.dev/lambent/internal/store"
)

const (
	trust = "{\n  \"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRole\", \"Principal\": {\"Service\": \"lambda.amazonaws.com\"}}]\n}"
	reads = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::a+b/ü c%20"}}`
	basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
)

// two are the keys of two namespaces.
type two map[string]auth.Key

func (k two) Key(_ context.Context, access string) (auth.Key, bool) {
	key, ok := k[access]
	return key, ok
}

// start serves the door behind the real middleware, and gives a client of each of two
// namespaces.
func start(t *testing.T) (own, other *sdk.Client) {
	t.Helper()
	room, err := iam.Open(t.Context(), iam.Options{Records: store.NewMemory(), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	second := auth.Key{Access: "LAMBSECOND", Secret: "secret", Account: "111111111111", ARN: "arn:aws:iam::111111111111:root"}
	keys, err := auth.Open(t.TempDir(), auth.Options{Lookup: two{second.Access: second}})
	if err != nil {
		t.Fatal(err)
	}
	door := queryapi.New(map[string]queryapi.API{"iam": New(room)}, nil)
	srv := httptest.NewServer(keys.Middleware(door, auth.MiddlewareOptions{
		Region: "us-east-1", Refuse: func(w http.ResponseWriter, _ *http.Request, e *lambent.Error) { queryapi.Refuse(w, e) },
	}))
	t.Cleanup(srv.Close)
	client := func(k auth.Key) *sdk.Client {
		return sdk.New(sdk.Options{
			Region: "us-east-1", BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(k.Access, k.Secret, ""),
		})
	}
	return client(keys.Default()), client(second)
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// must gives an answer that there must be.
func must[T any](t *testing.T) func(out T, err error) T {
	t.Helper()
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// plain is a document as a client reads it.
func plain(t *testing.T, document *string) string {
	t.Helper()
	text, err := url.PathUnescape(aws.ToString(document)) // which leaves a plus sign what it is
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRoleLife(t *testing.T) {
	c, _ := start(t)
	ctx := deadline(t)
	name := aws.String("Maker")
	made := must[*sdk.CreateRoleOutput](t)(c.CreateRole(ctx, &sdk.CreateRoleInput{
		RoleName: name, Path: aws.String("/ci/"), AssumeRolePolicyDocument: aws.String(trust), Description: aws.String("makes"),
		Tags: []types.Tag{{Key: aws.String("b"), Value: aws.String("")}, {Key: aws.String("a"), Value: aws.String("1")}},
	})).Role
	if *made.Arn != "arn:aws:iam::000000000000:role/ci/Maker" || len(*made.RoleId) != 21 || !strings.HasPrefix(*made.RoleId, "AROA") ||
		made.Description != nil || made.MaxSessionDuration != nil || len(made.Tags) != 2 || *made.Tags[0].Key != "a" {
		t.Errorf("made is %+v", made)
	}
	must[*sdk.UpdateRoleOutput](t)(c.UpdateRole(ctx, &sdk.UpdateRoleInput{RoleName: name, MaxSessionDuration: aws.Int32(7200)}))
	must[*sdk.PutRolePolicyOutput](t)(c.PutRolePolicy(ctx, &sdk.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("in"), PolicyDocument: aws.String(reads)}))
	must[*sdk.AttachRolePolicyOutput](t)(c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(basic)}))
	must[*sdk.UntagRoleOutput](t)(c.UntagRole(ctx, &sdk.UntagRoleInput{RoleName: name, TagKeys: []string{"B"}}))
	got := must[*sdk.GetRoleOutput](t)(c.GetRole(ctx, &sdk.GetRoleInput{RoleName: name})).Role
	if plain(t, got.AssumeRolePolicyDocument) != trust || *got.Description != "makes" || *got.MaxSessionDuration != 7200 || len(got.Tags) != 1 ||
		time.Since(*got.CreateDate) > time.Minute || got.RoleLastUsed == nil {
		t.Errorf("the role is %+v", got)
	}
	in := must[*sdk.GetRolePolicyOutput](t)(c.GetRolePolicy(ctx, &sdk.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("in")}))
	if plain(t, in.PolicyDocument) != reads {
		t.Errorf("the inline policy is %s", plain(t, in.PolicyDocument))
	}
	names := must[*sdk.ListRolePoliciesOutput](t)(c.ListRolePolicies(ctx, &sdk.ListRolePoliciesInput{RoleName: name}))
	attached := must[*sdk.ListAttachedRolePoliciesOutput](t)(c.ListAttachedRolePolicies(ctx, &sdk.ListAttachedRolePoliciesInput{RoleName: name}))
	if fmt.Sprint(names.PolicyNames) != "[in]" || len(attached.AttachedPolicies) != 1 || *attached.AttachedPolicies[0].PolicyName != "AWSLambdaBasicExecutionRole" {
		t.Errorf("policies are %v and %v", names.PolicyNames, attached.AttachedPolicies)
	}
	profiles := must[*sdk.ListInstanceProfilesForRoleOutput](t)(c.ListInstanceProfilesForRole(ctx, &sdk.ListInstanceProfilesForRoleInput{RoleName: name}))
	if profiles.InstanceProfiles == nil || len(profiles.InstanceProfiles) != 0 {
		t.Errorf("profiles are %v", profiles.InstanceProfiles)
	}
	must[*sdk.DetachRolePolicyOutput](t)(c.DetachRolePolicy(ctx, &sdk.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String(basic)}))
	must[*sdk.DeleteRolePolicyOutput](t)(c.DeleteRolePolicy(ctx, &sdk.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("in")}))
	must[*sdk.DeleteRoleOutput](t)(c.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: name}))
}

func TestPolicyLife(t *testing.T) {
	c, _ := start(t)
	ctx := deadline(t)
	made := must[*sdk.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &sdk.CreatePolicyInput{
		PolicyName: aws.String("reads"), PolicyDocument: aws.String(reads), Description: aws.String("reads"),
	})).Policy
	arn := made.Arn
	if *arn != "arn:aws:iam::000000000000:policy/reads" || *made.DefaultVersionId != "v1" || !made.IsAttachable || made.Description != nil {
		t.Errorf("made is %+v", made)
	}
	second := strings.Replace(reads, "s3:Get*", "s3:Put*", 1)
	v := must[*sdk.CreatePolicyVersionOutput](t)(c.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: &second, SetAsDefault: true})).PolicyVersion
	if *v.VersionId != "v2" || !v.IsDefaultVersion || v.Document != nil {
		t.Errorf("the version is %+v", v)
	}
	got := must[*sdk.GetPolicyVersionOutput](t)(c.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})).PolicyVersion
	if plain(t, got.Document) != reads || got.IsDefaultVersion {
		t.Errorf("version 1 is %+v", got)
	}
	must[*sdk.SetDefaultPolicyVersionOutput](t)(c.SetDefaultPolicyVersion(ctx, &sdk.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")}))
	must[*sdk.CreateRoleOutput](t)(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trust), PermissionsBoundary: arn}))
	must[*sdk.AttachRolePolicyOutput](t)(c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: arn}))
	all := must[*sdk.ListPoliciesOutput](t)(c.ListPolicies(ctx, &sdk.ListPoliciesInput{OnlyAttached: true})).Policies
	if len(all) != 1 || *all[0].Arn != *arn || *all[0].AttachmentCount != 1 || *all[0].PermissionsBoundaryUsageCount != 1 || *all[0].DefaultVersionId != "v1" {
		t.Errorf("attached are %+v", all)
	}
	users := must[*sdk.ListEntitiesForPolicyOutput](t)(c.ListEntitiesForPolicy(ctx, &sdk.ListEntitiesForPolicyInput{PolicyArn: arn}))
	if len(users.PolicyRoles) != 1 || *users.PolicyRoles[0].RoleName != "r" {
		t.Errorf("users are %+v", users)
	}
	own := must[*sdk.GetPolicyVersionOutput](t)(c.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: aws.String(basic), VersionId: aws.String("v1")}))
	if !strings.Contains(plain(t, own.PolicyVersion.Document), "logs:PutLogEvents") {
		t.Errorf("AWS's own is %s", plain(t, own.PolicyVersion.Document))
	}
}

// Lists come in pages, which together are the list.
func TestPages(t *testing.T) {
	c, other := start(t)
	ctx := deadline(t)
	for i := range 5 {
		must[*sdk.CreateRoleOutput](t)(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: aws.String(fmt.Sprint("r", i)), AssumeRolePolicyDocument: aws.String(trust)}))
	}
	var names []string
	pages := sdk.NewListRolesPaginator(c, &sdk.ListRolesInput{MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		out := must[*sdk.ListRolesOutput](t)(pages.NextPage(ctx))
		if len(out.Roles) > 2 {
			t.Errorf("a page has %d", len(out.Roles))
		}
		for _, r := range out.Roles {
			names = append(names, *r.RoleName)
		}
	}
	if fmt.Sprint(names) != "[r0 r1 r2 r3 r4]" {
		t.Errorf("the pages are %v", names)
	}
	if out := must[*sdk.ListRolesOutput](t)(other.ListRoles(ctx, nil)); len(out.Roles) != 0 || out.Roles == nil {
		t.Errorf("another namespace sees %v", out.Roles)
	}
	if _, err := other.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("r0")}); !strings.Contains(fmt.Sprint(err), "NoSuchEntity") {
		t.Errorf("another namespace gets %v", err)
	}
}

// What AWS was recorded to answer.
func TestRefusals(t *testing.T) {
	c, _ := start(t)
	ctx := deadline(t)
	role, absent := aws.String("there"), aws.String("absent")
	must[*sdk.CreateRoleOutput](t)(c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: role, AssumeRolePolicyDocument: aws.String(trust)}))
	must[*sdk.PutRolePolicyOutput](t)(c.PutRolePolicy(ctx, &sdk.PutRolePolicyInput{RoleName: role, PolicyName: aws.String("in"), PolicyDocument: aws.String(reads)}))
	own := must[*sdk.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("own"), PolicyDocument: aws.String(reads)})).Policy.Arn
	gone := aws.String("arn:aws:iam::000000000000:policy/gone")
	for want, call := range map[string]func() error{
		"404 NoSuchEntity: The role with name absent cannot be found.": func() error {
			_, err := c.GetRole(ctx, &sdk.GetRoleInput{RoleName: absent})
			return err
		},
		"404 NoSuchEntity: The role with name There cannot be found.": func() error {
			_, err := c.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("There")})
			return err
		},
		"409 EntityAlreadyExists: Role with name THERE already exists.": func() error {
			_, err := c.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: aws.String("THERE"), AssumeRolePolicyDocument: aws.String(trust)})
			return err
		},
		"409 EntityAlreadyExists: A policy called own already exists. Duplicate names are not allowed.": func() error {
			_, err := c.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("own"), PolicyDocument: aws.String(reads)})
			return err
		},
		"409 DeleteConflict: Cannot delete entity, must delete policies first.": func() error {
			_, err := c.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: role})
			return err
		},
		"400 MalformedPolicyDocument: This policy contains invalid Json": func() error {
			_, err := c.UpdateAssumeRolePolicy(ctx, &sdk.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: aws.String("no")})
			return err
		},
		"400 MalformedPolicyDocument: Syntax errors in policy.": func() error {
			_, err := c.PutRolePolicy(ctx, &sdk.PutRolePolicyInput{RoleName: role, PolicyName: aws.String("x"), PolicyDocument: aws.String("no")})
			return err
		},
		"404 NoSuchEntity: The role policy with name absent cannot be found.": func() error {
			_, err := c.GetRolePolicy(ctx, &sdk.GetRolePolicyInput{RoleName: role, PolicyName: absent})
			return err
		},
		"400 ValidationError: ARN longenoughbutnoarnatall is not valid.": func() error {
			_, err := c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: role, PolicyArn: aws.String("longenoughbutnoarnatall")})
			return err
		},
		"404 NoSuchEntity: Policy " + *gone + " does not exist or is not attachable.": func() error {
			_, err := c.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: role, PolicyArn: gone})
			return err
		},
		"404 NoSuchEntity: Policy " + *own + " was not found.": func() error {
			_, err := c.DetachRolePolicy(ctx, &sdk.DetachRolePolicyInput{RoleName: role, PolicyArn: own})
			return err
		},
		"404 NoSuchEntity: Scope ARN: " + *gone + " does not exist or is not attachable.": func() error {
			_, err := c.PutRolePermissionsBoundary(ctx, &sdk.PutRolePermissionsBoundaryInput{RoleName: role, PermissionsBoundary: gone})
			return err
		},
		"400 InvalidInput: ARN arn:aws:iam::000000000000:other/x is not valid.": func() error {
			_, err := c.PutRolePermissionsBoundary(ctx, &sdk.PutRolePermissionsBoundaryInput{RoleName: role, PermissionsBoundary: aws.String("arn:aws:iam::000000000000:other/x")})
			return err
		},
		"409 DeleteConflict: Cannot delete the default version of a policy.": func() error {
			_, err := c.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyArn: own, VersionId: aws.String("v1")})
			return err
		},
		"404 NoSuchEntity: Policy " + *gone + " version v1 does not exist or is not attachable.": func() error {
			_, err := c.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: gone, VersionId: aws.String("v1")})
			return err
		},
		`400 ValidationError: 1 validation error detected: Value at 'versionId' failed to satisfy constraint: Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`: func() error {
			_, err := c.SetDefaultPolicyVersion(ctx, &sdk.SetDefaultPolicyVersionInput{PolicyArn: own, VersionId: aws.String("1")})
			return err
		},
		"400 InvalidInput: Duplicate tag keys found. Please note that Tag keys are case insensitive.": func() error {
			_, err := c.TagRole(ctx, &sdk.TagRoleInput{RoleName: role, Tags: []types.Tag{{Key: aws.String("a"), Value: role}, {Key: aws.String("A"), Value: role}}})
			return err
		},
		"400 ValidationError: 1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50": func() error {
			var tags []types.Tag
			for i := range 51 {
				tags = append(tags, types.Tag{Key: aws.String(fmt.Sprint(i)), Value: role})
			}
			_, err := c.TagPolicy(ctx, &sdk.TagPolicyInput{PolicyArn: own, Tags: tags})
			return err
		},
		"501 NotImplemented: iam:CreateUser is not implemented by lambent yet": func() error {
			_, err := c.CreateUser(ctx, &sdk.CreateUserInput{UserName: role})
			return err
		},
	} {
		err := call()
		var api smithy.APIError
		var status interface{ HTTPStatusCode() int }
		if !errors.As(err, &api) || !errors.As(err, &status) {
			t.Errorf("have %v, want %s", err, want)
			continue
		}
		if got := fmt.Sprintf("%d %s: %s", status.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage()); got != want {
			t.Errorf("have %s\nwant %s", got, want)
		}
	}
}

func TestAccount(t *testing.T) {
	c, _ := start(t)
	ctx := deadline(t)
	if u := must[*sdk.GetUserOutput](t)(c.GetUser(ctx, nil)).User; *u.Arn != "arn:aws:iam::000000000000:root" || *u.UserId != "000000000000" {
		t.Errorf("the user is %+v", u)
	}
	if out := must[*sdk.ListAccountAliasesOutput](t)(c.ListAccountAliases(ctx, nil)); len(out.AccountAliases) != 0 {
		t.Errorf("the aliases are %v", out.AccountAliases)
	}
}
