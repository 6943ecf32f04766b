package file_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
)

// A counted reader counts the bytes that pass through the process; what
// sendfile sends does not.
type counted struct {
	blob.Reader
	syscall.Conn
	bytes int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bytes += n
	return n, err
}

func TestSendfile(t *testing.T) {
	s := open(t, t.TempDir())
	b := make([]byte, 2<<20)
	rand.Read(b)
	d := oci.FromBytes(b)
	write(t, s, "upload", b)
	if err := seal(t, s, "upload", d); err != nil {
		t.Fatal(err)
	}
	copied := make(chan int, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blob, err := s.Open(r.Context(), d)
		if err != nil {
			t.Error(err)
			return
		}
		defer blob.Close()
		conn, ok := blob.(syscall.Conn)
		if !ok {
			t.Error("the reader is no syscall.Conn")
		}
		c := &counted{Reader: blob, Conn: conn}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, c)
		copied <- c.bytes
	}))
	defer server.Close()
	for _, c := range []struct {
		header string
		status int
		want   []byte
	}{
		{"", http.StatusOK, b},
		{"bytes=100000-1999999", http.StatusPartialContent, b[100_000:2_000_000]},
		{"bytes=-70000", http.StatusPartialContent, b[len(b)-70_000:]},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.header != "" {
			req.Header.Set("Range", c.header)
		}
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != c.status || !bytes.Equal(got, c.want) {
			t.Errorf("range %q: status %d, %d bytes, %v", c.header, res.StatusCode, len(got), err)
		}
		// net/http reads the first 512 bytes itself, to sniff them.
		if n := <-copied; n > 512 {
			t.Errorf("range %q: %d bytes were copied, not sent by sendfile", c.header, n)
		}
	}
}
