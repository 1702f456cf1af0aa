package lambent_test

import (
	"strings"
	"testing"

	"lambent.dev/lambent"
)

func TestParseFunctionName(t *testing.T) {
	long := strings.Repeat("a", 65)
	for _, tt := range []struct {
		in     string
		want   lambent.FunctionRef
		reason string
	}{
		{in: "hello", want: lambent.FunctionRef{Name: "hello"}},
		{in: "hello_2-x", want: lambent.FunctionRef{Name: "hello_2-x"}},
		{in: "hello:7", want: lambent.FunctionRef{Name: "hello", Qualifier: "7"}},
		{in: "hello:live", want: lambent.FunctionRef{Name: "hello", Qualifier: "live"}},
		{in: "hello:$LATEST", want: lambent.FunctionRef{Name: "hello", Qualifier: "$LATEST"}},
		{in: "function:hello", want: lambent.FunctionRef{Name: "hello"}},
		{in: "function", want: lambent.FunctionRef{Name: "function"}},
		{in: "111111111111:function:hello", want: lambent.FunctionRef{Account: "111111111111", Name: "hello"}},
		{in: "111111111111:hello:9", want: lambent.FunctionRef{Account: "111111111111", Name: "hello", Qualifier: "9"}},
		{in: "111111111111", want: lambent.FunctionRef{Name: "111111111111"}},
		{
			in:   "arn:aws:lambda:us-east-1:111111111111:function:hello",
			want: lambent.FunctionRef{Region: "us-east-1", Account: "111111111111", Name: "hello"},
		},
		{
			in:   "arn:aws:lambda:us-east-1:111111111111:function:hello:live",
			want: lambent.FunctionRef{Region: "us-east-1", Account: "111111111111", Name: "hello", Qualifier: "live"},
		},
		{in: "arn:aws-us-gov:lambda:us-gov-west-1:111111111111:function:hello", reason: "WrongRegion"},
		{in: "arn:aws:lambda:eu-central-1:111111111111:function:hello", reason: "WrongRegion"},
		{in: "arn:aws:lambda:invalid-region:111111111111:function:hello", reason: "InvalidName"},
		{in: "arn:aws:lambda::111111111111:function:hello", reason: "InvalidName"},
		{in: "arn:aws:lambda:us-east-1:function:hello:a:b", reason: "InvalidName"},
		{in: "arn:aws:ec2:us-east-1:111111111111:instance:i-1", reason: "InvalidName"},
		{in: "hello:$latest", reason: "InvalidName"},
		{in: "hello:$LATEST:extra", reason: "InvalidName"},
		{in: "", reason: "InvalidName"},
		{in: "*", reason: "InvalidName"},
		{in: "../x", reason: "InvalidName"},
		{in: "hello\n", reason: "InvalidName"},
		{in: "h\u00e9llo", reason: "InvalidName"},
		{in: long, reason: "NameTooLong"},
		{in: "111111111111:function:" + long, reason: "NameTooLong"},
	} {
		got, err := lambent.ParseFunctionName(tt.in, "us-east-1")
		if lambent.ReasonOf(err) != tt.reason || (err == nil) != (tt.reason == "") {
			t.Errorf("ParseFunctionName(%q) error = %v, want reason %q", tt.in, err, tt.reason)
		}
		if got != tt.want {
			t.Errorf("ParseFunctionName(%q) = %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestParseFunctionNameOtherRegion(t *testing.T) {
	_, err := lambent.ParseFunctionName("arn:aws:lambda:ap-southeast-1:111111111111:function:f", "us-east-1")
	want := "Functions from 'ap-southeast-1' are not reachable in this region ('us-east-1')"
	if lambent.CodeOf(err) != lambent.CodeNotFound || err.Error() != want {
		t.Errorf("error = %v (%s), want not_found %q", err, lambent.CodeOf(err), want)
	}
	if _, err := lambent.ParseFunctionName("arn:aws:lambda:ap-southeast-1:111111111111:function:f", ""); err != nil {
		t.Errorf("no region to compare with: %v", err)
	}
}

func TestParseLayer(t *testing.T) {
	const arn = "arn:aws:lambda:us-east-1:111111111111:layer:deps"
	for in, want := range map[string]lambent.LayerName{
		arn:         {Region: "us-east-1", Account: "111111111111", Name: "deps"},
		arn + ":12": {Region: "us-east-1", Account: "111111111111", Name: "deps", Version: 12},
		"deps":      {Name: "deps"},
	} {
		if got, err := lambent.ParseLayerName(in); err != nil || got != want {
			t.Errorf("ParseLayerName(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "deps:1", arn + ":0", arn + ":x", arn + ":1:2", arn + ":99999999999999999999", "arn:aws:lambda:us-east-1:1:layer:deps"} {
		if got, err := lambent.ParseLayerName(in); lambent.CodeOf(err) != lambent.CodeInvalid {
			t.Errorf("ParseLayerName(%q) = %+v, %v, want an invalid error", in, got, err)
		}
	}
	if _, err := lambent.ParseLayerARN("deps"); err == nil {
		t.Error("ParseLayerARN takes a bare name")
	}
}

func TestCodeSHA256(t *testing.T) {
	const empty = lambent.Digest("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	if got := empty.CodeSHA256(); got != "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" {
		t.Errorf("CodeSHA256 = %q", got)
	}
	if got := lambent.Digest("zz").CodeSHA256(); got != "" {
		t.Errorf("CodeSHA256 of no digest = %q", got)
	}
}

func FuzzParseFunctionName(f *testing.F) {
	f.Add("hello:live", "us-east-1")
	f.Fuzz(func(t *testing.T, s, region string) {
		ref, err := lambent.ParseFunctionName(s, region)
		if err != nil {
			if ref != (lambent.FunctionRef{}) {
				t.Fatalf("%q: a result %+v with the error %v", s, ref, err)
			}
			return
		}
		if !lambent.ValidName(ref.Name) || len(ref.Name) > lambent.MaxFunctionName {
			t.Fatalf("%q: accepted the name %q", s, ref.Name)
		}
		if region != "" && ref.Region != "" && ref.Region != region {
			t.Fatalf("%q: accepted the region %q in %q", s, ref.Region, region)
		}
		if ref.Account == "" || ref.Region == "" {
			return
		}
		again, err := lambent.ParseFunctionName(lambent.FunctionARN(ref.Region, ref.Account, ref.Name, ref.Qualifier), region)
		if err != nil || again != ref {
			t.Fatalf("%q: built and parsed again %+v, %v, want %+v", s, again, err, ref)
		}
	})
}

func FuzzParseLayerName(f *testing.F) {
	f.Add("arn:aws:lambda:us-east-1:111111111111:layer:deps:3")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := lambent.ParseLayerName(s)
		if err != nil {
			return
		}
		if !lambent.ValidName(l.Name) || l.Version < 0 {
			t.Fatalf("%q: accepted %+v", s, l)
		}
		if l.Account == "" {
			return
		}
		again, err := lambent.ParseLayerARN(lambent.LayerARN(l.Region, l.Account, l.Name, l.Version))
		if err != nil || again != l {
			t.Fatalf("%q: built and parsed again %+v, %v, want %+v", s, again, err, l)
		}
	})
}
