package sallyport

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sallyport/sallyport"

// A house is what doc.go says: who may import whom, and what from outside.
type house struct {
	rooms   map[string][]string // room → rooms it may import
	outside map[string][]string // import path prefix → rooms that may use it
}

func readHouse(t *testing.T) house {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	h := house{rooms: map[string][]string{}, outside: map[string][]string{}}
	for line := range strings.Lines(f.Doc.Text()) {
		if room, imports, ok := strings.Cut(line, "<-"); ok {
			h.rooms[strings.TrimSpace(room)] = strings.Fields(imports)
		} else if path, rooms, ok := strings.Cut(line, " : "); ok {
			h.outside[strings.TrimSpace(path)] = strings.Fields(rooms)
		}
	}
	return h
}

// TestHouse compares the import table of doc.go with the code, both ways.
func TestHouse(t *testing.T) {
	h := readHouse(t)
	seen := map[string]bool{}
	err := filepath.WalkDir("internal", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parts := strings.Split(filepath.ToSlash(path), "/")
		room := parts[1]
		if strings.HasSuffix(parts[len(parts)-2], "test") {
			return nil // a suite that tests import
		}
		seen[room] = true
		allowed, listed := h.rooms[room]
		if !listed {
			t.Errorf("internal/%s is not in the table of doc.go", room)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if other, ok := strings.CutPrefix(imported, module+"/internal/"); ok {
				other, _, _ = strings.Cut(other, "/")
				if other != room && !slices.Contains(allowed, other) && !slices.Contains(allowed, "*") {
					t.Errorf("%s imports %s: the table of doc.go does not let %s do that", path, other, room)
				}
			}
			for prefix, rooms := range h.outside {
				if (imported == prefix || strings.HasPrefix(imported, prefix+"/")) && !slices.Contains(rooms, room) {
					t.Errorf("%s imports %s, which is for %s alone", path, imported, strings.Join(rooms, ", "))
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range h.rooms {
		if !seen[room] {
			t.Errorf("doc.go lists %s, but internal/%s has no code", room, room)
		}
	}
}

// TestPackageComments: each package has exactly one comment, and a room's says
// what it owns.
func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "e2e" || d.Name() == "bench" || path != "." && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		comments[dir] = append(comments[dir], "")
		if f.Doc != nil {
			comments[dir] = append(comments[dir], f.Doc.Text())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, texts := range comments {
		texts = slices.DeleteFunc(texts, func(s string) bool { return s == "" })
		if len(texts) != 1 {
			t.Errorf("%s has %d package comments, want one", dir, len(texts))
			continue
		}
		name := filepath.Base(dir)
		if room := filepath.Dir(dir) == "internal"; room && !strings.HasPrefix(texts[0], "Package "+name+" owns ") {
			t.Errorf("%s: the package comment does not begin %q", dir, "Package "+name+" owns …")
		}
	}
}

// TestMakefile keeps the Makefile small enough to read.
func TestMakefile(t *testing.T) {
	b, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n > 40 {
		t.Errorf("Makefile has %d lines; the limit is 40", n)
	}
}
