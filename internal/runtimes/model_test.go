package runtimes_test

import "github.com/aws/aws-sdk-go-v2/service/lambda/types"

func modelNames() []string {
	var out []string
	for _, r := range types.Runtime("").Values() {
		out = append(out, string(r))
	}
	return out
}
