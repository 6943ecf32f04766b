package distribution

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

const (
	d256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	d512 = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

var cmpRequest = cmp.AllowUnexported(request{}, page{}, oci.Ref{})

func TestParse(t *testing.T) {
	n := func(n int, last string) page { return page{n, last} }
	for _, c := range []struct {
		method, target string
		want           request
	}{
		{"GET", "/v2", request{}},
		{"GET", "/v2/", request{}},
		{"GET", "/v2/_catalog", request{resource: catalog, page: n(1000, "")}},
		{"GET", "/v2/_catalog?n=5&last=a/b", request{resource: catalog, page: n(5, "a/b")}},
		{"GET", "/v2/a/manifests/v1", request{resource: manifest, repo: "a", ref: oci.ByTag("v1")}},
		{"GET", "/v2/a/manifests/v1?ns=docker.io&token=x", request{resource: manifest, repo: "a", ref: oci.ByTag("v1")}},
		{"HEAD", "/v2/a/b/manifests/" + d512, request{resource: manifest, repo: "a/b", ref: oci.ByDigest(d512)}},
		{"GET", "/v2/a/manifests/sha256%3A" + d256[7:], request{resource: manifest, repo: "a", ref: oci.ByDigest(d256)}},
		{"GET", "/v2/a/blobs/sha256%3a" + d256[7:], request{resource: blob, repo: "a", digest: d256}},
		{"DELETE", "/v2/a/blobs/" + d256, request{resource: blob, repo: "a", digest: d256}},
		{"PUT", "/v2/a/manifests/" + d256 + "?tag=x&tag=y&tag=x", request{resource: manifest, repo: "a", ref: oci.ByDigest(d256), tags: []oci.Tag{"x", "y", "x"}}},
		{"POST", "/v2/a/blobs/uploads/", request{resource: uploads, repo: "a"}},
		{"POST", "/v2/a/blobs/uploads/?digest=" + d256, request{resource: uploads, repo: "a", digest: d256}},
		{"POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", request{resource: uploads, repo: "a"}},
		{"POST", "/v2/a/blobs/uploads/?mount=" + d256, request{resource: uploads, repo: "a", mount: registry.BlobAt{Digest: d256}}},
		{"POST", "/v2/a/blobs/uploads/?mount=" + d256 + "&from=", request{resource: uploads, repo: "a", mount: registry.BlobAt{Digest: d256}}},
		{"POST", "/v2/a/blobs/uploads/?from=b%2Fc&mount=" + url.QueryEscape(d256), request{resource: uploads, repo: "a", mount: registry.BlobAt{Repo: "b/c", Digest: d256}}},
		{"POST", "/v2/a/blobs/uploads/?from=b", request{resource: uploads, repo: "a"}},
		{"POST", "/v2/a/blobs/uploads/?from=b/../c&mount=" + d256, request{resource: uploads, repo: "a"}},
		{"POST", "/v2/a/blobs/uploads/?from=B&mount=" + d256, request{resource: uploads, repo: "a"}},
		{"POST", "/v2/a/blobs/uploads/?from=b:tag&mount=" + d256, request{resource: uploads, repo: "a"}},
		{"PATCH", "/v2/a/blobs/uploads/0a-_Z", request{resource: upload, repo: "a", upload: "0a-_Z"}},
		{"PUT", "/v2/a/blobs/uploads/7?x=1&digest=" + d256, request{resource: upload, repo: "a", upload: "7", digest: d256}},
		{"GET", "/v2/a/blobs/uploads/7?digest=" + d256, request{resource: upload, repo: "a", upload: "7"}},
		{"GET", "/v2/a/tags/list", request{resource: tags, repo: "a", page: n(1000, "")}},
		{"GET", "/v2/a/tags/list?n=0&last=v1", request{resource: tags, repo: "a", page: n(0, "v1")}},
		{"GET", "/v2/a/tags/list?n=1001", request{resource: tags, repo: "a", page: n(1000, "")}},
		{"GET", "/v2/a/tags/list?n=99999999999999999999999", request{resource: tags, repo: "a", page: n(1000, "")}},
		{"GET", "/v2/a/referrers/" + d256, request{resource: referrers, repo: "a", digest: d256}},
		{"GET", "/v2/a/referrers/" + d256 + "?artifactType=&artifactType=x/y%2Bz&artifactType=u&last=" + d256,
			request{resource: referrers, repo: "a", digest: d256, kinds: []string{"x/y+z", "u"}, page: n(0, d256)}},
	} {
		c.want.method = c.method
		path, query, _ := strings.Cut(c.target, "?")
		got, err := parse(c.method, path, query)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.target, err)
		} else if diff := cmp.Diff(c.want, got, cmpRequest); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.method, c.target, diff)
		}
	}
}

