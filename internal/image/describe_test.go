package image

import "testing"

func TestSignalOf(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "SIGTERM": 15, "SIGQUIT": 3, "QUIT": 3, "sigint": 2, "28": 28, "SIGWINCH": 28, "SIGRTMIN+3": 37, "RTMIN": 34, "SIGRTMAX": 64,
		"SIGNONE": 0, "0": 0, "65": 0, "-1": 0, "SIGRTMIN+31": 0, "SIGTERM+1": 0, "SIGRTMIN+x": 0,
	} {
		if got := signalOf(text); got != want {
			t.Errorf("%q is signal %d, want %d", text, got, want)
		}
	}
}
