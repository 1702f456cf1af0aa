package eventstream

import (
	"bytes"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// The SDK reads what is written, one message after another.
func TestSDKReads(t *testing.T) {
	var b []byte
	payloads := []string{"", "{}", string(bytes.Repeat([]byte("x"), 100_000))}
	for _, p := range payloads {
		b = Append(b, "kind", "text/plain", []byte(p))
	}
	in, d := bytes.NewReader(b), eventstream.NewDecoder()
	for _, p := range payloads {
		m, err := d.Decode(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{":event-type": "kind", ":content-type": "text/plain", ":message-type": "event"} {
			if got := m.Headers.Get(name); got == nil || got.String() != want {
				t.Errorf("%s is %v, want %s", name, got, want)
			}
		}
		if string(m.Payload) != p {
			t.Errorf("a payload of %d bytes became one of %d", len(p), len(m.Payload))
		}
	}
	if in.Len() != 0 {
		t.Errorf("%d bytes are left", in.Len())
	}
}
