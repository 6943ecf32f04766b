package distribution

import (
	"encoding/json"
	"iter"
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/internal/oci"
)

// maxReferrersBody is where a page of referrers ends, in bytes: annotations are
// as long as whoever pushed them liked.
const maxReferrersBody = 1 << 20

// listRepositories answers GET /v2/_catalog with what the caller may pull.
func (c *call) listRepositories() error {
	view, err := c.view()
	if err != nil {
		return err
	}
	all := view.Repositories(c.r.Context(), oci.RepoName(c.page.last), "")
	repos, more, err := take(all, c.page.n)
	if err != nil {
		return err
	}
	if more && len(repos) > 0 {
		c.linkNext(string(repos[len(repos)-1]))
	}
	return c.writeList(jsonContent, struct {
		Repositories []oci.RepoName `json:"repositories"`
	}{repos})
}

// listTags answers GET of a tags list (end-8), in byte order.
func (c *call) listTags() error {
	view, err := c.view()
	if err != nil {
		return err
	}
	tags, more, err := take(view.Tags(c.r.Context(), c.repo, oci.Tag(c.page.last)), c.page.n)
	if err != nil {
		return err
	}
	if more && len(tags) > 0 {
		c.linkNext(string(tags[len(tags)-1]))
	}
	return c.writeList(jsonContent, struct {
		Name oci.RepoName `json:"name"`
		Tags []oci.Tag    `json:"tags"`
	}{c.repo, tags})
}

// take returns the first n elements, not nil, and whether more follow. It asks
// for one even when n is 0, so that an error is seen.
func take[T any](seq iter.Seq2[T, error], n int) (page []T, more bool, err error) {
	page = []T{}
	for element, err := range seq {
		if err != nil {
			return nil, false, err
		}
		if len(page) == n {
			return page, true, nil
		}
		page = append(page, element)
	}
	return page, false, nil
}

// listReferrers answers GET of the referrers of a digest (end-12) with an index,
// which is empty when there are none: a 404 would say that we do not know the
// endpoint, and clients compare the Content-Type byte for byte.
func (c *call) listReferrers() error {
	manifests, next, err := c.referrersPage()
	if err != nil {
		return err
	}
	if len(c.kinds) > 0 {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if next != "" {
		c.linkNext(string(next))
	}
	return c.writeList([]string{oci.MediaTypeImageIndex}, struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []json.RawMessage `json:"manifests"`
	}{2, oci.MediaTypeImageIndex, manifests})
}

// referrersPage returns the descriptors of one page, and the last digest in it
// if more follow.
func (c *call) referrersPage() (manifests []json.RawMessage, next oci.Digest, err error) {
	view, err := c.view()
	if err != nil {
		return nil, "", err
	}
	manifests = []json.RawMessage{}
	size, last := 0, oci.Digest("")
	for d, err := range view.Referrers(c.r.Context(), c.repo, c.digest, oci.Digest(c.page.last)) {
		if err != nil {
			return nil, "", err
		}
		if len(c.kinds) > 0 && !slices.Contains(c.kinds, d.ArtifactType) {
			continue
		}
		text, err := json.Marshal(d)
		if err != nil {
			return nil, "", err
		}
		if len(manifests) == maxPage || size > 0 && size+len(text) > maxReferrersBody {
			return manifests, last, nil
		}
		manifests, size, last = append(manifests, text), size+len(text), d.Digest
	}
	return manifests, "", nil
}

// linkNext says where the list goes on after last (RFC 8288). The target is
// relative and escaped, so nothing in it can end it early.
func (c *call) linkNext(last string) {
	next := c.request
	next.page.last = last
	c.w.Header().Set("Link", "<"+next.construct()+`>; rel="next"`)
}

func (c *call) writeList(contentType []string, list any) error {
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	c.w.Header()["Cache-Control"] = noStore
	c.write(http.StatusOK, contentType, body)
	return nil
}
