package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A build context whose image has several layers of random, and so
// incompressible, bytes.
func buildContext(t *testing.T, layers, size int) string {
	t.Helper()
	dir := t.TempDir()
	dockerfile := "FROM scratch\n"
	random := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", t.Name()))))
	for i := range layers {
		content := make([]byte, size)
		random.Read(content)
		name := fmt.Sprintf("layer-%d.tar", i)
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		must(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("file-%d", i), Mode: 0o644, Size: int64(size)}))
		_, err := w.Write(content)
		must(t, err)
		must(t, w.Close())
		must(t, os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644))
		dockerfile += "ADD " + name + " /\n"
	}
	dockerfile += "CMD [\"/file-0\"]\n"
	must(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644))
	return dir
}

// slowProxy forwards TCP to port of the registry at so many bytes a second
// towards the server, all connections together, and returns its own port.
func slowProxy(t *testing.T, listen int, target func() int, bytesPerSecond int) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(registryIP, strconv.Itoa(listen)))
	must(t, err)
	t.Cleanup(func() { l.Close() })
	var turn sync.Mutex
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				up, err := net.Dial("tcp", net.JoinHostPort(registryIP, strconv.Itoa(target())))
				if err != nil {
					return
				}
				defer up.Close()
				go func() {
					io.Copy(c, up)
					c.Close()
				}()
				buf := make([]byte, 32<<10)
				for {
					n, err := c.Read(buf)
					if n > 1024 { // bodies, not requests
						turn.Lock()
						time.Sleep(time.Duration(n) * time.Second / time.Duration(bytesPerSecond))
						turn.Unlock()
					}
					if _, werr := up.Write(buf[:n]); werr != nil || err != nil {
						return
					}
				}
			}()
		}
	}()
}
