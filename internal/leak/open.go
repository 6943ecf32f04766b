package leak

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// sniffed is how many bytes tell what a stream is.
const sniffed = 512

// stream looks through in, whatever it is: by its first bytes, not by its name.
func (s *scan) stream(path string, in io.Reader, depth int) error {
	b := bufio.NewReaderSize(in, chunk)
	head, err := b.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	open := s.opener(head)
	switch {
	case open == nil:
		return s.plain(path, b)
	case depth == maxDepth:
		return fmt.Errorf("more than %d archives within each other: not opened", maxDepth)
	}
	return open(path, b, depth+1)
}

// opener returns what opens a stream that begins with head, or nil.
func (s *scan) opener(head []byte) func(path string, in io.Reader, depth int) error {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}): // RFC 1952
		return s.gzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		return s.zstd
	case bytes.HasPrefix(head, []byte("BZh")) && len(head) >= 10 && string(head[4:10]) == "1AY&SY":
		return s.bzip2
	case isTar(head):
		return s.tar
	}
	return nil
}

// isTar knows the archives of POSIX and of GNU.
func isTar(head []byte) bool { return len(head) >= 262 && string(head[257:262]) == "ustar" }

func (s *scan) gzip(path string, in io.Reader, depth int) error {
	z, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("open gzip: %w", err)
	}
	defer z.Close()
	return s.stream(path, s.count(z), depth)
}

func (s *scan) bzip2(path string, in io.Reader, depth int) error {
	return s.stream(path, s.count(bzip2.NewReader(in)), depth)
}

func (s *scan) zstd(path string, in io.Reader, depth int) error {
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return fmt.Errorf("open zstd: %w", err)
	}
	defer z.Close()
	return s.stream(path, s.count(z), depth)
}

// tar looks through each file of an archive, and of archives that follow it. One
// that cannot be scanned does not hide the next ones. What no file has, such as
// the target of a link, is looked through as it stands in the archive.
func (s *scan) tar(path string, in io.Reader, depth int) error {
	var whole []Finding
	raw := newFinder(path, func(f Finding) {
		if len(whole) == maxKept {
			s.tell(f) // rather twice than not at all
			return
		}
		whole = append(whole, f)
	})
	b := bufio.NewReaderSize(in, chunk)
	rest := io.TeeReader(b, raw)
	var err error
	for more := true; more && err == nil; {
		if err = s.entries(path, rest, depth); err == nil {
			more, err = another(b, raw)
		}
	}
	if err == nil {
		_, err = io.Copy(io.Discard, rest)
	}
	raw.end()
	for _, f := range whole {
		if !s.found[f.Sum] {
			s.tell(f)
		}
	}
	return err
}

// entries looks through the files of one archive, and reads to its end.
func (s *scan) entries(path string, in io.Reader, depth int) error {
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read archive: %w", err)
		case h.Size == 0:
			continue
		}
		within := path + "!" + hide(h.Name)
		// Counted, because the holes of a sparse file expand too.
		switch err := s.stream(within, s.count(t), depth); {
		case errors.Is(err, errExpands), s.ctx.Err() != nil:
			return err
		case err != nil:
			s.report.Skipped(within, err)
		}
	}
}

// another reads the zeros that fill up an archive, and says whether one more
// follows.
func another(b *bufio.Reader, raw io.Writer) (bool, error) {
	for {
		head, err := b.Peek(sniffed)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if isTar(head) {
			return true, nil
		}
		if len(head) < sniffed || !bytes.Equal(head, make([]byte, sniffed)) {
			return false, nil
		}
		if _, err := io.CopyN(raw, b, sniffed); err != nil {
			return false, err
		}
	}
}

// count bounds what comes out of a compressed stream.
func (s *scan) count(in io.Reader) io.Reader { return &counted{s, in} }

type counted struct {
	scan *scan
	in   io.Reader
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if c.scan.left -= int64(n); c.scan.left < 0 {
		return 0, errExpands
	}
	if err == nil {
		err = c.scan.ctx.Err()
	}
	return n, err
}
