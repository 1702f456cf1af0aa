package logsapi

import (
	"net/http"
	"strings"

	"lambent.dev/lambent/internal/auth"
)

// Operation names what a request asks for; "" when it is none of this API's.
func Operation(r *http.Request) string {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
	if !ok {
		return ""
	}
	return name
}

// Resource is the ARN of what a request of a namespace is about, for who decides
// whether its caller may do that; "*" where it names no log group, or not just one.
// As on AWS, all that is done with a group but to tag it is done with its streams.
func Resource(r *http.Request, region, namespace string) string {
	var in struct {
		reference
		ResourceARN   string `json:"resourceArn"`
		LogStreamName string `json:"logStreamName"`
		// Of StartLiveTail, which names them all so.
		LogGroupIdentifiers []string `json:"logGroupIdentifiers"`
	}
	body, err := auth.Body(r)
	if err != nil || decode(body, &in) != nil || Operation(r) == "DescribeLogGroups" {
		return "*"
	}
	c := caller{namespace, region}
	switch {
	case Operation(r) == "StartLiveTail": // which looks at no other names
		if len(in.LogGroupIdentifiers) != 1 {
			return "*"
		}
		return c.groupARN(groupName(in.LogGroupIdentifiers[0]))
	case in.ResourceARN != "":
		if in.reference != (reference{}) {
			return "*"
		}
		return c.groupARN(groupName(in.ResourceARN))
	}
	name, err := in.name()
	if err != nil { // the operation says so
		return "*"
	}
	stream := in.LogStreamName
	switch Operation(r) {
	case "CreateLogStream", "GetLogEvents", "PutLogEvents":
	default: // it is about them all
		stream = ""
	}
	return c.groupARN(name) + ":log-stream:" + stream
}
