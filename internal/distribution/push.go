package distribution

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
	"github.com/sallyport/sallyport/internal/registry"
)

// checkCoding refuses a body in a content coding: a digest is that of the bytes
// themselves, and we decode nothing.
func checkCoding(r *http.Request) error {
	for _, coding := range r.Header["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return refuse(http.StatusUnsupportedMediaType, oci.Unsupported, "Content-Encoding %.40q: send the bytes as they are", coding)
		}
	}
	return nil
}

// startUpload mounts a blob (end-11), takes a whole one (end-4b) or opens a
// session (end-4a). A blob that cannot be mounted is one to upload.
func (c *call) startUpload() error {
	ctx := c.r.Context()
	view, err := c.view()
	if err != nil {
		return err
	}
	if c.mount.Digest != "" {
		switch b, err := view.MountBlob(ctx, c.repo, c.mount); {
		case err == nil:
			c.createdBlob(b.Digest)
			return nil
		case !errors.Is(err, oci.BlobUnknown):
			return err
		}
	}
	id, err := view.StartUpload(ctx, c.repo, registry.Upload{})
	if err != nil {
		return err
	}
	c.upload = id
	if c.digest != "" {
		return c.singlePost(view)
	}
	c.uploadHeaders(0)
	c.answer(http.StatusAccepted)
	return nil
}

// singlePost takes a blob that came with the POST. The client never learns of
// the session, so it must not outlive the request: opener, the view that opened
// it, also ends it where nothing else is allowed any more.
func (c *call) singlePost(opener registry.Registry) error {
	ctx := c.r.Context()
	c.r.Header.Del("Content-Range") // end-4b has none
	_, err := c.receive()
	if err == nil {
		_, err = c.finish()
	}
	if err != nil {
		// A wrong digest has ended it already, anything else that fails here
		// is left to the session's own end.
		_ = opener.CancelUpload(context.WithoutCancel(ctx), c.repo, registry.Upload{ID: c.upload})
		return err
	}
	c.createdBlob(c.digest)
	return nil
}

// appendUpload takes a chunk, or a stream without Content-Range (end-5). What
// was taken away while it came does not undo it: bytes in a session are
// nobody's until it is finished, and every further request is checked.
func (c *call) appendUpload() error {
	size, err := c.receive()
	if err != nil {
		return err
	}
	c.uploadHeaders(size)
	c.answer(http.StatusAccepted)
	return nil
}

// finishUpload takes the last chunk, the whole blob or nothing more, and
// publishes the blob (end-6).
func (c *call) finishUpload() error {
	if c.r.ContentLength != 0 || c.r.Header.Get("Content-Range") != "" {
		if _, err := c.receive(); err != nil {
			return err
		}
	}
	b, err := c.finish()
	if err != nil {
		return err
	}
	c.createdBlob(b.Digest)
	return nil
}

func (c *call) finish() (oci.Descriptor, error) {
	view, err := c.view()
	if err != nil {
		return oci.Descriptor{}, err
	}
	return view.FinishUpload(c.r.Context(), c.repo, registry.Upload{ID: c.upload}, c.digest)
}

