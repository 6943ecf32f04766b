package distribution_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// A broken registry answers manifests with an error, and referrers with what it
// is told to.
type broken struct {
	registry.Registry
	err       error
	referrers []oci.Descriptor
}

func (b broken) Manifest(ctx context.Context, repo oci.RepoName, ref oci.Ref) (oci.RawManifest, error) {
	if errors.Is(b.err, context.Canceled) {
		<-ctx.Done()
	}
	return oci.RawManifest{}, b.err
}

func (b broken) Referrers(_ context.Context, _ oci.RepoName, _, after oci.Digest) iter.Seq2[oci.Descriptor, error] {
	return func(yield func(oci.Descriptor, error) bool) {
		for _, d := range b.referrers {
			if d.Digest > after && !yield(d, nil) {
				return
			}
		}
	}
}

func TestErrors(t *testing.T) {
	inner := errors.New("dial db.internal: password authentication failed")
	for _, c := range []struct {
		err    error
		status int
		want   string // in the body
		logged bool
	}{
		{oci.BlobUnknown, 404, `"BLOB_UNKNOWN"`, false},
		{oci.BlobUploadInvalid, 400, `"BLOB_UPLOAD_INVALID"`, false},
		{oci.BlobUploadUnknown, 404, `"BLOB_UPLOAD_UNKNOWN"`, false},
		{oci.DigestInvalid, 400, `"DIGEST_INVALID"`, false},
		{oci.ManifestBlobUnknown, 400, `"MANIFEST_BLOB_UNKNOWN"`, false},
		{oci.ManifestInvalid, 400, `"MANIFEST_INVALID"`, false},
		{oci.ManifestUnknown, 404, `"MANIFEST_UNKNOWN"`, false},
		{oci.NameInvalid, 400, `"NAME_INVALID"`, false},
		{oci.NameUnknown, 404, `"NAME_UNKNOWN"`, false},
		{oci.SizeInvalid, 400, `"SIZE_INVALID"`, false},
		{oci.Unauthorized, 401, `"UNAUTHORIZED"`, false},
		{oci.Denied, 403, `"DENIED"`, false},
		{oci.Unsupported, 405, `"UNSUPPORTED"`, false},
		{oci.TooManyRequests, 429, `"TOOMANYREQUESTS"`, false},
		{oci.RangeInvalid, 416, `"RANGE_INVALID"`, false},
		{oci.TagInvalid, 400, `"TAG_INVALID"`, false},
		{oci.PageInvalid, 400, `"PAGINATION_NUMBER_INVALID"`, false},
		{oci.ManifestTooLarge, 413, `"MANIFEST_TOO_LARGE"`, false},
		{oci.StorageFull, 507, `"STORAGE_FULL"`, true},
		{oci.Unavailable, 503, `"UNAVAILABLE"`, true},
		{fmt.Errorf("find manifest: %w", oci.ManifestUnknown), 404, `"message":"manifest unknown"`, false},
		{fmt.Errorf("find manifest: %w", oci.Errorf(oci.ManifestUnknown, "no %q", "v1")), 404, `"message":"no \"v1\""`, false},
		{fmt.Errorf("find manifest: %w: %w", oci.StorageFull, inner), 507, `"message":"no space left for pushes"`, true},
		{inner, 500, `{"code":"UNKNOWN","message":"internal error (request req-1)"`, true},
		{errors.New("nothing"), 500, `"UNKNOWN"`, true},
	} {
		g, r := newRooms(t)
		h := openHouse(t, broken{Registry: r, err: c.err}, g)
		got := h.do("GET", "/v2/team-a/app/manifests/v1", token("alice", pushApp), nil, "")
		if got.StatusCode != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%v: got %d %s, want %d %s", c.err, got.StatusCode, got.body, c.status, c.want)
		}
		if strings.Contains(got.body, "password") || strings.Contains(fmt.Sprint(got.Header), "password") {
			t.Errorf("%v: tells %s", c.err, got.body)
		}
		if wait := got.Header.Get("Retry-After"); (wait != "") != (c.status == 429 || c.status == 503) {
			t.Errorf("%v: Retry-After %q", c.err, wait)
		}
		if log := h.log.String(); strings.Count(log, "\n") != map[bool]int{true: 1}[c.logged] || c.logged && !strings.Contains(log, requestID) {
			t.Errorf("%v: log is %q", c.err, log)
		}
	}
}

// A client that goes away is not a failure of ours.
func TestClientGoesAway(t *testing.T) {
	g, r := newRooms(t)
	h := openHouse(t, broken{Registry: r, err: fmt.Errorf("find manifest: %w", context.Canceled)}, g)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", h.server.URL+"/v2/team-a/app/manifests/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token("alice", pushApp))
	done := make(chan error)
	go func() {
		_, err := h.server.Client().Do(req)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	h.server.Close() // waits for the handler
	if log := h.log.String(); log != "" {
		t.Errorf("log is %q", log)
	}
}

// Pages of referrers end by number and by bytes, and lose nothing.
func TestReferrersInPages(t *testing.T) {
	g, r := newRooms(t)
	many := func(n int, annotation string) []oci.Descriptor {
		var all []oci.Descriptor
		for i := range n {
			all = append(all, oci.Descriptor{
				MediaType: oci.MediaTypeImageManifest, Digest: oci.FromBytes(fmt.Append(nil, i)), Size: 1,
				ArtifactType: fmt.Sprint("type/", i%2), Annotations: map[string]string{"a": annotation},
			})
		}
		slices.SortFunc(all, func(a, b oci.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
		return all
	}
	for _, c := range []struct {
		name          string
		all           []oci.Descriptor
		filter        string
		listed, pages int
	}{
		{"one full page", many(1000, ""), "", 1000, 1},
		{"one more", many(1001, ""), "", 1001, 2},
		{"filter", many(2002, ""), "?artifactType=type%2F1", 1001, 2},
		{"large annotations", many(5, strings.Repeat("x", 400<<10)), "", 5, 3},
		{"larger than a page", many(3, strings.Repeat("x", 2<<20)), "", 3, 3},
	} {
		h := openHouse(t, broken{Registry: r, referrers: c.all}, g)
		cl := &client{base: h.server.URL, http: h.server.Client(), user: "root"}
		target := "/v2/team-a/app/referrers/" + string(oci.FromBytes(nil)) + c.filter
		listed, n := map[oci.Digest]bool{}, 0
		for target != "" {
			n++
			resp, err := cl.roundTrip(t.Context(), "GET", target, nil, nil, on("team-a/app"), 200)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range decodeIndex(t, resp.Body) {
				listed[d.Digest] = true
			}
			target, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
		}
		if len(listed) != c.listed || n != c.pages {
			t.Errorf("%s: %d listed in %d pages, want %d in %d", c.name, len(listed), n, c.listed, c.pages)
		}
	}
}
