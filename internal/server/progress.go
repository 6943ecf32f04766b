package server

import (
	"io"
	"net/http"
	"time"
)

// leastProgress is how much of a request's body must arrive within
// progressPatience, in bytes: one byte a minute is not progress.
const leastProgress = 16 << 10

// A slowBody gives the sender progressPatience of our waiting time
// for every leastProgress bytes. Only waiting counts, not the time that the
// handler spends on what it read. Deadlines are moved a dozen times in
// that time at most.
type slowBody struct {
	io.ReadCloser
	control *http.ResponseController

	deadline time.Time // as it is set on the connection
	waited   time.Duration
	moved    int64
}

// watchBody puts a slowBody before the body of r, if it has one.
func watchBody(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	b := &slowBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
	// A handler may answer without reading; the rest is then read for it.
	b.arm(time.Now())
	r.Body = b
}

func (b *slowBody) Read(p []byte) (int, error) {
	start := time.Now()
	b.arm(start)
	n, err := b.ReadCloser.Read(p)
	b.waited += time.Since(start)
	if b.moved += int64(n); b.moved >= leastProgress {
		b.moved, b.waited = 0, 0
	}
	return n, err
}

// arm sets the deadline to what is left of the patience, if it is much earlier.
// After the end of the body the connection is the server's again, and it has
// removed the deadline: Read is not called then.
func (b *slowBody) arm(now time.Time) {
	deadline := now.Add(progressPatience - b.waited)
	if deadline.Sub(b.deadline) > progressPatience/12 {
		b.deadline = deadline
		b.control.SetReadDeadline(deadline) // fails only on a connection that is gone
	}
}
