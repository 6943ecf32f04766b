package distribution

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// A resource is what a path of /v2/ names.
type resource int

const (
	ping      resource = iota // /v2/
	catalog                   // /v2/_catalog
	manifest                  // /v2/<repo>/manifests/<ref>
	blob                      // /v2/<repo>/blobs/<digest>
	uploads                   // /v2/<repo>/blobs/uploads/
	upload                    // /v2/<repo>/blobs/uploads/<id>
	tags                      // /v2/<repo>/tags/list
	referrers                 // /v2/<repo>/referrers/<digest>

	resources // how many there are
)

// Limits on what a request may name.
const (
	maxPage     = 1000 // entries of a list in one answer, and the default
	maxUploadID = 128  // bytes
)

// A request is what method and target of an HTTP request mean. It is made once,
// by parse, and nothing looks at the target again: the names that are
// authorised are the names that are used.
type request struct {
	method   string
	resource resource

	repo   oci.RepoName
	ref    oci.Ref           // manifest
	digest oci.Digest        // blob and referrers: the path's; uploads and upload: the query's, or ""
	upload registry.UploadID // upload
	mount  registry.BlobAt   // uploads; the zero value is no mount
	tags   []oci.Tag         // manifest: ?tag= beside a digest (end-7b)
	page   page              // lists
	kinds  []string          // referrers: ?artifactType=, any of them
}

// A page is a part of a list: at most n entries after last, which is inside the
// grammar of what the list lists, or "".
type page struct {
	n    int
	last string
}

// parse reads a method and an escaped path and query, as they came. Names may
// have components called like parts of our paths, so paths are read from the
// right end (distribution-spec, "Endpoints"). Nothing is decoded but a colon in
// the last segment: any other escape is outside every grammar.
func parse(method, path, query string) (request, error) {
	q := request{method: method}
	if err := q.parsePath(path); err != nil {
		return request{}, err
	}
	if err := q.parseQuery(query); err != nil {
		return request{}, err
	}
	return q, nil
}

func (q *request) parsePath(path string) error {
	rest, found := strings.CutPrefix(path, "/v2")
	switch {
	case !found:
		return noSuchEndpoint()
	case rest == "" || rest == "/":
		q.resource = ping
		return nil
	case rest == "/_catalog":
		q.resource = catalog
		return nil
	case rest[0] != '/':
		return noSuchEndpoint()
	}
	rest, last := cutLast(rest[1:])
	name, word := cutLast(rest)
	switch {
	case word == "manifests":
		q.resource = manifest
	case word == "blobs":
		q.resource = blob
	case word == "referrers":
		q.resource = referrers
	case word == "tags" && last == "list":
		q.resource = tags
	case word == "uploads" && strings.HasSuffix("/"+name, "/blobs"):
		name, _ = cutLast(name)
		q.resource = upload
		if last == "" {
			q.resource = uploads
		}
	default:
		return noSuchEndpoint()
	}
	var err error
	if q.repo, err = oci.ParseRepoName(name); err != nil {
		return err
	}
	return q.parseLast(last)
}

// parseLast reads the last segment of a path.
func (q *request) parseLast(s string) (err error) {
	switch q.resource {
	case manifest:
		q.ref, err = oci.ParseRef(unescapeColon(s))
	case blob, referrers:
		q.digest, err = oci.ParseDigest(unescapeColon(s))
	case upload:
		q.upload, err = parseUploadID(s)
	}
	return err
}

// cutLast cuts s around its last slash; without one everything is after it.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	return s[:max(i, 0)], s[i+1:]
}

// unescapeColon undoes what some clients do to the colon of a digest.
func unescapeColon(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	return strings.Replace(strings.Replace(s, "%3A", ":", 1), "%3a", ":", 1)
}

// parseUploadID checks only that s could be an id of ours.
func parseUploadID(s string) (registry.UploadID, error) {
	ok := len(s) <= maxUploadID
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
	}
	if !ok {
		return "", oci.BlobUploadUnknown
	}
	return registry.UploadID(s), nil
}

// parseQuery reads the parameters that the endpoint knows. Others are ignored,
// among them tokens: a query ends up in logs.
func (q *request) parseQuery(query string) error {
	var read func(url.Values) error
	switch reads := reads(q.method); {
	case q.resource == uploads && q.method == http.MethodPost:
		read = q.readStart
	case q.resource == upload && q.method == http.MethodPut:
		read = q.readFinish
	case q.resource == manifest && q.method == http.MethodPut:
		read = q.readTags
	case q.resource == tags && reads:
		read = q.readTagPage
	case q.resource == catalog && reads:
		read = q.readCatalogPage
	case q.resource == referrers && reads:
		read = q.readReferrers
	default:
		return nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return refuse(http.StatusBadRequest, oci.Unsupported, "the query is not well-formed")
	}
	return read(values)
}

// reads reports whether method only looks.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// single returns the one value of a parameter, or "".
func single(v url.Values, key string, code oci.Code) (string, error) {
	if len(v[key]) > 1 {
		return "", refuse(http.StatusBadRequest, code, "query parameter %q is given %d times", key, len(v[key]))
	}
	return v.Get(key), nil
}

