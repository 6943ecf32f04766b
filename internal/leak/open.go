package leak

import (
	"archive/tar"
	"bufio"
	"bytes"
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
	case len(head) >= 262 && string(head[257:262]) == "ustar": // POSIX, and GNU's
		return s.tar
	}
	return nil
}

func (s *scan) gzip(path string, in io.Reader, depth int) error {
	z, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("open gzip: %w", err)
	}
	defer z.Close()
	return s.stream(path, s.count(z), depth)
}

func (s *scan) zstd(path string, in io.Reader, depth int) error {
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return fmt.Errorf("open zstd: %w", err)
	}
	defer z.Close()
	return s.stream(path, s.count(z), depth)
}

// tar looks through each file of an archive. One that cannot be scanned does not
// hide the next ones.
func (s *scan) tar(path string, in io.Reader, depth int) error {
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read archive: %w", err)
		case h.Typeflag != tar.TypeReg:
			continue
		}
		within := path + "!" + hide(h.Name)
		switch err := s.stream(within, t, depth); {
		case errors.Is(err, errExpands), s.ctx.Err() != nil:
			return err
		case err != nil:
			s.report.Skipped(within, err)
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
