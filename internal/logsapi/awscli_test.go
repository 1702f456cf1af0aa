package logsapi

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lambent.dev/lambent/internal/auth"
)

// aws makes a call of the AWS CLI against the server, as a user would.
func (s server) aws(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the AWS CLI is not installed")
	}
	key := s.keys.Default()
	cmd := exec.CommandContext(ctx, path, append([]string{"--endpoint-url", s.url, "logs"}, args...)...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+key.Access, "AWS_SECRET_ACCESS_KEY="+key.Secret, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_CONFIG_FILE="+filepath.Join(t.TempDir(), "none"), "AWS_PAGER=", "AWS_DISABLE_HOST_PREFIX_INJECTION=true", "AWS_EC2_METADATA_DISABLED=true")
	cmd.Stderr = os.Stderr
	return cmd
}

// canTail tells whether this AWS CLI has "logs tail", which came with version 2.
func (s server) canTail(ctx context.Context, t *testing.T) bool {
	t.Helper()
	cmd := s.aws(ctx, t)
	cmd.Args = []string{cmd.Path, "--version"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.HasPrefix(string(out), "aws-cli/2")
}

func TestAWSCLI(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI several times")
	}
	s := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tails := s.canTail(ctx, t)
	defer cancel()
	st := s.store.Open(auth.DefaultAccount, group, streamA)
	now := time.Now()
	st.WriteLine(now.Add(-2*time.Hour), []byte("old line"))
	st.WriteLine(now, []byte("ERROR new line"))
	for _, c := range []struct {
		args []string
		want string
		not  string
	}{
		{[]string{"describe-log-groups", "--output", "text", "--query", "logGroups[].logGroupName"}, group + "\n", ""},
		{[]string{"describe-log-streams", "--log-group-name", group, "--output", "text", "--query", "logStreams[].logStreamName"}, streamA + "\n", ""},
		{[]string{"filter-log-events", "--log-group-name", group, "--filter-pattern", "ERROR", "--output", "text", "--query", "events[].message"}, "ERROR new line\n", "old"},
		{[]string{"get-log-events", "--log-group-name", group, "--log-stream-name", streamA, "--start-from-head", "--output", "text", "--query", "events[].message"}, "old line\n", ""},
		{[]string{"create-log-stream", "--log-group-name", group, "--log-stream-name", "mine"}, "", "x"},
		{[]string{"put-log-events", "--log-group-name", group, "--log-stream-name", "mine", "--log-events", fmt.Sprintf("timestamp=%d,message=put", now.UnixMilli())}, "nextSequenceToken", "rejected"},
		{[]string{"get-log-events", "--log-group-name", group, "--log-stream-name", "mine", "--output", "text", "--query", "events[].message"}, "put\n", ""},
		{[]string{"tail", group, "--since", "10m", "--format", "short"}, "ERROR new line\n", "old"},
		{[]string{"tail", group, "--since", "1d"}, streamA + " old line\n", ""},
	} {
		if c.args[0] == "tail" && !tails {
			continue
		}
		out, err := s.aws(ctx, t, c.args...).Output()
		if err != nil || !strings.Contains(string(out), c.want) || c.not != "" && strings.Contains(string(out), c.not) {
			t.Errorf("aws logs %s: %q, error %v", strings.Join(c.args, " "), out, err)
		}
	}
}

func TestAWSCLIFollows(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the AWS CLI to ask again")
	}
	s := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	if !s.canTail(ctx, t) {
		t.Skip("this AWS CLI has no logs tail")
	}
	st := s.store.Open(auth.DefaultAccount, group, streamA)
	st.WriteLine(time.Now(), []byte("first"))
	cmd := s.aws(ctx, t, "tail", group, "--follow", "--format", "short")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "PYTHONUNBUFFERED=1")
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), "second\n") {
		n, err := out.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			break
		}
		if strings.Contains(got.String(), "first\n") {
			st.WriteLine(time.Now(), []byte("second"))
		}
	}
	if strings.Count(got.String(), "first\n") != 1 || !strings.Contains(got.String(), "second\n") {
		t.Errorf("output %q", got.String())
	}
	cancel()
	_ = cmd.Wait() // it was killed
}

func TestAWSCLITailsLive(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the AWS CLI to ask")
	}
	s := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	if out, _ := s.aws(ctx, t, "help").Output(); !strings.Contains(string(out), "start-live-tail") {
		t.Skip("this AWS CLI has no logs start-live-tail")
	}
	st := s.store.Open(auth.DefaultAccount, group, streamA)
	st.WriteLine(time.Now(), []byte("before"))
	cmd := s.aws(ctx, t, "start-live-tail", "--log-group-identifiers", "arn:aws:logs:us-east-1:000000000000:log-group:"+group)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "PYTHONUNBUFFERED=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writing, stop := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() {
		for ; writing.Err() == nil; time.Sleep(100 * time.Millisecond) {
			st.WriteLine(time.Now(), []byte("line of a function"))
		}
	})
	var got strings.Builder
	buf := make([]byte, 4096)
	for err = nil; err == nil && !strings.Contains(got.String(), "line of a function\n"); {
		var n int
		n, err = out.Read(buf)
		got.Write(buf[:n])
	}
	stop()
	writer.Wait()
	cancel()
	_ = cmd.Wait() // it was killed
	if strings.Contains(got.String(), "before") || !strings.Contains(got.String(), "line of a function\n") {
		t.Errorf("output %q", got.String())
	}
}