// refused are targets outside the grammar, and the code that says so.
var refused = []struct {
	name, method, target string
	code                 oci.Code
}{
	{"not ours", "GET", "/v3/", oci.Unsupported},
	{"not ours", "GET", "/v2x", oci.Unsupported},
	{"not ours", "GET", "", oci.Unsupported},
	{"not ours", "GET", "/_catalog", oci.Unsupported},
	{"not ours", "GET", "/a/manifests/x", oci.Unsupported},
	{"H-06 double slash", "GET", "//v2/a/manifests/x", oci.Unsupported},
	{"H-06 dot", "GET", "/v2/./a/manifests/x", oci.NameInvalid},
	{"H-06 case", "GET", "/V2/a/manifests/x", oci.Unsupported},
	{"H-06 trailing slash", "GET", "/v2/a/manifests/x/", oci.Unsupported},
	{"H-06 trailing slash", "GET", "/v2/a/tags/list/", oci.Unsupported},
	{"H-06 trailing slash", "GET", "/v2/_catalog/", oci.Unsupported},
	{"H-06 no slash", "POST", "/v2/a/blobs/uploads", oci.DigestInvalid},
	{"H-06 parameter", "GET", "/v2/a;x/manifests/x", oci.NameInvalid},
	{"H-06 parameter", "GET", "/v2/a/manifests;x/x", oci.Unsupported},
	{"H-06 parameter", "GET", "/v2/a/manifests/x;y", oci.TagInvalid},
	{"no endpoint", "GET", "/v2/a", oci.Unsupported},
	{"no endpoint", "GET", "/v2/a/b/c", oci.Unsupported},
	{"no endpoint", "GET", "/v2/a/_oci/ext/discover", oci.Unsupported},
	{"no endpoint", "GET", "/v2/a/tags/other", oci.Unsupported},
	{"no endpoint", "GET", "/v2/a/uploads/x", oci.Unsupported},
	{"no name", "GET", "/v2/manifests/x", oci.NameInvalid},
	{"no name", "GET", "/v2//manifests/x", oci.NameInvalid},
	{"no name", "GET", "/v2/tags/list", oci.NameInvalid},
	{"no name", "POST", "/v2/blobs/uploads/", oci.NameInvalid},
	{"S-07 dot-dot", "GET", "/v2/team-a/app/../../team-b/secret/manifests/x", oci.NameInvalid},
	{"S-07 dot-dot", "GET", "/v2/a/manifests/..", oci.TagInvalid},
	{"S-07 dot-dot", "GET", "/v2/a/blobs/uploads/..", oci.BlobUploadUnknown},
	{"S-07 %2e%2e", "GET", "/v2/a/%2e%2e/b/manifests/x", oci.NameInvalid},
	{"S-07 %2f", "GET", "/v2/a%2fb/manifests/x", oci.NameInvalid},
	{"S-07 %2f", "GET", "/v2/a/manifests%2fx", oci.Unsupported},
	{"S-07 %2f", "GET", "/v2/a/manifests/x%2fy", oci.TagInvalid},
	{"S-07 %5c", "GET", "/v2/a%5cb/manifests/x", oci.NameInvalid},
	{"S-07 escaped letter", "GET", "/v2/%61/manifests/x", oci.NameInvalid},
	{"S-07 escaped letter", "GET", "/v2/a/manifests/%78", oci.TagInvalid},
	{"S-07 escaped colon elsewhere", "GET", "/v2/a%3Ab/manifests/x", oci.NameInvalid},
	{"S-07 escaped colon twice", "GET", "/v2/a/blobs/sha256%3A%3A" + d256[7:], oci.DigestInvalid},
	{"R-01 NUL", "GET", "/v2/a\x00/manifests/x", oci.NameInvalid},
	{"R-01 NUL", "GET", "/v2/a%00/manifests/x", oci.NameInvalid},
	{"R-01 backslash", "GET", `/v2/a\b/manifests/x`, oci.NameInvalid},
	{"R-01 double slash", "GET", "/v2/a//b/manifests/x", oci.NameInvalid},
	{"R-01 dot", "GET", "/v2/a/./b/manifests/x", oci.NameInvalid},
	{"R-01 long", "GET", "/v2/" + strings.Repeat("a", 300) + "/manifests/x", oci.NameInvalid},
	{"R-33 capital", "GET", "/v2/team-a/App/manifests/x", oci.NameInvalid},
	{"R-17 tag", "GET", "/v2/a/manifests/-a", oci.TagInvalid},
	{"R-17 tag", "GET", "/v2/a/manifests/.a", oci.TagInvalid},
	{"R-17 tag", "GET", "/v2/a/manifests/" + strings.Repeat("a", 129), oci.TagInvalid},
	{"R-17 tag", "GET", "/v2/a/manifests/", oci.TagInvalid},
	{"R-04 algorithm", "GET", "/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", oci.DigestInvalid},
	{"R-04 algorithm", "GET", "/v2/a/blobs/blake3:" + d256[7:], oci.DigestInvalid},
	{"R-04 length", "GET", "/v2/a/blobs/sha512:" + d256[7:], oci.DigestInvalid},
	{"R-04 capital", "GET", "/v2/a/blobs/" + strings.ToUpper(d256), oci.DigestInvalid},
	{"R-04 hint", "POST", "/v2/a/blobs/uploads/?digest-algorithm=sha1", oci.DigestInvalid},
	{"bad digest", "GET", "/v2/a/manifests/sha256:baddigeststring", oci.DigestInvalid},
	{"R-03 mount", "POST", "/v2/a/blobs/uploads/?mount=sha256:x&from=b", oci.DigestInvalid},
	{"empty mount", "POST", "/v2/a/blobs/uploads/?mount=&from=b", oci.DigestInvalid},
	{"two mounts", "POST", "/v2/a/blobs/uploads/?mount=" + d256 + "&mount=" + d512, oci.DigestInvalid},
	{"two froms", "POST", "/v2/a/blobs/uploads/?mount=" + d256 + "&from=b&from=c", oci.NameInvalid},
	{"two digests", "PUT", "/v2/a/blobs/uploads/7?digest=" + d256 + "&digest=" + d512, oci.DigestInvalid},
	{"same digest twice", "PUT", "/v2/a/blobs/uploads/7?digest=" + d256 + "&digest=" + d256, oci.DigestInvalid},
	{"no digest", "PUT", "/v2/a/blobs/uploads/7", oci.DigestInvalid},
	{"empty digest", "PUT", "/v2/a/blobs/uploads/7?digest=", oci.DigestInvalid},
	{"empty digest", "POST", "/v2/a/blobs/uploads/?digest=", oci.DigestInvalid},
	{"query", "PUT", "/v2/a/blobs/uploads/7?digest=%zz", oci.Unsupported},
	{"query", "PUT", "/v2/a/blobs/uploads/7?a;digest=" + d256, oci.Unsupported},
	{"H-09 parameters", "GET", "/v2/a/tags/list?" + strings.Repeat("a&", 20_000), oci.Unsupported},
	{"upload id", "PATCH", "/v2/a/blobs/uploads/" + strings.Repeat("a", 129), oci.BlobUploadUnknown},
	{"tag beside a tag", "PUT", "/v2/a/manifests/x?tag=y", oci.TagInvalid},
	{"bad tag", "PUT", "/v2/a/manifests/" + d256 + "?tag=x&tag=-", oci.TagInvalid},
	{"too many tags", "PUT", "/v2/a/manifests/" + d256 + "?x" + strings.Repeat("&tag=x", 101), oci.TagInvalid},
	{"n", "GET", "/v2/a/tags/list?n=-1", oci.PageInvalid},
	{"n", "GET", "/v2/a/tags/list?n=%2B1", oci.PageInvalid},
	{"n", "GET", "/v2/a/tags/list?n=1e3", oci.PageInvalid},
	{"n", "GET", "/v2/a/tags/list?n=", oci.PageInvalid},
	{"n", "GET", "/v2/_catalog?n=x", oci.PageInvalid},
	{"two n", "GET", "/v2/_catalog?n=1&n=2", oci.PageInvalid},
	{"R-16 last", "GET", "/v2/a/tags/list?last=x%3E%3B+rel%3D%22evil%22", oci.TagInvalid},
	{"R-16 last", "GET", "/v2/a/tags/list?last=x%0d%0aSet-Cookie:a", oci.TagInvalid},
	{"R-16 last", "GET", "/v2/a/tags/list?last=%C3%A9", oci.TagInvalid},
	{"R-16 last", "GET", "/v2/_catalog?last=%00", oci.NameInvalid},
	{"R-16 last", "GET", "/v2/a/referrers/" + d256 + "?last=v1", oci.DigestInvalid},
}

