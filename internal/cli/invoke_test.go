package cli

import (
	"strings"
	"testing"

	"lambent.dev/lambent"
	"lambent.dev/lambent/internal/client"
)

// TestRefused: whoever gets AWS's two words for every limit is told which one it was,
// and what to do.
func TestRefused(t *testing.T) {
	for reason, want := range map[string]string{
		"ReservedFunctionConcurrentInvocationLimitExceeded": "`lambent set shop` shows it",
		"ConcurrentInvocationLimitExceeded":                 "`lambent scale why shop`",
		"Other":                                             "",
	} {
		was := lambent.Errorf(lambent.CodeThrottled, "Rate Exceeded.").WithReason(reason)
		err := refused(was, "shop")
		if text := err.Error(); lambent.CodeOf(err) != lambent.CodeThrottled || lambent.ReasonOf(err) != reason || !strings.HasPrefix(text, "Rate Exceeded.") ||
			!strings.Contains(text, want) || (want == "") != (text == "Rate Exceeded.") {
			t.Errorf("%s: %v", reason, err)
		}
	}
	if refused(nil, "shop") != nil {
		t.Error("nothing went wrong, and an error came of it")
	}
}

// The messages are those of the runtimes.
func TestSDKHint(t *testing.T) {
	for message, want := range map[string]string{
		"Unable to import module 'app': No module named 'boto3'":                               "lambent runtime install python3.12 --with boto3",
		"Unable to import module 'app': No module named 'botocore'":                            "requirements.txt",
		"Error: Cannot find module '@aws-sdk/client-s3'\nRequire stack:\n- /var/task/index.js": "npm install",
		"Cannot find package '@aws-sdk/client-s3' imported from /var/task/index.mjs":           "npm install",
		"cannot load such file -- aws-sdk-s3":                                                  "in a layer",
		"Unable to import module 'app': No module named 'requests'":                            "",
	} {
		got := sdkHint(&client.FunctionError{Type: "Runtime.ImportModuleError", Message: message})
		if !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q", message, got)
		}
	}
	if got := sdkHint(&client.FunctionError{Type: "KeyError", Message: "No module named 'boto3'"}); got != "" {
		t.Errorf("another failure: %q", got)
	}
}
