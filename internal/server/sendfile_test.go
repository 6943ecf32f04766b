package server_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/server"
)

// A spy is a connection's writer that sees how it is written to.
type spy struct {
	http.ResponseWriter
	io.ReaderFrom
	sources []string
}

func (s *spy) ReadFrom(r io.Reader) (int64, error) {
	source := fmt.Sprintf("%T", r)
	if l, ok := r.(*io.LimitedReader); ok {
		source += " " + fmt.Sprintf("%T", l.R)
	}
	s.sources = append(s.sources, source)
	return io.Copy(s.ResponseWriter, r)
}

// What net/http can do for a file it can still do behind the front.
func TestSendfileIsReached(t *testing.T) {
	const size = 16<<20 + 7
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for name, copyTo := range map[string]func(w http.ResponseWriter, r *http.Request){
		"io.Copy":      func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, struct{ io.Reader }{file}) },
		"io.CopyN":     func(w http.ResponseWriter, _ *http.Request) { io.CopyN(w, file, size) },
		"ServeContent": func(w http.ResponseWriter, r *http.Request) { http.ServeContent(w, r, "x.bin", fileTime, file) },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := file.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			log := &lines{}
			h, _ := server.NewFront(server.FrontOptions{External: "http://a", Scheme: "http", Log: log.logger(), Door: http.HandlerFunc(copyTo)})
			w := &spy{ResponseWriter: httptest.NewRecorder()}
			h.ServeHTTP(w, httptest.NewRequest("GET", "http://a/v2/", nil))
			want, steps := "*io.LimitedReader *os.File", 5
			if name == "io.Copy" {
				want, steps = "*io.LimitedReader struct { io.Reader }", 65
			}
			if len(w.sources) != steps {
				t.Errorf("%d steps", len(w.sources))
			}
			for _, s := range w.sources {
				if s != want {
					t.Errorf("source %s", s)
				}
			}
			if line := log.with(t, "request"); line[0]["bytes"] != float64(size) || line[0]["status"] != 200.0 {
				t.Errorf("%v", line)
			}
		})
	}
}

// Bytes come out as they went in, whatever the writer behind can do.
func TestReadFromWithoutSendfile(t *testing.T) {
	text := strings.Repeat("0123456789", 100_000)
	h, _ := server.NewFront(server.FrontOptions{External: "http://a", Scheme: "http", Log: slog.New(slog.DiscardHandler), Door: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, err := w.(io.ReaderFrom).ReadFrom(io.LimitReader(strings.NewReader(text), 700_000))
		m, werr := w.Write([]byte(text[n:]))
		if n != 700_000 || m != 300_000 || err != nil || werr != nil {
			t.Error(n, m, err, werr)
		}
		w.(http.Flusher).Flush()
	})})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://a/v2/", nil))
	if w.Body.String() != text || !w.Flushed {
		t.Errorf("%d bytes, flushed %v", w.Body.Len(), w.Flushed)
	}
}

// A patient is a plain connection whose client takes a little at a time.
type patient struct {
	http.ResponseWriter
	takes []int // bytes that fit until each deadline
	lose  int   // bytes that are read and not written at each
}

func (p *patient) ReadFrom(r io.Reader) (int64, error) {
	if len(p.takes) == 0 {
		return io.Copy(p.ResponseWriter, r)
	}
	n, err := io.CopyN(p.ResponseWriter, r, int64(p.takes[0]))
	if err != nil {
		return n, err
	}
	io.CopyN(io.Discard, r, int64(p.lose))
	p.takes = p.takes[1:]
	return n, os.ErrDeadlineExceeded
}

// asFile is taken for a file that sendfile can read.
type asFile struct{ io.Reader }

func (asFile) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }

// A deadline that comes while sendfile moves does not cut the client off, nor
// does it lose a byte.
func TestDeadlineDuringSendfile(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 1<<19) // 8 MiB
	for name, tt := range map[string]struct {
		source io.Reader
		takes  []int
		lose   int
		tls    bool
		want   int
	}{
		"none comes":              {asFile{strings.NewReader(text)}, nil, 0, false, 8 << 20},
		"they come, and it moves": {asFile{strings.NewReader(text)}, []int{300 << 10, 3 << 20, 256 << 10, 1 << 20}, 0, false, 8 << 20},
		"it moves too little":     {asFile{strings.NewReader(text)}, []int{300 << 10, 255 << 10}, 0, false, 555 << 10},
		"something is lost":       {asFile{strings.NewReader(text)}, []int{300 << 10}, 1, false, 300 << 10},
		"not a file":              {strings.NewReader(text), []int{256 << 10}, 0, false, 256 << 10},
		"TLS":                     {asFile{strings.NewReader(text)}, []int{256 << 10}, 0, true, 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := server.NewFront(server.FrontOptions{External: "http://a", Scheme: "http", Log: slog.New(slog.DiscardHandler), Door: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n, err := io.CopyN(w, tt.source, int64(len(text)))
				if n != int64(tt.want) || (err == nil) != (tt.want == len(text)) {
					t.Errorf("%d bytes, %v", n, err)
				}
			})})
			recorder := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "http://a/v2/", nil)
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			h.ServeHTTP(&patient{recorder, tt.takes, tt.lose}, r)
			if recorder.Body.String() != text[:tt.want] {
				t.Errorf("%d bytes, or others", recorder.Body.Len())
			}
		})
	}
}

var fileTime = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