func TestParseRefuses(t *testing.T) {
	for _, c := range refused {
		path, query, _ := strings.Cut(c.target, "?")
		got, err := parse(c.method, path, query)
		if code, _ := oci.CodeOf(err); code != c.code {
			t.Errorf("%s: %s %.100q: got %v %v, want %s", c.name, c.method, c.target, got, err, c.code)
		}
	}
}

// S-08: names may hold every word that our paths are made of.
func TestNamesThatLookLikePaths(t *testing.T) {
	words := []string{"manifests", "blobs", "uploads", "tags", "list", "referrers", "v2", "x"}
	var names []string
	for _, a := range words {
		names = append(names, a)
		for _, b := range words {
			names = append(names, a+"/"+b)
			for _, c := range words {
				names = append(names, a+"/"+b+"/"+c)
			}
		}
	}
	for _, name := range names {
		repo := oci.RepoName(name)
		for _, want := range []request{
			{method: "GET", resource: manifest, repo: repo, ref: oci.ByTag("list")},
			{method: "GET", resource: manifest, repo: repo, ref: oci.ByTag("uploads")},
			{method: "GET", resource: manifest, repo: repo, ref: oci.ByDigest(d256)},
			{method: "GET", resource: blob, repo: repo, digest: d256},
			{method: "POST", resource: uploads, repo: repo},
			{method: "PATCH", resource: upload, repo: repo, upload: "list"},
			{method: "GET", resource: tags, repo: repo, page: page{n: 1000}},
			{method: "GET", resource: referrers, repo: repo, digest: d256},
		} {
			lawOfParse(t, want)
		}
	}
}

