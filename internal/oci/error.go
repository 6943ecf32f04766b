package oci

import (
	"errors"
	"fmt"
)

// A Code is an error code of the distribution-spec, section "Error Codes".
// A Code is itself an error: wrap it with %w, or make text for the client with
// Errorf, and match it with errors.Is.
type Code string

// The codes of the distribution-spec, and the few that CNCF distribution added
// and clients know (marked "not in the spec").
const (
	BlobUnknown         Code = "BLOB_UNKNOWN"
	BlobUploadInvalid   Code = "BLOB_UPLOAD_INVALID"
	BlobUploadUnknown   Code = "BLOB_UPLOAD_UNKNOWN"
	DigestInvalid       Code = "DIGEST_INVALID"
	ManifestBlobUnknown Code = "MANIFEST_BLOB_UNKNOWN"
	ManifestInvalid     Code = "MANIFEST_INVALID"
	ManifestUnknown     Code = "MANIFEST_UNKNOWN"
	NameInvalid         Code = "NAME_INVALID"
	NameUnknown         Code = "NAME_UNKNOWN"
	SizeInvalid         Code = "SIZE_INVALID"
	Unauthorized        Code = "UNAUTHORIZED" // a token could help
	Denied              Code = "DENIED"       // no token can help
	Unsupported         Code = "UNSUPPORTED"
	TooManyRequests     Code = "TOOMANYREQUESTS"

	RangeInvalid     Code = "RANGE_INVALID"             // not in the spec
	TagInvalid       Code = "TAG_INVALID"               // not in the spec
	PageInvalid      Code = "PAGINATION_NUMBER_INVALID" // not in the spec
	ManifestTooLarge Code = "MANIFEST_TOO_LARGE"        // not in the spec: 413
	StorageFull      Code = "STORAGE_FULL"              // not in the spec: 507
	Unavailable      Code = "UNAVAILABLE"               // not in the spec: 503
)

func (c Code) Error() string { return string(c) }

// A clientError carries text that may be shown to the client.
type clientError struct {
	code Code
	text string
}

func (e *clientError) Error() string        { return string(e.code) + ": " + e.text }
func (e *clientError) Is(target error) bool { return target == e.code }

// Errorf returns an error with the given code whose text is meant for the
// client: it names the part that is wrong and the rule. Never put into it what
// the client may not know.
func Errorf(code Code, format string, args ...any) error {
	return &clientError{code: code, text: fmt.Sprintf(format, args...)}
}

// CodeOf returns the first Code in err's chain and the client text that came
// with it ("" when there is none). An error without a code gives "".
func CodeOf(err error) (code Code, text string) {
	if e, ok := errors.AsType[*clientError](err); ok {
		return e.code, e.text
	}
	if c, ok := errors.AsType[Code](err); ok {
		return c, ""
	}
	return "", ""
}
