package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A tree models a directory on a disk that keeps exactly what was flushed: a
// file's bytes when the file was flushed, a directory's entries when the
// directory was.
type tree struct{ root *node }

type node struct {
	dir     bool
	data    []byte
	durable []byte
	names   map[string]*node
	kept    map[string]*node // entries that were flushed
	snaps   map[int]snap     // flushes in progress
}

type snap struct {
	data  []byte
	names map[string]*node
}

func newNode(dir bool) *node {
	n := &node{dir: dir, snaps: map[int]snap{}}
	if dir {
		n.names, n.kept = map[string]*node{}, map[string]*node{}
	}
	return n
}

// readTree reads a directory; all of it counts as flushed.
func readTree(t *testing.T, dir string) *tree {
	t.Helper()
	tr := &tree{root: newNode(true)}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		n := newNode(d.IsDir())
		if !d.IsDir() {
			if n.data, err = os.ReadFile(path); err != nil {
				return err
			}
			n.durable = n.data
		}
		parent, name := tr.parent(rel)
		parent.names[name], parent.kept[name] = n, n
		return nil
	}))
	return tr
}

func (tr *tree) find(path string) *node {
	n := tr.root
	if path == "." {
		return n
	}
	for part := range strings.SplitSeq(path, "/") {
		if n == nil || !n.dir {
			return nil
		}
		n = n.names[part]
	}
	return n
}

func (tr *tree) parent(path string) (*node, string) {
	return tr.find(filepath.Dir(path)), filepath.Base(path)
}

// clone copies the tree, keeping which nodes are one.
func (tr *tree) clone() *tree {
	done := map[*node]*node{}
	var walk func(n *node) *node
	walk = func(n *node) *node {
		if c := done[n]; c != nil {
			return c
		}
		c := &node{dir: n.dir, data: n.data, durable: n.durable, snaps: map[int]snap{}}
		done[n] = c
		if n.dir {
			c.names, c.kept = map[string]*node{}, map[string]*node{}
			for k, v := range n.names {
				c.names[k] = walk(v)
			}
			for k, v := range n.kept {
				c.kept[k] = walk(v)
			}
		}
		return c
	}
	return &tree{root: walk(tr.root)}
}

// apply makes one event's effect.
func (tr *tree) apply(e event) {
	n := tr.find(e.path)
	switch e.op {
	case opCreate, opMkdir:
		if n == nil {
			parent, name := tr.parent(e.path)
			parent.names[name] = newNode(e.op == opMkdir)
		}
	case opRemove:
		parent, name := tr.parent(e.path)
		delete(parent.names, name)
	case opRename:
		parent, name := tr.parent(e.path)
		delete(parent.names, name)
		parent, name = tr.parent(e.to)
		parent.names[name] = n
	case opTruncate:
		if n != nil {
			data := make([]byte, e.offset)
			copy(data, n.data)
			n.data = data
		}
	case opWrite:
		if n != nil {
			n.write(e.offset, e.data)
		}
	case opSnap:
		if n != nil {
			n.snaps[e.id] = snap{data: n.data, names: maps.Clone(n.names)}
		}
	case opFlush:
		if n != nil {
			n.durable, n.kept = n.snaps[e.id].data, n.snaps[e.id].names
			delete(n.snaps, e.id)
		}
	}
}

// write copies, so that snapshots stay what they were.
func (n *node) write(offset int64, data []byte) {
	if offset < 0 {
		offset = int64(len(n.data))
	}
	grown := make([]byte, max(int64(len(n.data)), offset+int64(len(data))))
	copy(grown, n.data)
	copy(grown[offset:], data)
	n.data = grown
}

// kindOf names what a flush is of.
func (tr *tree) kindOf(e event) string {
	parts := strings.Split(e.path, "/")
	switch {
	case parts[0] == "uploads" && len(parts) == 2:
		return "blob data"
	case parts[0] == "blobs" && len(parts) == 3:
		return "shard directory"
	case parts[0] == "blobs" && len(parts) == 2:
		return "algorithm directory"
	case strings.HasSuffix(e.path, "-wal"):
		return "write-ahead log"
	case e.path == ".":
		return "log's directory"
	}
	return e.path
}

// files returns path → content of every file, as it is or as it was flushed.
func (tr *tree) files(durable bool) map[string][]byte {
	out := map[string][]byte{}
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		if !n.dir {
			out[path] = n.data
			if durable {
				out[path] = n.durable
			}
			return
		}
		names := n.names
		if durable {
			names = n.kept
		}
		out[path+"/"] = nil
		for name, child := range names {
			walk(child, path+"/"+name)
		}
	}
	walk(tr.root, "")
	return out
}

func (tr *tree) durableText() string {
	files := tr.files(true)
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "%s %x\n", path, sha256.Sum256(files[path]))
	}
	return b.String()
}

// writeDurable writes what a power cut would leave.
func (tr *tree) writeDurable(t *testing.T, dir string) {
	t.Helper()
	files := tr.files(true)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(path, "/") {
			must(t, os.MkdirAll(dir+path, 0o700))
		} else if !strings.HasSuffix(path, "-shm") { // a map of the log, made anew
			must(t, os.MkdirAll(filepath.Dir(dir+path), 0o700))
			must(t, os.WriteFile(dir+path, files[path], 0o600))
		}
	}
}

// compare says where the tree differs from a real directory, "" for nowhere.
func (tr *tree) compare(t *testing.T, dir string) string {
	t.Helper()
	model, disk := tr.files(false), readTree(t, dir).files(false)
	for path := range disk {
		if strings.HasSuffix(path, "-shm") { // written through a mapping
			continue
		}
		if got, ok := model[path]; !ok || !bytes.Equal(got, disk[path]) {
			return fmt.Sprintf("%s has %d bytes on the disk, %d in the model (known: %v)", path, len(disk[path]), len(got), ok)
		}
	}
	for path := range model {
		if _, ok := disk[path]; !ok {
			return path + " is not on the disk"
		}
	}
	return ""
}