// uploadStatus says how far an upload has come (end-13).
func (c *call) uploadStatus() error {
	size, err := c.size()
	if err != nil {
		return err
	}
	c.uploadHeaders(size)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// size returns how many bytes the upload has.
func (c *call) size() (int64, error) {
	view, err := c.view()
	if err != nil {
		return 0, err
	}
	return view.UploadSize(c.r.Context(), c.repo, registry.Upload{ID: c.upload})
}

// cancelUpload ends an upload (end-14).
func (c *call) cancelUpload() error {
	view, err := c.view()
	if err != nil {
		return err
	}
	if err := view.CancelUpload(c.r.Context(), c.repo, registry.Upload{ID: c.upload}); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// uploadHeaders says where the session is and what it has. All state of a
// session is in its path, since some clients drop the query. "0-0" stands for
// one byte and for none: the spec has no other word for none.
func (c *call) uploadHeaders(size int64) {
	h := c.w.Header()
	h.Set("Location", request{resource: upload, repo: c.repo, upload: c.upload}.construct())
	h.Set("Range", "0-"+strconv.FormatInt(max(size-1, 0), 10))
	h.Set("Docker-Upload-UUID", string(c.upload))
}

func (c *call) createdBlob(d oci.Digest) {
	h := c.w.Header()
	h.Set("Location", request{resource: blob, repo: c.repo, digest: d}.construct())
	h.Set("Docker-Content-Digest", string(d))
	c.answer(http.StatusCreated)
}

// receive appends the request's body to the upload and returns the new size. A
// chunk that does not fit is refused with what would fit.
func (c *call) receive() (int64, error) {
	part, err := contentRange(c.r.Header)
	if err != nil {
		return 0, c.refuseChunk(err)
	}
	view, err := c.view()
	if err != nil {
		return 0, err
	}
	body := &bodyReader{r: c.r.Body}
	if part.present {
		if n := c.r.ContentLength; n >= 0 && n != part.length {
			return 0, c.refuseChunk(oci.Errorf(oci.SizeInvalid, "Content-Range has %d bytes, the body %d", part.length, n))
		}
		body.r = io.LimitReader(c.r.Body, part.length)
	}
	chunk := registry.Chunk{At: part.at, Body: body}
	size, err := view.AppendUpload(c.r.Context(), c.repo, registry.Upload{ID: c.upload}, chunk)
	switch {
	case body.err != nil:
		return 0, body.failure()
	case errors.Is(err, oci.StorageFull):
		// A client that is still sending when the connection closes loses the
		// answer that says why.
		body.drain()
		return 0, err
	case errors.Is(err, oci.RangeInvalid):
		return 0, c.refuseChunk(err)
	case err != nil:
		return 0, err
	case part.present && (body.n != part.length || !ended(c.r.Body)):
		return 0, c.refuseChunk(oci.Errorf(oci.SizeInvalid, "Content-Range has %d bytes, the body has not", part.length))
	}
	return size, nil
}

// refuseChunk returns err with the headers that tell where the upload stands,
// so that the client can go on from there.
func (c *call) refuseChunk(err error) error {
	size, sizeErr := c.size()
	if sizeErr != nil {
		return sizeErr
	}
	c.uploadHeaders(size)
	return err
}

// A part is what Content-Range says: where a chunk begins and how long it is.
type part struct {
	present    bool
	at, length int64 // bytes; AtEnd and 0 when not present
}

// contentRange reads Content-Range in the form of the distribution-spec,
// "Pushing a blob in chunks": first and last byte, "0-1023". The unit that HTTP
// has in front is accepted. Errors: oci.RangeInvalid.
func contentRange(h http.Header) (part, error) {
	lines := h["Content-Range"]
	if len(lines) == 0 {
		return part{at: registry.AtEnd}, nil
	}
	first, last, _ := strings.Cut(strings.TrimPrefix(lines[0], "bytes "), "-")
	from, fromErr := strconv.ParseInt(first, 10, 64)
	to, toErr := strconv.ParseInt(last, 10, 64)
	length := to - from + 1
	if len(lines) > 1 || !digits(first) || !digits(last) || fromErr != nil || toErr != nil || length <= 0 {
		return part{}, oci.Errorf(oci.RangeInvalid, "Content-Range %.60q: want the first and the last byte, like 0-1023", lines[0])
	}
	return part{present: true, at: from, length: length}, nil
}

// ended reports whether nothing is left of body.
func ended(body io.Reader) bool {
	var one [1]byte
	n, err := io.ReadFull(body, one[:])
	return n == 0 && err == io.EOF
}

// A bodyReader reads a request's body and remembers why it broke off, which is
// the client's failure and not the store's.
type bodyReader struct {
	r   io.Reader
	n   int64 // bytes read
	err error // other than io.EOF
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// drainPatience bounds how long a body is read that nobody keeps.
const drainPatience = 10 * time.Second

// drain reads what the client still sends, for a while.
func (b *bodyReader) drain() {
	buf := make([]byte, 32<<10)
	for began := time.Now(); time.Since(began) < drainPatience; {
		if _, err := b.Read(buf); err != nil {
			return
		}
	}
}

func (b *bodyReader) failure() error {
	if late, ok := errors.AsType[net.Error](b.err); ok && late.Timeout() {
		return refuse(http.StatusRequestTimeout, oci.SizeInvalid, "the body stopped coming after %d bytes", b.n)
	}
	return oci.Errorf(oci.SizeInvalid, "the body broke off after %d bytes", b.n)
}

// putManifest stores a manifest by tag (end-7a) or by digest, then with any
// number of tags beside it (end-7b). The right to push is asked for before the
// body is read.
func (c *call) putManifest() error {
	ctx := c.r.Context()
	if err := c.mayPush(ctx); err != nil {
		return err
	}
	m := oci.RawManifest{Digest: c.ref.Digest()}
	var err error
	if m.MediaType, err = mediaType(c.r.Header); err != nil {
		return err
	}
	if m.Bytes, err = readManifest(c.r); err != nil {
		return err
	}
	tags := c.tags
	if m.Digest == "" {
		m.Digest, tags = oci.FromBytes(m.Bytes), []oci.Tag{c.ref.Tag()}
	}
	view, err := c.view()
	if err != nil {
		return err
	}
	saved, err := view.PutManifest(c.changing(c.pushed(m.Digest, tags)), c.repo, m, nil, tags...)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Location", request{resource: manifest, repo: c.repo, ref: oci.ByDigest(saved.Digest)}.construct())
	h.Set("Docker-Content-Digest", string(saved.Digest))
	if saved.Subject != nil {
		h.Set("OCI-Subject", string(saved.Subject.Digest))
	}
	for _, t := range c.tags {
		h.Add("OCI-Tag", string(t))
	}
	c.answer(http.StatusCreated)
	return nil
}

// mayPush asks what Guard will ask again.
func (c *call) mayPush(ctx context.Context) error {
	view, err := c.view()
	if err != nil {
		return err
	}
	return c.authority.CheckPush(access.Push, c.repo, func() (bool, error) {
		token := registry.PushToken{ID: c.authority.Token.ID, Expires: c.authority.Token.Expires}
		return view.BeganPush(ctx, c.repo, token)
	})
}

// mediaType returns the Content-Type without its parameters.
func mediaType(h http.Header) (string, error) {
	lines := h["Content-Type"]
	if len(lines) != 1 {
		return "", oci.Errorf(oci.ManifestInvalid, "%d Content-Type headers: the media type of the manifest is wanted once", len(lines))
	}
	mediaType, _, _ := strings.Cut(lines[0], ";")
	mediaType = strings.TrimSpace(mediaType)
	if mediaType == "" || len(mediaType) > 255 {
		return "", oci.Errorf(oci.ManifestInvalid, "Content-Type %.60q is no media type", lines[0])
	}
	return mediaType, nil
}

// readManifest reads a body of at most oci.MaxManifestSize bytes.
func readManifest(r *http.Request) ([]byte, error) {
	tooLarge := fmt.Errorf("read manifest: %w", oci.ManifestTooLarge)
	if r.ContentLength > oci.MaxManifestSize {
		if r.Header.Get("Expect") == "" {
			// A client that is cut off while it sends does not see the answer.
			io.CopyN(io.Discard, r.Body, 2*oci.MaxManifestSize)
		}
		return nil, tooLarge
	}
	var content bytes.Buffer
	if r.ContentLength > 0 {
		content.Grow(int(min(r.ContentLength, 64<<10)) + bytes.MinRead)
	}
	body := &bodyReader{r: r.Body}
	if _, err := content.ReadFrom(io.LimitReader(body, oci.MaxManifestSize+1)); err != nil {
		return nil, body.failure()
	}
	if content.Len() > oci.MaxManifestSize {
		return nil, tooLarge
	}
	return content.Bytes(), nil
}
