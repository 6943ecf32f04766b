package oci_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/internal/oci"
)

func TestCodeOf(t *testing.T) {
	withText := oci.Errorf(oci.NameInvalid, "name %q", "x")
	for _, c := range []struct {
		name string
		err  error
		code oci.Code
		text string
	}{
		{"nil", nil, "", ""},
		{"no code", errors.New("disk on fire"), "", ""},
		{"bare code", oci.BlobUnknown, oci.BlobUnknown, ""},
		{"wrapped code", fmt.Errorf("open blob: %w", oci.BlobUnknown), oci.BlobUnknown, ""},
		{"with text", withText, oci.NameInvalid, `name "x"`},
		{"wrapped with text", fmt.Errorf("parse: %w", withText), oci.NameInvalid, `name "x"`},
		{"joined", errors.Join(errors.New("internal"), withText), oci.NameInvalid, `name "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, text := oci.CodeOf(c.err); code != c.code || text != c.text {
				t.Errorf("CodeOf(%v) = %q, %q, want %q, %q", c.err, code, text, c.code, c.text)
			}
			if c.code != "" && !errors.Is(c.err, c.code) {
				t.Errorf("%v is not %s", c.err, c.code)
			}
		})
	}
}
