package policy

import (
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
)

// one is a document of one statement.
func one(members string) string {
	return `{"Version":"2012-10-17","Statement":{` + members + `}}`
}

const (
	bucket   = `"Resource":"arn:aws:s3:::b"`
	allowGet = `"Effect":"Allow","Action":"s3:Get",`
)

// What AWS was recorded to answer, and which fault it tells of where there are two.
func TestMalformed(t *testing.T) {
	const (
		version = "Policy document must be version 2012-10-17 or greater."
		legacy  = "The policy failed legacy parsing"
		vendor  = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
		colon   = "Actions/Condition can contain only one colon."
		actions = "Policy statement must contain actions."
		none    = "Policy statement must contain resources."
	)
	for text, want := range map[string]string{
		``:                         syntax,
		`null`:                     syntax,
		`[]`:                       syntax,
		`not JSON`:                 syntax,
		`{"Version":"2012-10-17"}`: syntax,
		`{"Version":"2012-10-17","Statement":[]}`:                                                                   syntax,
		`{"Version":"2012-10-17","Statement":["x"]}`:                                                                syntax,
		`{"Version":"2013-10-17","Statement":{` + allowGet + bucket + `}}`:                                          syntax,
		`{"Version":"2012-10-17","More":1,"Statement":{` + allowGet + bucket + `}}`:                                 syntax,
		`{"Version":"2012-10-17","Id":["x"],"Statement":{` + allowGet + bucket + `}}`:                               syntax,
		`{"Statement":{` + allowGet + bucket + `}}`:                                                                 version,
		`{"Version":"2008-10-17","Statement":{` + allowGet + bucket + `}}`:                                          version,
		`{"Statement":{"Effect":"denY","Action":"s3:Get",` + bucket + `}}`:                                          version,
		one(allowGet + bucket + `,"More":1`):                                                                        syntax,
		one(allowGet + bucket + `,"Sid":{}`):                                                                        syntax,
		one(`"Effect":"perhaps","Action":"s3:Get",` + bucket):                                                       syntax,
		one(`"Action":"s3:Get",` + bucket):                                                                          syntax,
		one(allowGet + `"Resource":{}`):                                                                             syntax,
		one(allowGet + `"Resource":["arn:aws:s3:::b",{}]`):                                                          syntax,
		one(allowGet + bucket + `,"NotResource":[]`):                                                                syntax,
		one(allowGet + bucket + `,"NotAction":"s3:Put"`):                                                            syntax,
		one(`"Effect":"Allow","Action":[[]],` + bucket):                                                             syntax,
		one(allowGet + bucket + `,"Condition":[]`):                                                                  syntax,
		one(allowGet + bucket + `,"Condition":{"a":"b"}`):                                                           syntax,
		one(allowGet + bucket + `,"Condition":{"a":{"b":"c"}}`):                                                     syntax,
		one(allowGet + bucket + `,"Condition":{"DateLessThan":{"a":{}}}`):                                           syntax,
		one(allowGet + bucket + `,"Condition":{"ForAnyValue::StringEquals":{"a":""}}`):                              syntax,
		one(`"Effect":"denY","Action":"s3:Get",` + bucket):                                                          legacy,
		one(allowGet + bucket + `,"Condition":{"DateLessThan":{"a":"soon"}}`):                                       legacy,
		one(allowGet + `"Resource":"arn:aws:s3::b"`):                                                                legacy,
		one(allowGet + `"Resource":"arn:aws::b"`):                                                                   legacy,
		one(`"Effect":"Allow","Resource":"arn:aws:s3::b"`):                                                          legacy,
		`{"Version":"2012-10-17","Statement":[{"Sid":"a",` + allowGet + bucket + `},{"Sid":"a","Effect":"Allow"}]}`: "Statement IDs (SID) in a single policy must be unique.",
		one(`"Effect":"Allow"`):                                                                                     actions,
		one(`"Effect":"Allow","Action":[],` + bucket):                                                               actions,
		one(`"Effect":"Allow","Action":"nothing"`):                                                                  none,
		one(allowGet + `"Resource":[]`):                                                                             none,
		one(`"Effect":"Allow","NotAction":"",` + bucket):                                                            vendor,
		one(`"Effect":"Allow","Action":"a b:c",` + bucket):                                                          "Vendor a b is not valid",
		one(`"Effect":"Allow","Action":"s3:a:b",` + bucket):                                                         colon,
		one(`"Effect":"Allow","Action":"s3:a:b","Resource":"x"`):                                                    `Resource x must be in ARN format or "*".`,
		one(allowGet + `"Resource":""`):                                                                             `Resource  must be in ARN format or "*".`,
		one(allowGet + `"Resource":"aws:s3:::b"`):                                                                   `Partition "s3" is not valid for resource "arn:s3:::b:*".`,
		one(allowGet + `"Resource":"a:b"`):                                                                          `Partition "b" is not valid for resource "arn:b:*:*:*:*".`,
		one(allowGet + `"Resource":"a:b:c:d:e:f:g:h"`):                                                              `Partition "b" is not valid for resource "arn:b:c:d:e:f:g:h".`,
		one(allowGet + `"Resource":"arn:aws"`):                                                                      "Resource vendor must be fully qualified and cannot contain regexes.",
		one(allowGet + `"Resource":"arn:aws:iam:us-east-1::role/a"`):                                                "IAM resource arn:aws:iam:us-east-1::role/a cannot contain region information.",
		one(allowGet + `"Resource":"arn:aws:s3:us-east-1::b"`):                                                      "Resource arn:aws:s3:us-east-1::b can not contain region information.",
		one(allowGet + `"Resource":"arn:aws:iam:::b"`):                                                              "IAM resource path must either be",
		one(allowGet + bucket + `,"Principal":"*"`):                                                                 "Policy document should not specify a principal.",
	} {
		_, err := Parse(text)
		if lambent.ReasonOf(err) != "MalformedPolicyDocument" || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWellFormed(t *testing.T) {
	for _, members := range []string{
		allowGet + `"Resource":["arn:aws:s3:::b","*"]`,
		allowGet + `"Resource":"arn:aws:short"`,
		allowGet + `"Resource":"arn:aws:iam:::user/b"`,
		allowGet + `"Resource":"arn:aws:unknown:us-east-1::b"`,
		allowGet + bucket + `,"Condition":{}`,
		allowGet + bucket + `,"Condition":{"a":{}}`,
		allowGet + bucket + `,"Condition":{"DateLessThan":{"a":[]}}`,
		allowGet + bucket + `,"Condition":{"ForAnyValue:StringEqualsIfExists":{"a":"b"},"Bool":{"c":true},"NumericEquals":{"d":1}}`,
		allowGet + bucket + `,"Condition":{"DateLessThanEquals":{"a":"2019-07-01T13:20:15Z","b":"2019-07","c":1700000000}}`,
		`"Effect":"Deny","NotAction":"s3:Get","NotResource":"*"`,
		`"Effect":"Allow","Action":"*",` + bucket,
		`"Effect":"Allow","Action":"a-b.c: with space",` + bucket,
	} {
		if _, err := Parse(one(members)); err != nil {
			t.Errorf("%s: %v", members, err)
		}
	}
}

const function = "arn:aws:lambda:us-east-1:000000000000:function:f"

func request() *Request {
	return &Request{
		Action: "lambda:InvokeFunction", Resource: function, Region: "us-east-1", Account: "000000000000",
		Principal: "arn:aws:iam::000000000000:role/r", Tags: map[string]string{"Team": "blue"}, Now: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC),
	}
}

func TestDecide(t *testing.T) {
	const (
		invoke = `"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":`
		deny   = `"Effect":"Deny","Action":"lambda:*","Resource":`
	)
	for members, want := range map[string]Verdict{
		invoke + `"*"`:                  Allowed,
		deny + `"*"`:                    Denied,
		invoke + `"` + function + `"`:   Allowed,
		invoke + `"` + function + `:*"`: Silent,
		invoke + `["arn:aws:s3:::b","arn:aws:lambda:*:*:function:?"]`:                                                                             Allowed,
		invoke + `"arn:aws:lambda:us-*"`:                                                                                                          Allowed, // the rest is any
		invoke + `"arn:aws:lambda:*:f"`:                                                                                                           Silent,  // a wildcard stays in its part
		invoke + `"arn:aws:lambda:eu-west-1:000000000000:function:f"`:                                                                             Silent,
		invoke + `"arn:aws:lambda:us-east-1:000000000000:function:F"`:                                                                             Silent,
		invoke + `"arn:aws:lambda:us-east-1:000000000000:function:${aws:username}"`:                                                               Silent,
		deny + `"arn:aws:lambda:us-east-1:000000000000:function:${aws:username}"`:                                                                 Denied,
		`"Effect":"Allow","Action":"LAMBDA:invoke*","Resource":"*"`:                                                                               Allowed,
		`"Effect":"Allow","Action":"lambda:Invoke?","Resource":"*"`:                                                                               Silent,
		`"Effect":"Allow","NotAction":"iam:*","Resource":"*"`:                                                                                     Allowed,
		`"Effect":"Allow","NotAction":["s3:*","lambda:*"],"Resource":"*"`:                                                                         Silent,
		`"Effect":"Deny","Action":"*","NotResource":"` + function + `"`:                                                                           Silent,
		`"Effect":"Deny","Action":"*","NotResource":"arn:aws:s3:::*"`:                                                                             Denied,
		invoke + `"*","Condition":{"StringEquals":{"aws:RequestedRegion":["eu-west-1","us-east-1"]}}`:                                             Allowed,
		invoke + `"*","Condition":{"StringEquals":{"AWS:requestedregion":"eu-west-1"}}`:                                                           Silent,
		invoke + `"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["eu-west-1"]}}`:                                                      Allowed,
		invoke + `"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":["a","us-east-1"]}}`:                                                  Silent,
		invoke + `"*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}`:                                                       Allowed,
		invoke + `"*","Condition":{"StringLike":{"aws:PrincipalTag/team":"b*"}}`:                                                                  Allowed,
		invoke + `"*","Condition":{"StringEquals":{"aws:PrincipalTag/other":"x"}}`:                                                                Silent,
		invoke + `"*","Condition":{"StringEqualsIfExists":{"aws:PrincipalTag/other":"x"}}`:                                                        Allowed,
		invoke + `"*","Condition":{"Null":{"aws:PrincipalTag/other":"true","aws:PrincipalTag/Team":false}}`:                                       Allowed,
		invoke + `"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2025-01-01"},"DateLessThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}`: Allowed,
		invoke + `"*","Condition":{"DateLessThan":{"aws:EpochTime":1700000000}}`:                                                                  Silent,
		invoke + `"*","Condition":{"StringEquals":{"aws:ResourceAccount":"000000000000","aws:PrincipalAccount":"000000000000"}}`:                  Allowed,
		// What is not understood allows nothing, and denies.
		invoke + `"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`:                                       Silent,
		invoke + `"*","Condition":{"StringNotEquals":{"aws:SourceVpc":"x"}}`:                                         Silent,
		invoke + `"*","Condition":{"ForAllValues:StringEquals":{"aws:RequestedRegion":"us-east-1"}}`:                 Silent,
		invoke + `"*","Condition":{"StringEquals":{"aws:RequestedRegion":"${aws:x}"}}`:                               Silent,
		deny + `"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}`:                                            Denied,
		deny + `"*","Condition":{"Bool":{"aws:SecureTransport":"false"},"StringEquals":{"aws:RequestedRegion":"x"}}`: Silent,
	} {
		d, err := Parse(one(members))
		if err != nil {
			t.Errorf("%s: %v", members, err)
			continue
		}
		if got := d.Decide(request()); got != want {
			t.Errorf("%s: verdict %d, want %d", members, got, want)
		}
	}
	both := `{"Version":"2012-10-17","Statement":[{` + invoke + `"*"},{` + deny + `"arn:aws:lambda:*:*:function:f"}]}`
	if d, err := Parse(both); err != nil || d.Decide(request()) != Denied {
		t.Errorf("a denial beside an allowance does not win, %v", err)
	}
	for members, want := range map[string]Verdict{
		invoke + `"*"`: Allowed, invoke + `"arn:aws:lambda:*"`: Silent, deny + `"arn:aws:lambda:*:*:function:other"`: Denied,
		`"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::*"`: Silent, `"Effect":"Deny","Action":"*","NotResource":"*"`: Denied,
	} {
		q := request()
		q.Resource = "*"
		if d, err := Parse(one(members)); err != nil || d.Decide(q) != want {
			t.Errorf("%s: of a resource that is not told, %v", members, err)
		}
	}
	if (*Document)(nil).Decide(request()) != Silent {
		t.Error("no document says something")
	}
}

func TestTrust(t *testing.T) {
	const by = `"Effect":"Allow","Action":"sts:AssumeRole","Principal":`
	for members, want := range map[string]Verdict{
		by + `{"Service":"lambda.amazonaws.com"}`:                               Allowed,
		by + `{"Service":["ec2.amazonaws.com","lambda.amazonaws.com"]}`:         Allowed,
		by + `{"Service":"ec2.amazonaws.com"}`:                                  Silent,
		by + `{"AWS":"arn:aws:iam::000000000000:root"}`:                         Silent,
		by + `{"AWS":"lambda.amazonaws.com"}`:                                   Silent,
		by + `"*"`:                                                              Allowed,
		`"Effect":"Allow","Action":"sts:TagSession","Principal":"*"`:            Silent,
		`"Effect":"Deny","Action":"sts:*","Principal":"*"`:                      Denied,
		`"Effect":"Allow","Action":"sts:AssumeRole","NotPrincipal":{"AWS":"x"}`: Silent,
		by + `"*","Condition":{"StringEquals":{"aws:SourceAccount":"000000000000"},"ArnLike":{"aws:SourceArn":"arn:aws:lambda:*:*:function:*"}}`: Allowed,
		by + `"*","Condition":{"StringEquals":{"aws:SourceAccount":"111111111111"}}`:                                                             Silent,
		by + `"*","Condition":{"StringEquals":{"sts:ExternalId":"x"}}`:                                                                           Silent,
	} {
		d, err := ParseTrust(one(members))
		if err != nil {
			t.Errorf("%s: %v", members, err)
			continue
		}
		q := request()
		q.Action, q.Resource, q.Service, q.SourceARN, q.SourceAccount = "sts:AssumeRole", "", "lambda.amazonaws.com", function, q.Account
		if got := d.Decide(q); got != want {
			t.Errorf("%s: verdict %d, want %d", members, got, want)
		}
	}
	for text, want := range map[string]string{
		"not JSON":                "This policy contains invalid Json",
		`{}`:                      syntax,
		one(by + `{}`):            "Invalid principal in policy",
		one(by + `{"Other":"x"}`): "Invalid principal in policy",
		one(`"Effect":"Allow","Action":"sts:AssumeRole"`):            "Missing required field Principal",
		one(`"Effect":"Allow","Principal":"*"`):                      "Missing required field Action",
		one(by + `"*","Resource":"*"`):                               "Has prohibited field Resource",
		one(`"Effect":"Allow","Action":"sts:Other","Principal":"*"`): "AssumeRole policy may only specify STS AssumeRole actions.",
	} {
		if _, err := ParseTrust(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"a*c", "abbc", true}, {"a*c", "abb", false},
		{"*a*b*", "xxaxxb", true}, {"*a*b*", "xxbxxa", false}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"**", "x", true}, {"a*ab", "aaab", true},
	} {
		if got := glob(c.pattern, c.text, false); got != c.want {
			t.Errorf("%q of %q is %v", c.pattern, c.text, got)
		}
	}
	if !glob("A*", "abc", true) || glob("A*", "abc", false) {
		t.Error("case is not minded as it was asked for")
	}
}

