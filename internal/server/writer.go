package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// writeStep is how many bytes a client must take within progressPatience
	// what a line of 40 kbit/s does.
	writeStep = 256 << 10
	// sendfileStep is how many are given to sendfile at once. A client that does
	// not take them all in time, but writeStep of them, gets more time.
	sendfileStep = 4 << 20
	// smallCopy is up to where one read and one write cost less than what
	// net/http does to set sendfile up: it writes header and first bytes apart.
	smallCopy = 32 << 10
)

var smallBuffers = sync.Pool{New: func() any { return new([smallCopy]byte) }}

// A response counts what is sent, remembers the status, and moves the write
// deadline along. It hides nothing: Unwrap, Flush and, for sendfile, ReadFrom.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	armed   time.Time
	plain   bool // HTTP/1 without TLS: a write that timed out can be taken up again

	status int // 0 until the header is written
	bytes  int64
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// arm gives the client the whole progressPatience for what is written next; it
// moves the deadline a dozen times in that time at most.
func (w *response) arm() {
	if now := time.Now(); now.Sub(w.armed) > progressPatience/12 {
		w.armed = now
		w.control.SetWriteDeadline(now.Add(progressPatience)) // fails only on a connection that is gone
	}
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.arm()
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.wrote()
	total := 0
	for {
		w.arm()
		n, err := w.ResponseWriter.Write(p[:min(len(p), writeStep)])
		total += n
		w.bytes += int64(n)
		if p = p[n:]; err != nil || len(p) == 0 {
			return total, err
		}
	}
}

// ReadFrom copies src step by step, each with its own deadline. A limited
// reader is taken apart, because sendfile looks through only one.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	w.wrote()
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	if limited.N <= smallCopy {
		return w.copySmall(limited)
	}
	size := int64(writeStep)
	_, isFile := limited.R.(syscall.Conn) // what net looks for
	sendfile := isFile && w.plain
	if sendfile {
		size = sendfileStep
	}
	step := &io.LimitedReader{R: limited.R}
	var total int64
	for limited.N > 0 {
		w.arm()
		want := min(limited.N, size)
		step.N = want
		n, err := to.ReadFrom(step)
		limited.N -= n
		total += n
		w.bytes += n
		if sendfile && n >= writeStep && n == want-step.N && errors.Is(err, os.ErrDeadlineExceeded) {
			w.armed = time.Time{} // it moved, and all that was read was written
			continue
		}
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

func (w *response) copySmall(src *io.LimitedReader) (int64, error) {
	buf := smallBuffers.Get().(*[smallCopy]byte)
	defer smallBuffers.Put(buf)
	n, err := io.ReadFull(src, buf[:src.N])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil // the end, for a ReadFrom
	}
	m, werr := w.Write(buf[:n])
	return int64(m), errors.Join(werr, err)
}

func (w *response) Flush() {
	w.wrote()
	w.arm()
	w.control.Flush() // fails only where nothing is buffered
}

// wrote notes the status that net/http writes unasked.
func (w *response) wrote() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}
