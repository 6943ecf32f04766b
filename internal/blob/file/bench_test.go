package file_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/blob/file"
	"github.com/sallyport/sallyport/internal/oci"
)

// A writer stores body under its digest, durably.
type writer func(key string, body []byte, want oci.Digest) error

// makeShards makes what a store has made after its first few hundred blobs.
func makeShards(b *testing.B, dir string) {
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			b.Fatal(err)
		}
	}
}

func storeWriter(b *testing.B, dir string) writer {
	makeShards(b, filepath.Join(dir, "blobs", "sha256"))
	s, err := file.New(dir, file.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return func(key string, body []byte, want oci.Digest) error {
		st, err := s.Stage(b.Context(), key)
		if err != nil {
			return err
		}
		defer st.Close()
		if _, err := st.ReadFrom(bytes.NewReader(body)); err != nil {
			return err
		}
		return st.Seal(b.Context(), want)
	}
}

// floorWriter does the least that the same promise needs: create, write, hash,
// fsync, rename, fsync of the directory.
func floorWriter(b *testing.B, dir string) writer {
	makeShards(b, dir)
	buffers := sync.Pool{New: func() any { return new([32 << 10]byte) }}
	return func(key string, body []byte, want oci.Digest) error {
		from := filepath.Join(dir, key)
		f, err := os.OpenFile(from, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		buf := buffers.Get().(*[32 << 10]byte)
		defer buffers.Put(buf)
		for r := bytes.NewReader(body); ; {
			n, err := r.Read(buf[:])
			if err == io.EOF {
				break
			}
			if _, err := f.Write(buf[:n]); err != nil {
				return err
			}
			h.Write(buf[:n])
		}
		if sum := hex.EncodeToString(h.Sum(nil)); sum != want.Hex() {
			return fmt.Errorf("digest is %s", sum)
		}
		if err := f.Sync(); err != nil {
			return err
		}
		shard := filepath.Join(dir, want.Hex()[:2])
		if err := os.Rename(from, filepath.Join(shard, want.Hex())); err != nil {
			return err
		}
		d, err := os.Open(shard)
		if err != nil {
			return err
		}
		defer d.Close()
		return d.Sync()
	}
}

var writers = []struct {
	name string
	make func(*testing.B, string) writer
}{{"floor", floorWriter}, {"store", storeWriter}}

// BenchmarkPush compares the store with its floor. GOMAXPROCS does not bound
// the writers: they wait for the disk.
func BenchmarkPush(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20, 256 << 20} {
		for _, parallel := range []int{1, 8, 16} {
			if size > 1<<20 && parallel > 1 {
				continue
			}
			for _, w := range writers {
				b.Run(fmt.Sprintf("%dKiB/%d/%s", size>>10, parallel, w.name), func(b *testing.B) {
					push(b, w.make(b, b.TempDir()), size, parallel)
				})
			}
		}
	}
}

func push(b *testing.B, write writer, size, parallel int) {
	var turn atomic.Int64
	var all sync.WaitGroup
	wants := make([]oci.Digest, b.N+1)
	body := make([]byte, size)
	for n := range wants { // the client's work, not ours
		binary.LittleEndian.PutUint64(body, uint64(n))
		wants[n] = oci.FromBytes(body)
	}
	before, start := cpu(b), time.Now()
	b.ResetTimer()
	for range parallel {
		all.Go(func() {
			body := make([]byte, size)
			for n := turn.Add(1); n <= int64(b.N); n = turn.Add(1) {
				binary.LittleEndian.PutUint64(body, uint64(n))
				key := fmt.Sprint("upload-", n)
				if err := write(key, body, wants[n]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "push/s")
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
