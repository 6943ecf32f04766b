package access_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

// narrowingOf reads "a/** lib/*;pull push;10.0.0.0/8".
func narrowingOf(t testing.TB, text string) access.Narrowing {
	t.Helper()
	parts := append(strings.Split(text, ";"), "", "")
	n, err := access.NewNarrowing(strings.Fields(parts[0]), strings.Fields(parts[1]), strings.Fields(parts[2]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNarrow(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"", "a/**", "a/**"},
		{"", ";pull", ";pull"},
		{"", ";admin", ";admin"},
		{"a/**", "a/b a/*/c", "a/b a/*/c"},
		{"a/**", "a/b/**", "a/b/**"},
		{"**", "x*/**", "x*/**"},
		{"a/*", "a/x*", "a/x*"},
		{"a/**;pull push", ";pull", "a/**;pull"},
		{";push", ";create-tag", ";create-tag"},
		{";;10.0.0.0/8", ";;10.1.0.0/16", ";;10.1.0.0/16"},
		{"a/**;pull", ";;10.0.0.0/8", "a/**;pull;10.0.0.0/8"},
		{"a/**", "a", "pattern"},
		{"a/**", "**", "pattern"},
		{"a/*", "a/**", "pattern"},
		{"a/*", "a/b/c", "pattern"},
		{"a/x*", "a/*", "pattern"},
		{"a/*/c", "a/**", "pattern"},
		{";pull", ";pull push", "action"},
		{";create-tag", ";push", "action"},
		{"a/**", ";admin", "action"},
		{"a/**", ";manage-keys", "action"},
		{";;10.0.0.0/8", ";;10.0.0.0/7", "network"},
		{";;10.0.0.0/8", ";;::/0", "network"},
		{";;10.0.0.0/8", ";;11.0.0.0/16", "network"},
	} {
		got, err := narrowingOf(t, tt.from).Narrow(narrowingOf(t, tt.to))
		if !strings.ContainsAny(tt.want, "/*;") {
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%q to %q: %v, want one about the %s", tt.from, tt.to, err, tt.want)
			}
		} else if err != nil || !got.Equal(narrowingOf(t, tt.want)) {
			t.Errorf("%q to %q: %+v, %v", tt.from, tt.to, got, err)
		}
	}
}

// FuzzNarrow: what a narrowed narrowing leaves, the one it came from left too.
func FuzzNarrow(f *testing.F) {
	f.Add("a/**", "a/b", "a/b")
	f.Add("*/**", "**", "a/b")
	f.Add("**/b", "a/**/b", "a/x/b")
	f.Add("a*/b*", "a*c/b", "axc/b")
	f.Fuzz(func(t *testing.T, from, to, repo string) {
		n, err1 := access.NewNarrowing([]string{from}, nil, nil)
		m, err2 := access.NewNarrowing([]string{to}, nil, nil)
		if _, err := oci.ParseRepoName(repo); err != nil || err1 != nil || err2 != nil {
			return
		}
		got, err := n.Narrow(m)
		if err == nil && got.Allows(access.Pull, repo, access.Origin{}) && !n.Allows(access.Pull, repo, access.Origin{}) {
			t.Errorf("S-36 %q narrowed to %q leaves %q", from, to, repo)
		}
	})
}
