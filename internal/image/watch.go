package image

import (
	"io"
	"time"
)

// watched is a reader that calls off what has stopped coming.
type watched struct {
	r     io.Reader
	idle  time.Duration
	timer *time.Timer
}

// watch calls off when r gives nothing for that long while it is being read.
func watch(r io.Reader, idle time.Duration, off func()) *watched {
	return &watched{r: r, idle: idle, timer: time.AfterFunc(idle, off)}
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.idle)
	n, err := w.r.Read(p)
	w.timer.Stop()
	return n, err
}

func (w *watched) stop() { w.timer.Stop() }
