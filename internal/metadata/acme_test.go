package metadata_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/metadata/metadatatest"
)

func TestACMEState(t *testing.T) {
	metadatatest.Each(t, func(t *testing.T, db *metadata.DB) {
		s := db.ACME()
		find := func(name, want string) {
			t.Helper()
			v, err := s.Find(t.Context(), name)
			if want == "" && errors.Is(err, metadata.ErrNoState) {
				return
			}
			if err != nil || v.KEK+" "+string(v.Sealed) != want {
				t.Errorf("%s: %q %q, %v", name, v.KEK, v.Sealed, err)
			}
		}
		save := func(name, kek, sealed string) {
			t.Helper()
			if err := s.Save(t.Context(), name, metadata.ACMEState{KEK: kek, Sealed: []byte(sealed)}, time.Now()); err != nil {
				t.Error(err)
			}
		}
		find("a", "")
		save("a", "k1", "x\x00\xff")
		save("b", "k1", "y")
		find("a", "k1 x\x00\xff")
		find("A", "")
		save("a", "k2", "z")
		find("a", "k2 z")
		for range 2 {
			if err := s.Remove(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		}
		find("a", "")
		find("b", "k1 y")
		find("b\x00", "")
	})
}
