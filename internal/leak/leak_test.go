package leak_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/leak"
)

// source is randomness that is the same each time.
func source() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{7}) }

func newKey(t testing.TB, r io.Reader) string {
	t.Helper()
	s, err := access.KeySecret.New(r)
	if err != nil {
		t.Fatal(err)
	}
	return s.Reveal()
}

// scan returns "path:line prefix" of what is found, and what was skipped.
func scan(t testing.TB, path string) (found []leak.Finding, skipped []string) {
	t.Helper()
	_, err := leak.Scan(t.Context(), path, leak.Report{
		Found:   func(f leak.Finding) { found = append(found, f) },
		Skipped: func(path string, err error) { skipped = append(skipped, path+": "+err.Error()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, skipped
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// An entry is a file of an archive.
type entry struct {
	name    string
	content []byte
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstdOf(t testing.TB, content []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(content, nil)
}

// TestPlanted: of 1,000 keys in files, archives and layers of images, each is
// found once, at its line, and the published rule finds it too.
func TestPlanted(t *testing.T) {
	random, dir := source(), t.TempDir()
	rules := publishedRules(t)
	pick := rand.New(random)
	var places []string
	put := func(n int) []byte {
		key := newKey(t, random)
		if !rules[0].MatchString("KEY=" + key + "\n") {
			t.Errorf("the rule for gitleaks does not find key %d", n)
		}
		lines := pick.IntN(50)
		filler := strings.Repeat("x", pick.IntN(3000)) + strings.Repeat("\n", lines)
		places = append(places, fmt.Sprintf("%d %s", lines+1, key[:18]+"…"))
		return []byte(filler + `{"auth":"` + key + "\"}\n" + strings.Repeat("y\n", pick.IntN(70000)))
	}
	for i := range 200 {
		write(t, filepath.Join(dir, "files", fmt.Sprint(i), "config.json"), put(i))
	}
	for i := range 100 {
		layer := func() []byte {
			return tarOf(t, entry{"etc/motd", []byte("welcome")}, entry{"app/.env", put(i)}, entry{"app/one", put(i)})
		}
		// As "docker save" writes it, and an OCI layout in an archive.
		write(t, filepath.Join(dir, fmt.Sprint(i, ".tar")), tarOf(t, entry{"manifest.json", []byte("[]")},
			entry{"a/layer.tar", layer()},
			entry{"blobs/sha256/b", gzipOf(t, layer())},
			entry{"blobs/sha256/c", zstdOf(t, layer())},
			entry{"blobs/sha256/config", put(i)},
			entry{"notes.gz", gzipOf(t, put(i))},
		))
	}
	found, skipped := scan(t, dir)
	if len(skipped) > 0 {
		t.Errorf("skipped %q", skipped)
	}
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprintf("%d %s", f.Line, f.Prefix))
	}
	slices.Sort(got)
	slices.Sort(places)
	if len(places) != 1000 || !slices.Equal(got, places) {
		t.Errorf("%d planted, %d found", len(places), len(got))
	}
}

// publishedRules reads the regular expressions of docs/gitleaks.toml.
func publishedRules(t *testing.T) []*regexp.Regexp {
	t.Helper()
	text, err := os.ReadFile("../../docs/gitleaks.toml")
	if err != nil {
		t.Fatal(err)
	}
	var rules []*regexp.Regexp
	for _, m := range regexp.MustCompile(`(?m)^regex = '''(.*)'''$`).FindAllSubmatch(text, -1) {
		rules = append(rules, regexp.MustCompile(string(m[1])))
	}
	forms := []access.SecretForm{access.KeySecret, access.RefreshSecret, access.ResetSecret, access.CodeSecret, access.DeviceSecret}
	if len(rules) != len(forms) {
		t.Fatalf("%d rules for %d forms", len(rules), len(forms))
	}
	for i, f := range forms {
		secret, err := f.New(source())
		if err != nil || !rules[i].MatchString(secret.Reveal()) {
			t.Errorf("the rule for gitleaks does not find %s… (%v)", f.Prefix, err)
		}
		for j, other := range rules {
			if j != i && other.MatchString(secret.Reveal()) {
				t.Errorf("rule %d for gitleaks takes %s… for another secret", j, f.Prefix)
			}
		}
	}
	return rules
}

// TestNoFalseAlarms: a million random strings of the right shape, none is taken
// for a key.
func TestNoFalseAlarms(t *testing.T) {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	pick := rand.New(source())
	in, out := io.Pipe()
	go func() {
		w := bufio.NewWriter(out)
		for range 1_000_000 {
			w.WriteString("sallyport_key_")
			for range 36 {
				w.WriteByte(letters[pick.IntN(len(letters))])
			}
			w.WriteByte('\n')
		}
		w.Flush()
		out.Close()
	}()
	leak.ScanReader(t.Context(), "random", in, leak.Report{
		Found:   func(f leak.Finding) { t.Errorf("found %+v", f) },
		Skipped: func(path string, err error) { t.Error(path, err) },
	})
}

// TestTrouble: what cannot be looked through is said, and hides nothing else.
func TestTrouble(t *testing.T) {
	key, dir := newKey(t, source()), t.TempDir()
	nested := []byte(key)
	for range 10 {
		nested = gzipOf(t, nested)
	}
	half := gzipOf(t, bytes.Repeat([]byte(key+"\n"), 5000))
	write(t, filepath.Join(dir, "nested.gz"), nested)
	write(t, filepath.Join(dir, "half.tar"), tarOf(t, entry{"half.gz", half[:len(half)/2]}, entry{"whole-" + key, []byte(key)}))
	write(t, filepath.Join(dir, "z"+key), []byte("not a "+key[:49]))
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	found, skipped := scan(t, dir)
	if len(found) == 0 || found[len(found)-1].Path != filepath.Join(dir, "half.tar")+"!whole-sallyport_…" || found[len(found)-1].Line != 1 {
		t.Errorf("found %+v", found)
	}
	want := []string{"half.tar!half.gz: unexpected EOF", "nested.gz: more than 8 archives within each other: not opened"}
	for i, s := range skipped {
		if i >= len(want) || s != filepath.Join(dir, want[i]) {
			t.Errorf("skipped %q", s)
		}
	}
	if text := fmt.Sprint(found, skipped); strings.Contains(text, key[:30]) {
		t.Errorf("a secret is shown: %s", text)
	}
	if _, err := leak.Scan(t.Context(), filepath.Join(dir, "nothing"), leak.Report{}); err == nil {
		t.Error("a path that does not exist is scanned")
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := leak.Scan(stopped, dir, leak.Report{}); err == nil {
		t.Error("the scan does not stop")
	}
}

// TestBase64: a secret is found however base64 falls on it, whatever stands beside
// it and in either alphabet.
func TestBase64(t *testing.T) {
	key := newKey(t, source())
	for _, before := range []string{"", ":", "ci:", "name:", "\xff\xfe\xfd", "sallyport_:"} {
		for _, after := range []string{"", "\n", "\xff\xff\xff", "and more behind it"} {
			text := []byte(before + key + after)
			wrapped := base64.StdEncoding.EncodeToString(append(bytes.Repeat([]byte("z"), 57), text...))
			for name, content := range map[string]string{
				"docker":  `{"auths":{"r.test":{"auth":"` + base64.StdEncoding.EncodeToString(text) + `"}}}`,
				"raw":     base64.RawStdEncoding.EncodeToString(text),
				"url":     base64.URLEncoding.EncodeToString(text),
				"wrapped": "x\n" + regexp.MustCompile(`.{1,76}`).ReplaceAllString(wrapped, "$0\n"),
			} {
				var found []leak.Finding
				leak.ScanReader(t.Context(), "f", iotest.OneByteReader(strings.NewReader(content)), leak.Report{
					Found:   func(f leak.Finding) { found = append(found, f) },
					Skipped: func(path string, err error) { t.Error(path, err) },
				})
				if len(found) != 1 || found[0].Sum != access.NewSecret(key).Sum() {
					t.Errorf("%s, behind %q, before %q: found %+v in\n%s", name, before, after, found, content)
				}
			}
		}
	}
}

// TestHidden: a secret that no file of an archive has is found all the same, and
// so is what stands behind the archive's end.
func TestHidden(t *testing.T) {
	key, other := newKey(t, source()), tarOf(t, entry{"motd", []byte("welcome")})
	headers := func(all ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range all {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, c := range []struct {
		name    string
		archive []byte
		at      string
	}{
		{"target of a link", headers(tar.Header{Name: "l", Linkname: key, Typeflag: tar.TypeSymlink}), "f"},
		{"extended attribute", headers(tar.Header{Name: "x", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.k": key}}), "f"},
		{"name", tarOf(t, entry{key, nil}), "f"},
		{"second archive", slices.Concat(other, tarOf(t, entry{"z.gz", gzipOf(t, []byte(key))})), "f!z.gz"},
		{"third, after much nothing", slices.Concat(other, other, make([]byte, 9000*512), tarOf(t, entry{"z.gz", gzipOf(t, []byte(key))})), "f!z.gz"},
		{"behind the end", slices.Concat(other, []byte(key)), "f"},
		{"behind the end, in a layer", tarOf(t, entry{"layer", gzipOf(t, slices.Concat(other, []byte(key)))}), "f!layer"},
	} {
		var found []string
		leak.ScanReader(t.Context(), "f", bytes.NewReader(c.archive), leak.Report{
			Found:   func(f leak.Finding) { found = append(found, f.Path) },
			Skipped: func(path string, err error) { t.Errorf("%s: %s skipped: %v", c.name, path, err) },
		})
		if !slices.Equal(found, []string{c.at}) {
			t.Errorf("%s: found in %q, want %q", c.name, found, c.at)
		}
	}
}

// TestMany: of more secrets than are kept in mind none is passed over.
func TestMany(t *testing.T) {
	const many = 60_000
	random := source()
	var b bytes.Buffer
	for range many {
		fmt.Fprintln(&b, newKey(t, random))
	}
	found := map[[32]byte]bool{}
	leak.ScanReader(t.Context(), "f", bytes.NewReader(tarOf(t, entry{"keys", b.Bytes()})), leak.Report{
		Found:   func(f leak.Finding) { found[f.Sum] = true },
		Skipped: func(path string, err error) { t.Error(path, err) },
	})
	if len(found) != many {
		t.Errorf("%d of %d found", len(found), many)
	}
}

// TestSparse: an archive of 3.5 KB claims to hold an exbibyte of nothing (the
// form is GNU's sparse 1.0 in PAX records).
func TestSparse(t *testing.T) {
	if testing.Short() {
		t.Skip("expands gigabytes")
	}
	var b bytes.Buffer
	block := func(content []byte) { b.Write(append(content, make([]byte, 512-len(content)%512)...)) }
	header := func(kind byte, size int) {
		h := make([]byte, 511)
		copy(h, "big")
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00        %c", size, kind))
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		block(h)
	}
	records := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n23 GNU.sparse.name=big\n43 GNU.sparse.realsize=1152921504606846976\n"
	header('x', len(records))
	block([]byte(records))
	header('0', 512)
	block([]byte("0\n"))
	b.Write(make([]byte, 1024))
	var skipped []string
	leak.ScanReader(t.Context(), "sparse.tar", &b, leak.Report{
		Found:   func(leak.Finding) {},
		Skipped: func(path string, err error) { skipped = append(skipped, err.Error()) },
	})
	if len(skipped) != 1 || !strings.Contains(skipped[0], "expands to more than 16 GiB") {
		t.Errorf("skipped %q", skipped)
	}
}

// TestBomb: a file that expands without end is given up.
func TestBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("expands gigabytes")
	}
	zeros := zstdOf(t, make([]byte, 64<<20))
	bomb := bytes.Repeat(zeros, 300) // frames follow each other
	var skipped []string
	leak.ScanReader(t.Context(), "bomb", bytes.NewReader(bomb), leak.Report{
		Found:   func(leak.Finding) {},
		Skipped: func(path string, err error) { skipped = append(skipped, err.Error()) },
	})
	if len(skipped) != 1 || !strings.Contains(skipped[0], "expands to more than 16 GiB") {
		t.Errorf("skipped %q", skipped)
	}
}

// FuzzScan: a key is found wherever it stands and however it is read, and
// nothing around it counts.
func FuzzScan(f *testing.F) {
	f.Add([]byte("KEY="), []byte("\n"), true)
	f.Add([]byte("sallyport_sallyport_key_"), []byte("sallyport_key_"), false)
	f.Add(bytes.Repeat([]byte("\n"), 65530), []byte("more"), false)
	key := newKey(f, source())
	f.Fuzz(func(t *testing.T, before, after []byte, slow bool) {
		if len(before) >= 4 && (before[0] == 0x1f || before[0] == 0x28) || len(before) > 250 && bytes.Contains(before, []byte("ustar")) {
			return // an archive
		}
		var in io.Reader = bytes.NewReader(slices.Concat(before, []byte(key), after))
		if slow {
			in = iotest.OneByteReader(in)
		}
		count := 0
		leak.ScanReader(t.Context(), "f", in, leak.Report{
			Found: func(at leak.Finding) {
				if want := bytes.Count(before, []byte("\n")) + 1; at.Line != want || at.Sum != access.NewSecret(key).Sum() {
					t.Errorf("found %+v, want line %d", at, want)
				}
				count++
			},
			Skipped: func(path string, err error) { t.Error(path, err) },
		})
		if count != 1 {
			t.Errorf("found %d times", count)
		}
	})
}