func digestParameter(v url.Values, key string) (oci.Digest, error) {
	s, err := single(v, key, oci.DigestInvalid)
	if err != nil || s == "" && !v.Has(key) {
		return "", err
	}
	return oci.ParseDigest(s)
}

// readStart reads the parameters of end-4 and end-11. A "from" that can be no
// repository is one where the blob was not found: a plain session begins.
func (q *request) readStart(v url.Values) (err error) {
	if q.digest, err = digestParameter(v, "digest"); err != nil {
		return err
	}
	if q.mount.Digest, err = digestParameter(v, "mount"); err != nil {
		return err
	}
	algorithm, err := single(v, "digest-algorithm", oci.DigestInvalid)
	if err != nil {
		return err
	}
	if algorithm != "" && oci.NewHash(algorithm) == nil {
		return oci.Errorf(oci.DigestInvalid, "digest-algorithm %.40q is not supported: use sha256 or sha512", algorithm)
	}
	from, err := single(v, "from", oci.NameInvalid)
	if err != nil || from == "" || q.mount.Digest == "" {
		return err
	}
	if q.mount.Repo, err = oci.ParseRepoName(from); err != nil {
		q.mount = registry.BlobAt{}
	}
	return nil
}

func (q *request) readFinish(v url.Values) (err error) {
	if q.digest, err = digestParameter(v, "digest"); err == nil && q.digest == "" {
		err = oci.Errorf(oci.DigestInvalid, "query parameter \"digest\" is missing")
	}
	return err
}

func (q *request) readTags(v url.Values) error {
	switch n := len(v["tag"]); {
	case n == 0:
		return nil
	case q.ref.Digest() == "":
		return oci.Errorf(oci.TagInvalid, "query parameter \"tag\" needs a digest in the path, not a tag")
	case n > registry.MaxTags:
		return refuse(http.StatusRequestURITooLong, oci.TagInvalid, "%d tags in one request: the limit is %d", n, registry.MaxTags)
	}
	for _, s := range v["tag"] {
		t, err := oci.ParseTag(s)
		if err != nil {
			return err
		}
		q.tags = append(q.tags, t)
	}
	return nil
}

func (q *request) readTagPage(v url.Values) error {
	if err := q.page.readN(v); err != nil {
		return err
	}
	return readLast(q, v, oci.TagInvalid, oci.ParseTag)
}

func (q *request) readCatalogPage(v url.Values) error {
	if err := q.page.readN(v); err != nil {
		return err
	}
	return readLast(q, v, oci.NameInvalid, oci.ParseRepoName)
}

// readReferrers reads the filter and, since pages of this list end where we
// end them, only "last" of the page.
func (q *request) readReferrers(v url.Values) error {
	for _, kind := range v["artifactType"] {
		if kind != "" {
			q.kinds = append(q.kinds, kind)
		}
	}
	return readLast(q, v, oci.DigestInvalid, oci.ParseDigest)
}

// readN reads "n": at most maxPage, which is also the default.
func (p *page) readN(v url.Values) error {
	p.n = maxPage
	s, err := single(v, "n", oci.PageInvalid)
	if err != nil || !v.Has("n") {
		return err
	}
	if !digits(s) {
		return oci.Errorf(oci.PageInvalid, "query parameter \"n\" is %.40q: want a number that is not negative", s)
	}
	if n, err := strconv.Atoi(s); err == nil && n < maxPage {
		p.n = n
	}
	return nil
}

// digits reports whether s is a decimal number and nothing else.
func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func readLast[T ~string](q *request, v url.Values, code oci.Code, parse func(string) (T, error)) error {
	s, err := single(v, "last", code)
	if err != nil || s == "" {
		return err
	}
	last, err := parse(s)
	q.page.last = string(last)
	return err
}

// construct is the inverse of parse: parse(q.method, construct(q)) gives q
// again. It makes Location and Link, which are paths, so that they hold behind
// any name that the client knows us by.
func (q request) construct() string {
	if q.resource == ping {
		return "/v2/"
	}
	if q.resource == catalog {
		return "/v2/_catalog" + q.query()
	}
	path := "/v2/" + string(q.repo)
	switch q.resource {
	case manifest:
		path += "/manifests/" + q.ref.String()
	case blob:
		path += "/blobs/" + string(q.digest)
	case uploads:
		path += "/blobs/uploads/"
	case upload:
		path += "/blobs/uploads/" + string(q.upload)
	case tags:
		path += "/tags/list"
	case referrers:
		path += "/referrers/" + string(q.digest)
	}
	return path + q.query()
}

// query returns the query of construct with its "?", or "".
func (q request) query() string {
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	switch q.resource {
	case uploads:
		set("digest", string(q.digest))
		set("mount", string(q.mount.Digest))
		set("from", string(q.mount.Repo))
	case upload:
		set("digest", string(q.digest))
	case manifest:
		for _, t := range q.tags {
			v.Add("tag", string(t))
		}
	case tags, catalog:
		set("last", q.page.last)
		if reads(q.method) {
			v.Set("n", strconv.Itoa(q.page.n))
		}
	case referrers:
		set("last", q.page.last)
		for _, kind := range q.kinds {
			v.Add("artifactType", kind)
		}
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}
