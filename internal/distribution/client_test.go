package distribution_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/blob"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
	"github.com/sallyport/sallyport/internal/registry/registrytest"
)

func TestRegistryOverHTTP(t *testing.T) {
	h := newHouse(t)
	registrytest.Run(t, func(t *testing.T) registry.Registry {
		return &client{base: h.server.URL, http: h.server.Client(), user: "root"}
	})
}

// A client is a Registry that speaks to a door. It builds every target by hand
// from the specification, and knows nothing of the door's own code.
type client struct {
	base string
	http *http.Client
	user string

	sizes sync.Map // UploadID to the bytes sent, as int64
}

// roundTrip sends a request and fails with the answer's code unless its status
// is one of want, in which case the caller closes the body.
func (c *client) roundTrip(ctx context.Context, method, target string, header http.Header, body io.Reader, scope string, want ...int) (*http.Response, error) {
	u, err := url.Parse(c.base)
	if err != nil {
		return nil, err
	}
	if u, err = u.Parse(target); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Authorization", "Bearer "+token(c.user, scope))
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	for _, status := range want {
		if resp.StatusCode == status {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	if method == http.MethodHead { // the code is in a body, so ask for one
		return c.roundTrip(ctx, http.MethodGet, target, header, nil, scope)
	}
	return nil, errorOf(resp)
}

// errorOf reads the body of an error as the specification has it.
func errorOf(resp *http.Response) error {
	var body struct {
		Errors []struct {
			Code    oci.Code `json:"code"`
			Message string   `json:"message"`
		} `json:"errors"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || len(body.Errors) != 1 {
		return fmt.Errorf("status %d with a body that is no error: %v", resp.StatusCode, err)
	}
	return oci.Errorf(body.Errors[0].Code, "%s", body.Errors[0].Message)
}

// simple is roundTrip for answers without a body.
func (c *client) simple(ctx context.Context, method, target string, header http.Header, body io.Reader, scope string, want ...int) (http.Header, int, error) {
	resp, err := c.roundTrip(ctx, method, target, header, body, scope, want...)
	if err != nil {
		return nil, 0, err
	}
	return resp.Header, resp.StatusCode, resp.Body.Close()
}

func on(repo oci.RepoName, more ...string) string {
	return strings.Join(append([]string{"repository:" + string(repo) + ":pull,push,delete"}, more...), " ")
}

func (c *client) Manifest(ctx context.Context, repo oci.RepoName, ref oci.Ref) (oci.RawManifest, error) {
	resp, err := c.roundTrip(ctx, "GET", fmt.Sprintf("/v2/%s/manifests/%s", repo, ref), nil, nil, on(repo), 200)
	if err != nil {
		return oci.RawManifest{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if resp.ContentLength != int64(len(b)) {
		err = errors.Join(err, errors.New("Content-Length is wrong"))
	}
	return oci.RawManifest{MediaType: resp.Header.Get("Content-Type"), Digest: oci.Digest(resp.Header.Get("Docker-Content-Digest")), Bytes: b}, err
}

func blobTarget(repo oci.RepoName, d oci.Digest) string {
	return fmt.Sprintf("/v2/%s/blobs/%s", repo, d)
}

func (c *client) StatBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (oci.Descriptor, error) {
	resp, err := c.roundTrip(ctx, "HEAD", blobTarget(repo, d), nil, nil, on(repo), 200)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return oci.Descriptor{Digest: oci.Digest(resp.Header.Get("Docker-Content-Digest")), Size: resp.ContentLength}, resp.Body.Close()
}

// A remoteBlob reads a blob by ranges, from wherever it stands.
type remoteBlob struct {
	c    *client
	ctx  context.Context
	repo oci.RepoName
	d    oci.Digest
	size int64
	at   int64
	body io.ReadCloser // from at, or nil
}

func (c *client) OpenBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) (blob.Reader, error) {
	resp, err := c.roundTrip(ctx, "GET", blobTarget(repo, d), nil, nil, on(repo), 200)
	if err != nil {
		return nil, err
	}
	return &remoteBlob{c: c, ctx: ctx, repo: repo, d: d, size: resp.ContentLength, body: resp.Body}, nil
}

func (b *remoteBlob) Size() int64 { return b.size }

func (b *remoteBlob) Read(p []byte) (int, error) {
	if b.body == nil {
		if b.at >= b.size {
			return 0, io.EOF
		}
		header := http.Header{"Range": {fmt.Sprintf("bytes=%d-", b.at)}}
		resp, err := b.c.roundTrip(b.ctx, "GET", blobTarget(b.repo, b.d), header, nil, on(b.repo), 206)
		if err != nil {
			return 0, err
		}
		if want := fmt.Sprintf("bytes %d-%d/%d", b.at, b.size-1, b.size); resp.Header.Get("Content-Range") != want {
			return 0, fmt.Errorf("Content-Range is %q, want %q", resp.Header.Get("Content-Range"), want)
		}
		b.body = resp.Body
	}
	n, err := b.body.Read(p)
	b.at += int64(n)
	return n, err
}

func (b *remoteBlob) Seek(offset int64, whence int) (int64, error) {
	base := map[int]int64{io.SeekStart: 0, io.SeekCurrent: b.at, io.SeekEnd: b.size}[whence]
	err := b.Close()
	b.body, b.at = nil, base+offset
	return b.at, err
}

func (b *remoteBlob) Close() error {
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}

func uploadTarget(repo oci.RepoName, u registry.Upload) string {
	return fmt.Sprintf("/v2/%s/blobs/uploads/%s", repo, u.ID)
}

func (c *client) StartUpload(ctx context.Context, repo oci.RepoName, _ registry.Upload) (registry.UploadID, error) {
	h, _, err := c.simple(ctx, "POST", uploadTarget(repo, registry.Upload{}), nil, nil, on(repo), 202)
	id := registry.UploadID(h.Get("Docker-Upload-UUID"))
	if want := uploadTarget(repo, registry.Upload{ID: id}); err == nil && h.Get("Location") != want {
		err = fmt.Errorf("Location is %q, want %q", h.Get("Location"), want)
	}
	return id, err
}

// sizeOf reads a Range. Nothing and one byte are both "0-0"; no scenario looks
// at one.
func sizeOf(h http.Header, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	last, found := strings.CutPrefix(h.Get("Range"), "0-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !found || err != nil {
		return 0, fmt.Errorf("Range is %q", h.Get("Range"))
	}
	if n == 0 {
		return 0, nil
	}
	return n + 1, nil
}

func (c *client) UploadSize(ctx context.Context, repo oci.RepoName, u registry.Upload) (int64, error) {
	h, _, err := c.simple(ctx, "GET", uploadTarget(repo, u), nil, nil, on(repo), 204)
	return sizeOf(h, err)
}

// AppendUpload sends a chunk of known length with its range, and anything else
// as a stream.
func (c *client) AppendUpload(ctx context.Context, repo oci.RepoName, u registry.Upload, chunk registry.Chunk) (int64, error) {
	header := http.Header{}
	if b, ok := chunk.Body.(*bytes.Reader); ok && b.Len() > 0 && chunk.At != registry.AtEnd {
		header.Set("Content-Range", fmt.Sprintf("%d-%d", chunk.At, chunk.At+int64(b.Len())-1))
	}
	sent := &counter{r: chunk.Body}
	h, _, err := c.simple(ctx, "PATCH", uploadTarget(repo, u), header, sent, on(repo), 202)
	size, err := sizeOf(h, err)
	if err == nil {
		if size == 0 && sent.n > 0 {
			size = 1
		}
		c.sizes.Store(u.ID, size)
	}
	return size, err
}

// A counter counts what is read through it.
type counter struct {
	r interface{ Read([]byte) (int, error) }
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// created checks the answer to what made a blob.
func created(repo oci.RepoName, want oci.Digest, h http.Header) error {
	if h.Get("Location") != blobTarget(repo, want) || oci.Digest(h.Get("Docker-Content-Digest")) != want {
		return fmt.Errorf("%s was made with headers %v", want, h)
	}
	return nil
}

func (c *client) FinishUpload(ctx context.Context, repo oci.RepoName, u registry.Upload, want oci.Digest) (oci.Descriptor, error) {
	target := uploadTarget(repo, u) + "?digest=" + url.QueryEscape(string(want))
	h, _, err := c.simple(ctx, "PUT", target, nil, nil, on(repo), 201)
	if err != nil {
		return oci.Descriptor{}, err
	}
	size, _ := c.sizes.LoadAndDelete(u.ID)
	bytes, _ := size.(int64) // none were sent
	return oci.Descriptor{Digest: want, Size: bytes}, created(repo, want, h)
}

func (c *client) CancelUpload(ctx context.Context, repo oci.RepoName, u registry.Upload) error {
	_, _, err := c.simple(ctx, "DELETE", uploadTarget(repo, u), nil, nil, on(repo), 204)
	return err
}

func (c *client) MountBlob(ctx context.Context, repo oci.RepoName, src registry.BlobAt) (oci.Descriptor, error) {
	target, scope := uploadTarget(repo, registry.Upload{})+"?mount="+string(src.Digest), on(repo)
	if src.Repo != "" {
		target, scope = target+"&from="+url.QueryEscape(string(src.Repo)), on(repo, on(src.Repo))
	}
	h, status, err := c.simple(ctx, "POST", target, nil, nil, scope, 201, 202)
	switch {
	case err != nil:
		return oci.Descriptor{}, err
	case status == 202: // not there: end the session that was opened instead
		_, _, err := c.simple(ctx, "DELETE", h.Get("Location"), nil, nil, scope, 204)
		return oci.Descriptor{}, errors.Join(oci.BlobUnknown, err)
	}
	if err := created(repo, src.Digest, h); err != nil {
		return oci.Descriptor{}, err
	}
	return c.StatBlob(ctx, repo, src.Digest)
}

// PutManifest pushes by tag where that is possible, else by digest.
func (c *client) PutManifest(ctx context.Context, repo oci.RepoName, m oci.RawManifest, _ registry.TagJudge, tags ...oci.Tag) (registry.Pushed, error) {
	target := fmt.Sprintf("/v2/%s/manifests/%s", repo, m.Digest)
	var asked []string
	if len(tags) == 1 && m.Digest == oci.FromBytes(m.Bytes) {
		target = fmt.Sprintf("/v2/%s/manifests/%s", repo, tags[0])
	} else {
		for i, t := range tags {
			asked = append(asked, string(t))
			target += map[bool]string{true: "?", false: "&"}[i == 0] + "tag=" + string(t)
		}
	}
	header := http.Header{"Content-Type": {m.MediaType}}
	h, _, err := c.simple(ctx, "PUT", target, header, bytes.NewReader(m.Bytes), on(repo), 201)
	if err != nil {
		return registry.Pushed{}, err
	}
	if h.Get("Location") != fmt.Sprintf("/v2/%s/manifests/%s", repo, m.Digest) || strings.Join(h.Values("OCI-Tag"), " ") != strings.Join(asked, " ") {
		return registry.Pushed{}, fmt.Errorf("manifest was made with headers %v", h)
	}
	saved := oci.Manifest{RawManifest: m}
	saved.Digest = oci.Digest(h.Get("Docker-Content-Digest"))
	if subject := h.Get("OCI-Subject"); subject != "" {
		saved.Subject = &oci.Descriptor{Digest: oci.Digest(subject)}
	}
	return registry.Pushed{Manifest: saved}, nil
}

// pages follows a list from target to its end; read decodes a page.
func pages[T any](ctx context.Context, c *client, target, scope string, read func(*json.Decoder) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for target != "" {
			resp, err := c.roundTrip(ctx, "GET", target, nil, nil, scope, 200)
			if err != nil {
				yield(none, err)
				return
			}
			page, err := read(json.NewDecoder(resp.Body))
			if err = errors.Join(err, resp.Body.Close()); err != nil {
				yield(none, err)
				return
			}
			for _, element := range page {
				if !yield(element, nil) {
					return
				}
			}
			target, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), `>; rel="next"`)
		}
	}
}

func (c *client) Repositories(ctx context.Context, after oci.RepoName, prefix string) iter.Seq2[oci.RepoName, error] {
	target := "/v2/_catalog?n=7&last=" + url.QueryEscape(string(after))
	all := pages(ctx, c, target, "registry:catalog:*", func(d *json.Decoder) ([]oci.RepoName, error) {
		var body struct{ Repositories []oci.RepoName }
		return body.Repositories, d.Decode(&body)
	})
	return func(yield func(oci.RepoName, error) bool) {
		for repo, err := range all {
			if (err != nil || strings.HasPrefix(string(repo), prefix)) && !yield(repo, err) {
				return
			}
		}
	}
}

func (c *client) Tags(ctx context.Context, repo oci.RepoName, after oci.Tag) iter.Seq2[oci.Tag, error] {
	target := fmt.Sprintf("/v2/%s/tags/list?n=3&last=%s", repo, after)
	return pages(ctx, c, target, on(repo), func(d *json.Decoder) ([]oci.Tag, error) {
		var body struct {
			Name oci.RepoName
			Tags []oci.Tag
		}
		err := d.Decode(&body)
		if body.Name != repo || body.Tags == nil {
			err = errors.Join(err, fmt.Errorf("tags list is %+v", body))
		}
		return body.Tags, err
	})
}

func (c *client) Referrers(ctx context.Context, repo oci.RepoName, subject, after oci.Digest) iter.Seq2[oci.Descriptor, error] {
	target := fmt.Sprintf("/v2/%s/referrers/%s?last=%s", repo, subject, after)
	return pages(ctx, c, target, on(repo), func(d *json.Decoder) ([]oci.Descriptor, error) {
		var body struct {
			SchemaVersion int
			MediaType     string
			Manifests     []oci.Descriptor
		}
		err := d.Decode(&body)
		if body.SchemaVersion != 2 || body.MediaType != oci.MediaTypeImageIndex || body.Manifests == nil {
			err = errors.Join(err, fmt.Errorf("referrers are %+v", body))
		}
		return body.Manifests, err
	})
}

func (c *client) DeleteTag(ctx context.Context, repo oci.RepoName, t oci.Tag, _ registry.TagJudge) error {
	_, _, err := c.simple(ctx, "DELETE", fmt.Sprintf("/v2/%s/manifests/%s", repo, t), nil, nil, on(repo), 202)
	return err
}

func (c *client) DeleteManifest(ctx context.Context, repo oci.RepoName, d oci.Digest, _ registry.TagJudge) error {
	_, _, err := c.simple(ctx, "DELETE", fmt.Sprintf("/v2/%s/manifests/%s", repo, d), nil, nil, on(repo), 202)
	return err
}

func (c *client) DeleteBlob(ctx context.Context, repo oci.RepoName, d oci.Digest) error {
	_, _, err := c.simple(ctx, "DELETE", blobTarget(repo, d), nil, nil, on(repo), 202)
	return err
}

// Holders and BeganPush have no request of their own.
func (c *client) Holders(context.Context, oci.Digest) iter.Seq2[oci.RepoName, error] {
	return func(yield func(oci.RepoName, error) bool) { yield("", errors.ErrUnsupported) }
}

func (c *client) BeganPush(context.Context, oci.RepoName, registry.PushToken) (bool, error) {
	return false, errors.ErrUnsupported
}
