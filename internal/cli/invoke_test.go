package cli

import (
	"strings"
	"testing"

	"lambent.dev/lambent"
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
