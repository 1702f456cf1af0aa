package event

import (
	"slices"
	"strings"
)

// AppendALB appends the event of an Application Load Balancer (Elastic Load
// Balancing user guide, "Lambda functions as targets"). Parameters stay as they
// were written, and headers are in lower case. Its answers are read by [ParseV1].
func AppendALB(b []byte, r *Request) []byte {
	b = member(b, `{"requestContext":{"elb":{"targetGroupArn":`, r.TargetGroup)
	b = member(b, `}},"httpMethod":`, r.Method)
	b = member(b, `,"path":`, r.Path)
	b = append(b, `,"queryStringParameters":`...)
	b = appendFields(b, queryALB(r.Query))
	b = append(b, `,"headers":`...)
	fields := make([]Field, 0, len(r.Header)+5)
	for _, l := range headersV1(r) {
		fields = append(fields, Field{strings.ToLower(l.name), strings.Join(l.values, separator(l.name))})
	}
	b = appendFields(b, fields)
	return append(appendWholeBody(b, r, `""`), '}')
}

func separator(header string) string {
	if header == "Cookie" {
		return "; "
	}
	return ", "
}

// queryALB keeps the last value of each name, and the order of the names.
func queryALB(query string) []Field {
	var out []Field
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		if i := slices.IndexFunc(out, func(f Field) bool { return f.Name == name }); i >= 0 {
			out[i].Value = value
			continue
		}
		out = append(out, Field{name, value})
	}
	return out
}