// Whatever is parsed decides without a fault, and a denial of everything beside it wins.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		one(allowGet + bucket), one(`"Effect":"Deny","NotAction":["*"],"NotResource":"arn:aws:lambda:*","Condition":{"DateLessThan":{"aws:CurrentTime":["2020",1]}}`),
		one(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":["lambda.amazonaws.com"]}`), `{"Statement":[ null , 1]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := Parse(text); err == nil {
			verdict := d.Decide(request())
			d.statements = append(d.statements, statement{deny: true, actions: []string{"*"}})
			if d.Decide(request()) != Denied {
				t.Errorf("%q: was %d, and a denial does not win", text, verdict)
			}
		} else if lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("%q: %v", text, err)
		}
		if d, err := ParseTrust(text); err == nil {
			d.Decide(request())
		}
	})
}

// The pattern of a text matches it, and what it does not hold is not matched.
func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 1000 || len(text) > 1000 {
			return
		}
		if glob(pattern, text, false) && !glob(pattern, text, true) {
			t.Error("what is matched is not matched whatever the case")
		}
		if !glob("*"+pattern+"*", pattern, false) || !glob(text+"*", text+"more", false) {
			t.Error("a text is not matched by itself")
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	d, err := Parse(one(`"Effect":"Allow","Action":["logs:*","lambda:Get*","lambda:InvokeFunction"],"Resource":["arn:aws:s3:::*","arn:aws:lambda:us-east-1:*:function:f"]`))
	if err != nil {
		b.Fatal(err)
	}
	q := request()
	b.ReportAllocs()
	for b.Loop() {
		if d.Decide(q) != Allowed {
			b.Fatal("not allowed")
		}
	}
}