// lawOfParse fails unless parse gives back what construct was made from.
func lawOfParse(t *testing.T, q request) {
	t.Helper()
	target := q.construct()
	path, query, _ := strings.Cut(target, "?")
	got, err := parse(q.method, path, query)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, target, err)
	}
	if diff := cmp.Diff(q, got, cmpRequest); diff != "" {
		t.Fatalf("%s %s (-want +got):\n%s", q.method, target, diff)
	}
}

// grammar is the specification's table once more, as expressions: greedy, so
// that a name takes as much as it can, from the left.
var grammar = func() map[resource]*regexp.Regexp {
	const (
		component = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
		name      = `(` + component + `(?:/` + component + `)*)`
		digest    = `(?:sha256(?::|%3A|%3a)[0-9a-f]{64}|sha512(?::|%3A|%3a)[0-9a-f]{128})`
		tag       = `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
	)
	line := func(s string) *regexp.Regexp { return regexp.MustCompile(`^/v2` + s + `$`) }
	return map[resource]*regexp.Regexp{
		ping:      line(`/?`),
		catalog:   line(`/_catalog`),
		manifest:  line(`/` + name + `/manifests/(?:` + tag + `|` + digest + `)`),
		blob:      line(`/` + name + `/blobs/` + digest),
		uploads:   line(`/` + name + `/blobs/uploads/`),
		upload:    line(`/` + name + `/blobs/uploads/[a-zA-Z0-9_-]{1,128}`),
		tags:      line(`/` + name + `/tags/list`),
		referrers: line(`/` + name + `/referrers/` + digest),
	}
}()

// FuzzParse holds parse to two laws: it inverts construct, and it reads the
// name that the grammar reads (S-07, H-06).
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/_catalog?n=3&last=a", "/v2/a/b/tags/list?n=1&last=x", "/v2/a/manifests/v1",
		"/v2/blobs/uploads/blobs/uploads/", "/v2/tags/list/tags/list", "/v2/a/blobs/" + d256,
		"/v2/a/manifests/sha256%3A" + d256[7:] + "?tag=a&tag=b", "/v2/a/blobs/uploads/x?digest=" + d256,
		"/v2/a/blobs/uploads/?mount=" + d256 + "&from=b/c", "/v2/a/referrers/" + d256 + "?artifactType=a%2Bb",
		"/v2/a/../b/manifests/v1", "/v2/a%2fb/manifests/v1", "/v2/a/manifests/",
	} {
		for method := range len(knownMethods) {
			f.Add(uint8(method), seed)
		}
	}
	f.Fuzz(func(t *testing.T, m uint8, target string) {
		method := knownMethods[int(m)%len(knownMethods)]
		path, query, _ := strings.Cut(target, "?")
		q, err := parse(method, path, query)
		if err != nil {
			code, text := oci.CodeOf(err)
			if _, known := answers[code]; !known || text == "" && code != oci.BlobUploadUnknown {
				t.Fatalf("%q: error %v has no answer", target, err)
			}
			return
		}
		lawOfParse(t, q)
		found := 0
		for r, re := range grammar {
			groups := re.FindStringSubmatch(path)
			if groups == nil {
				continue
			}
			if found++; r != q.resource || len(groups) > 1 && groups[1] != string(q.repo) {
				t.Fatalf("%q: grammar reads %d %q, parse %d %q", target, r, groups[1:], q.resource, q.repo)
			}
		}
		if found != 1 {
			t.Fatalf("%q: parsed, but the grammar reads it in %d ways", target, found)
		}
	})
}

// FuzzLink follows the Link of a page: whatever the filter, it is one link, it
// is a path, and it asks for the same list.
func FuzzLink(f *testing.F) {
	f.Add("a/b", "v1.0", "application/x+y")
	f.Add("a", "x", "x>; rel=\"evil\", <http://evil.test/")
	f.Add("a", "x", "é\r\n&n=1#;")
	f.Fuzz(func(t *testing.T, name, tag, kind string) {
		repo, nameErr := oci.ParseRepoName(name)
		last, tagErr := oci.ParseTag(tag)
		if nameErr != nil || tagErr != nil || kind == "" {
			return
		}
		for _, q := range []request{
			{method: "GET", resource: tags, repo: repo, page: page{n: 7}},
			{method: "GET", resource: referrers, repo: repo, digest: d256, kinds: []string{kind, "b"}},
		} {
			want := q
			want.page.last = string(last)
			if q.resource == referrers {
				want.page.last = d512
			}
			w := &headerOnly{http.Header{}}
			(&call{request: q, w: w}).linkNext(want.page.last)
			target, found := strings.CutSuffix(w.Header().Get("Link"), `>; rel="next"`)
			if !found || target[0] != '<' || strings.ContainsAny(target[1:], "<>\" ,\r\n") {
				t.Fatalf("Link is %q", w.Header().Get("Link"))
			}
			u, err := url.Parse(target[1:])
			if err != nil || u.Host != "" || u.Scheme != "" || u.Fragment != "" {
				t.Fatalf("Link is %q: %v", target, err)
			}
			got, err := parse("GET", u.EscapedPath(), u.RawQuery)
			if diff := cmp.Diff(want, got, cmpRequest); err != nil || diff != "" {
				t.Fatalf("Link %q: %v\n%s", target, err, diff)
			}
		}
	})
}

// headerOnly is a ResponseWriter of which only the header is looked at.
type headerOnly struct{ header http.Header }

func (w *headerOnly) Header() http.Header       { return w.header }
func (w *headerOnly) Write([]byte) (int, error) { return 0, http.ErrBodyNotAllowed }
func (w *headerOnly) WriteHeader(int)           {}
