package distribution

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/oci"
)

// How long a client may keep what it got, for itself alone: what a digest
// names never changes, what a tag names may.
var (
	keepDigest = []string{"private, max-age=86400"}
	keepTag    = []string{"private, no-cache"}
)

// getManifest answers GET and HEAD of a manifest (end-3): the stored bytes and
// the stored type, whatever Accept says.
func (c *call) getManifest() error {
	view, err := c.view()
	if err != nil {
		return err
	}
	m, err := view.Manifest(c.r.Context(), c.repo, c.ref)
	if err != nil {
		return err
	}
	if err := c.pulled("manifest", m.Digest); err != nil {
		return err
	}
	// One array for all values: this is the request that is made most.
	v := []string{string(m.Digest), `"` + string(m.Digest) + `"`, m.MediaType, strconv.Itoa(len(m.Bytes))}
	h := c.w.Header()
	h["Docker-Content-Digest"], h["Etag"] = v[0:1:1], v[1:2:2]
	h["Cache-Control"] = keepDigest
	if c.ref.Digest() == "" {
		h["Cache-Control"] = keepTag
	}
	if matchesEtag(c.r.Header["If-None-Match"], v[1]) {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h["Content-Type"], h["Content-Length"] = v[2:3:3], v[3:4:4]
	c.w.WriteHeader(http.StatusOK)
	if c.method == http.MethodGet {
		c.w.Write(m.Bytes) // a client that has gone away needs no answer
	}
	return nil
}

// matchesEtag reports whether an If-None-Match names etag (RFC 9110, 13.1.2).
// The digest without quotes is taken too, as other registries do.
func matchesEtag(lines []string, etag string) bool {
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == "*" || tag == etag || tag != "" && tag == etag[1:len(etag)-1] {
				return true
			}
		}
	}
	return false
}

// headBlob answers HEAD of a blob (end-2).
func (c *call) headBlob() error {
	view, err := c.view()
	if err != nil {
		return err
	}
	b, err := view.StatBlob(c.r.Context(), c.repo, c.digest)
	if err != nil {
		return err
	}
	if c.blobHeaders() {
		return nil
	}
	h := c.w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(b.Size, 10))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// getBlob answers GET of a blob (end-2), whole or in ranges (RFC 9110, 14).
func (c *call) getBlob() error {
	view, err := c.view()
	if err != nil {
		return err
	}
	b, err := view.OpenBlob(c.r.Context(), c.repo, c.digest)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := c.checkRange(b.Size()); err != nil {
		return err
	}
	if err := c.pulled("blob", c.digest); err != nil {
		return err
	}
	if c.blobHeaders() {
		return nil
	}
	// Nothing is put around b: where it is a file, the operating system copies
	// it to the connection by itself.
	http.ServeContent(c.w, c.r, "", time.Time{}, b)
	return nil
}

// blobHeaders sets the headers of a blob. A browser that is sent here must not
// take for a page what somebody pushed. It reports whether it has answered that
// the client has the blob already.
func (c *call) blobHeaders() bool {
	etag := `"` + string(c.digest) + `"`
	h := c.w.Header()
	h.Set("Docker-Content-Digest", string(c.digest))
	h.Set("Etag", etag)
	h["Cache-Control"] = keepDigest
	if matchesEtag(c.r.Header["If-None-Match"], etag) {
		c.w.WriteHeader(http.StatusNotModified)
		return true
	}
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	return false
}

// maxRanges bounds the ranges in one request. Clients that pull parts of
// layers give up on a registry that takes fewer than 64.
const maxRanges = 128

// checkRange finds the Range headers that http.ServeContent would refuse, so
// that the refusal is one of ours. A unit other than bytes is ignored.
func (c *call) checkRange(size int64) error {
	line := c.r.Header.Get("Range")
	set, isBytes := strings.CutPrefix(line, "bytes=")
	if line != "" && !isBytes {
		c.r.Header.Del("Range")
	}
	etag := `"` + string(c.digest) + `"`
	ifRange := c.r.Header.Get("If-Range")
	if !isBytes || ifRange != "" && ifRange != etag || matchesEtag(c.r.Header["If-None-Match"], etag) {
		return nil // the range does not count
	}
	switch n, valid := countRanges(set, size); {
	case n > maxRanges:
		return refuse(http.StatusBadRequest, oci.RangeInvalid, "more than %d ranges in one request", maxRanges)
	case !valid:
		c.w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
		return oci.Errorf(oci.RangeInvalid, "no bytes of this blob, which has %d, in the range %.60q", size, line)
	case size == 0:
		c.r.Header.Del("Range") // any range of nothing is all of it
	}
	return nil
}

// countRanges returns how many ranges are in set, and whether all are
// well-formed and at least one holds a byte of a blob of the given size, or the
// blob is empty.
func countRanges(set string, size int64) (n int, valid bool) {
	inside := 0
	for spec := range strings.SplitSeq(set, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		if n++; n > maxRanges {
			return n, false
		}
		first, last, found := strings.Cut(spec, "-")
		first, last = strings.Trim(first, " \t"), strings.Trim(last, " \t")
		from, fromErr := strconv.ParseInt(first, 10, 64)
		to, toErr := strconv.ParseInt(last, 10, 64)
		suffix := first == ""
		switch {
		case !found, suffix && last == "":
			return n, false
		case suffix && (!digits(last) || toErr != nil), !suffix && (!digits(first) || fromErr != nil):
			return n, false
		case !suffix && last != "" && (!digits(last) || toErr != nil || to < from):
			return n, false
		case suffix && to > 0, !suffix && from < size:
			inside++
		}
	}
	return n, n == 0 || inside > 0 || size == 0
}
