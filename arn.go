package lambent

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
)

// FunctionRef is a function as a caller named it. Account, Region and Qualifier
// are "" where the form did not carry them.
type FunctionRef struct {
	Account   string
	Region    string
	Name      string
	Qualifier string // version number, alias or [Latest]
}

// LayerName is a layer or a layer version as a caller named it. Account and
// Region are "" for a bare name, Version is 0 for a layer without one.
type LayerName struct {
	Account string
	Region  string
	Name    string
	Version int
}

// MaxFunctionName is the longest function name, and the longest layer name is
// [MaxLayerName], in characters (AWS Lambda API reference, CreateFunction and
// PublishLayerVersion).
const (
	MaxFunctionName = 64
	MaxLayerName    = 140
)

// The pieces that the patterns of the AWS Lambda API model are made of.
const (
	partitionPattern = `aws[a-zA-Z-]*`
	regionPattern    = `(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d`
	namePattern      = `[a-zA-Z0-9-_]+`
)

var (
	// functionForms is the FunctionName pattern of the AWS Lambda API model,
	// which all of name, name:qualifier, partial and full ARN match.
	functionForms = regexp.MustCompile(`^(?:arn:(?:` + partitionPattern + `)?:lambda:)?(?:(` + regionPattern + `):)?(?:(\d{12}):)?(?:function:)?(` +
		namePattern + `)(?::(\$LATEST(?:\.PUBLISHED)?|` + namePattern + `))?$`)
	layerForms = regexp.MustCompile(`^arn:(?:` + partitionPattern + `)?:lambda:(` + regionPattern + `):(\d{12}):layer:(` +
		namePattern + `)(?::([0-9]+))?$`)
)

// ParseFunctionName takes apart a function name in any of the forms that the
// AWS Lambda API accepts: name, name:qualifier, account:function:name and
// arn:aws:lambda:region:account:function:name, the latter two with or without
// a qualifier. A name that fits no form gives CodeInvalid with the reason
// "InvalidName", one that is too long CodeInvalid with "NameTooLong", and an
// ARN of another region than the given one CodeNotFound with "WrongRegion"; an
// empty region accepts all. Whether the account is the caller's is for the
// caller's door to check.
func ParseFunctionName(s, region string) (FunctionRef, error) {
	if ValidName(s) && len(s) <= MaxFunctionName { // nearly every call, so without the pattern
		return FunctionRef{Name: s}, nil
	}
	m := functionForms.FindStringSubmatch(s)
	if m == nil {
		return FunctionRef{}, Errorf(CodeInvalid, "Value '%s' at 'functionName' is not a function name or ARN", s).WithReason("InvalidName")
	}
	ref := FunctionRef{Region: m[1], Account: m[2], Name: m[3], Qualifier: m[4]}
	if len(ref.Name) > MaxFunctionName {
		return FunctionRef{}, Errorf(CodeInvalid, "1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: "+
			"Member must have length less than or equal to %d", ref.Name, MaxFunctionName).WithReason("NameTooLong")
	}
	if region != "" && ref.Region != "" && ref.Region != region {
		return FunctionRef{}, Errorf(CodeNotFound, "Functions from '%s' are not reachable in this region ('%s')", ref.Region, region).WithReason("WrongRegion")
	}
	return ref, nil
}

// ParseLayerARN takes apart the ARN of a layer or of a layer version. Anything
// else gives CodeInvalid with the reason "InvalidName".
func ParseLayerARN(s string) (LayerName, error) {
	m := layerForms.FindStringSubmatch(s)
	if m == nil {
		return LayerName{}, invalidLayer(s)
	}
	l := LayerName{Region: m[1], Account: m[2], Name: m[3]}
	if m[4] != "" {
		n, err := strconv.ParseInt(m[4], 10, 32)
		if err != nil || n < 1 {
			return LayerName{}, invalidLayer(s)
		}
		l.Version = int(n)
	}
	if len(l.Name) > MaxLayerName {
		return LayerName{}, invalidLayer(s)
	}
	return l, nil
}

// ParseLayerName is [ParseLayerARN] that takes a bare layer name too.
func ParseLayerName(s string) (LayerName, error) {
	if ValidName(s) && len(s) <= MaxLayerName {
		return LayerName{Name: s}, nil
	}
	return ParseLayerARN(s)
}

func invalidLayer(s string) *Error {
	return Errorf(CodeInvalid, "Value '%s' is not a layer name or ARN", s).WithReason("InvalidName")
}

// ValidName tells whether s is made of the characters that the names of
// functions, aliases and layers have: ASCII letters, digits, "-" and "_".
func ValidName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != ""
}

// FunctionARN is the ARN of a function, and of a version or alias of it unless
// qualifier is "".
func FunctionARN(region, account, name, qualifier string) string {
	arn := "arn:aws:lambda:" + region + ":" + account + ":function:" + name
	if qualifier != "" {
		arn += ":" + qualifier
	}
	return arn
}

// LayerARN is the ARN of a layer, and of a version of it unless number is 0.
func LayerARN(region, account, name string, number int) string {
	arn := "arn:aws:lambda:" + region + ":" + account + ":layer:" + name
	if number != 0 {
		arn += ":" + strconv.Itoa(number)
	}
	return arn
}

// ARN is the alias's ARN.
func (a *Alias) ARN(region string) string {
	return FunctionARN(region, a.Namespace, a.Function, a.Name)
}

// LayerARN is the ARN of the layer without the version.
func (l *LayerVersion) LayerARN(region string) string {
	return LayerARN(region, l.Namespace, l.Name, 0)
}

// ARN is the ARN of the layer version.
func (l *LayerVersion) ARN(region string) string {
	return LayerARN(region, l.Namespace, l.Name, l.Number)
}

// CodeSHA256 is the digest as AWS shows it: in base64. It is "" for what is not
// a digest.
func (d Digest) CodeSHA256() string {
	raw, err := hex.DecodeString(strings.TrimSpace(string(d)))
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// DefaultRole is the ARN of the role of functions that name none.
func DefaultRole(namespace string) string { return "arn:aws:iam::" + namespace + ":role/lambent" }
