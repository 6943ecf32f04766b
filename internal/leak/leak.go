// Package leak owns finding our secrets where they should not be: in files,
// directories, archives and the layers of images.
package leak

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// forms are the secrets that are looked for.
var forms = []access.SecretForm{access.KeySecret, access.RefreshSecret, access.ResetSecret, access.CodeSecret, access.DeviceSecret}

// shown is how much of a secret after its prefix a Finding shows, in characters:
// enough to tell two apart, and far too little to guess the rest.
const shown = 4

// Limits of a scan.
const (
	maxExpanded = 16 << 30 // bytes that come out of one file, archives and compression opened
	maxDepth    = 8        // archives and compression within each other
	maxWindow   = 64 << 20 // bytes of memory that one zstd stream may ask for
	chunk       = 64 << 10 // bytes that are looked at together
	maxKept     = 50_000   // findings of one file, or of one archive, that are kept in mind so as not to be told twice
)

// errExpands ends the scan of a file that may be made to keep us busy.
var errExpands = fmt.Errorf("it expands to more than %d GiB: not scanned to its end", maxExpanded>>30)

// A Finding is a well-made secret: its checksum is right.
type Finding struct {
	// Path is where it stands, with "!" before the path inside an archive:
	// "image.tar!blobs/sha256/4f…!app/.env".
	Path   string
	Line   int               // 1 is the first
	Prefix string            // the form and the first characters, "sallyport_key_3fZk…"
	Sum    [sha256.Size]byte // SHA-256 of the secret, which the server keeps too
}

// A Report takes what a scan comes upon. Both must be set.
type Report struct {
	Found func(Finding)
	// Skipped is told what could not be scanned, or not to its end.
	Skipped func(path string, err error)
}

// Scan looks through a file, or all regular files of a directory and below it.
// Gzip, zstd, bzip2 and tar are opened, within each other too, so an image from
// "docker save" or in an OCI layout is looked through layer by layer; secrets in
// base64, as docker's configuration has them, are found. Memory is bounded,
// and so is what one file may expand to. It returns how many files it looked
// through. Errors: the context's, and of a path that cannot be read at all.
func Scan(ctx context.Context, path string, r Report) (files int, err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && at == path:
			return err
		case err != nil:
			r.Skipped(hide(at), err)
		case d.Type().IsRegular():
			files++
			scanFile(ctx, at, r)
		}
		return nil
	})
	return files, err
}

func scanFile(ctx context.Context, path string, r Report) {
	f, err := os.Open(path)
	if err != nil {
		r.Skipped(hide(path), err)
		return
	}
	defer f.Close()
	ScanReader(ctx, path, f, r)
}

// ScanReader is Scan for what comes from in, under a name.
func ScanReader(ctx context.Context, name string, in io.Reader, r Report) {
	s := &scan{ctx: ctx, report: r, left: maxExpanded, found: map[[sha256.Size]byte]bool{}}
	if err := s.stream(hide(name), in, 0); err != nil {
		r.Skipped(hide(name), err)
	}
}

// A scan is that of one file.
type scan struct {
	ctx    context.Context
	report Report
	left   int64 // bytes that may still come out
	found  map[[sha256.Size]byte]bool
}

// tell reports what was found.
func (s *scan) tell(f Finding) {
	if len(s.found) < maxKept {
		s.found[f.Sum] = true
	}
	s.report.Found(f)
}

// plain looks through bytes as they are.
func (s *scan) plain(path string, in io.Reader) error {
	f := newFinder(path, s.tell)
	for {
		n, err := in.Read(f.buf[len(f.buf):cap(f.buf)])
		f.grown(n)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil {
			f.end()
			return nil
		}
		if err := s.ctx.Err(); err != nil {
			return err
		}
	}
}

// A finder looks for secrets in what is written to it, or read into its buffer.
type finder struct {
	path string
	line int
	buf  []byte // what may be the beginning of a secret; it is never full
	tell func(Finding)
}

func newFinder(path string, tell func(Finding)) *finder {
	return &finder{path: path, line: 1, buf: make([]byte, 0, chunk), tell: tell}
}

func (f *finder) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := copy(f.buf[len(f.buf):cap(f.buf)], rest)
		f.grown(n)
		rest = rest[n:]
	}
	return len(p), nil
}

// grown looks through n bytes more, which are behind the buffer's end.
func (f *finder) grown(n int) {
	f.buf = f.buf[:len(f.buf)+n]
	f.search(false)
}

func (f *finder) end() { f.search(true) }

// search reports the secrets in the buffer, and leaves what may be the beginning
// of one.
func (f *finder) search(last bool) {
	done, line := 0, f.line
	for {
		i, m := nextMark(f.buf[done:])
		if i < 0 {
			done = max(done, len(f.buf)-longestMark+1)
			break
		}
		line += bytes.Count(f.buf[done:done+i], []byte("\n"))
		done += i
		if !last && len(f.buf)-done < longest {
			break
		}
		secret, prefix := secretAt(m.read(f.buf[done:]))
		if secret != "" {
			f.tell(Finding{Path: f.path, Line: line, Prefix: prefix, Sum: sha256.Sum256([]byte(secret))})
		}
		done += len(m.text)
	}
	f.line += bytes.Count(f.buf[:done], []byte("\n"))
	f.buf = f.buf[:copy(f.buf, f.buf[done:])]
}

// secretAt returns the secret that b begins with, and what may be shown of it.
func secretAt(b []byte) (secret, prefix string) {
	for _, f := range forms {
		if len(b) < f.Length() {
			continue
		}
		if text := string(b[:f.Length()]); f.Valid(text) {
			return text, text[:len(f.Prefix)+shown] + "…"
		}
	}
	return "", ""
}

// secrets matches what could be a secret, for hide.
var secrets = regexp.MustCompile(mark + "[a-z]+_[0-9A-Za-z]+")

// hide takes secrets out of a path, which is printed.
func hide(path string) string {
	if !strings.Contains(path, mark) {
		return path
	}
	return secrets.ReplaceAllString(path, mark+"…")
}
