package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"lambent.dev/lambent/test/harness"
)

// TestEventsOnFullDisk fills the disk of a running server again and again while numbered
// events are sent: what cannot be kept is refused, what was acknowledged is heard of at
// its destination, and with room again all goes on by itself.
func TestEventsOnFullDisk(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const rounds, perRound = 5, 8
	s := harness.Start(t, harness.Options{Data: mount(t, "size=48m"), Args: []string{"--set", "async.pace=0.001"}})
	c := deployNumbered(t, s)
	pid, sent, refused := s.PID(), 0, 0
	acked := map[string]bool{}
	send := func() error {
		sent++
		out, err := s.Lambda().Invoke(t.Context(), &lambda.InvokeInput{
			FunctionName: aws.String("numbered"), InvocationType: types.InvocationTypeEvent,
			Payload: fmt.Appendf(nil, `{"n":%d,"pad":%q}`, sent, strings.Repeat("x", 60_000)),
		}, func(o *lambda.Options) { o.RetryMaxAttempts = 1 })
		if err == nil && out.StatusCode == http.StatusAccepted {
			acked[strconv.Itoa(sent)] = true
		}
		return err
	}
	for range rounds {
		fill := filepath.Join(s.Data, "fill")
		fillUp(t, fill)
		for range perRound {
			var fault *types.ServiceException
			var status *awshttp.ResponseError
			switch err := send(); {
			case err == nil: // the log of the database had room for it
			case errors.As(err, &fault) && errors.As(err, &status) && status.HTTPStatusCode() == http.StatusServiceUnavailable && strings.Contains(err.Error(), "disk is full"):
				refused++
			default:
				t.Fatalf("on a full disk: %v", err)
			}
		}
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
		for range perRound {
			if err := send(); err != nil {
				t.Fatalf("with room again: %v", err)
			}
		}
	}
	for deadline := time.Now().Add(time.Minute); c.missing(acked) > 0 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	lost := c.missing(acked)
	if lost > 0 || refused < rounds || s.PID() != pid {
		t.Errorf("lost %d events of %d, refused %d", lost, len(acked), refused)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	unacked, again := 0, 0
	for n, times := range c.seen {
		if again += times - 1; !acked[n] {
			unacked++
			t.Errorf("event %s was refused, and was run", n)
		}
	}
	t.Logf("filled %d times: sent %d, refused %d, acknowledged %d, delivered %d, duplicates %d, lost=%d", rounds, sent, refused, len(acked), len(c.seen)-unacked, again, lost)
}

// fillUp writes a file until its disk has no room for another block.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	_ = f.Close() // what was written last does not matter
}
