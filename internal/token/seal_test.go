package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/metadata"
	"github.com/sallyport/sallyport/internal/token"
)

func kekText(t testing.TB) string {
	t.Helper()
	text, err := token.NewKEK(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return text.Reveal()
}

func sealerOf(t testing.TB, lines ...string) *token.Sealer {
	t.Helper()
	s, err := token.NewSealer(access.NewSecret(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// what is no key-encryption key is refused, and no error shows one.
func TestSealerForm(t *testing.T) {
	good := kekText(t)
	zeros := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, tt := range map[string]struct{ text, want string }{
		"empty":             {"", "there is no key"},
		"a comment":         {"# nothing\n\n", "there is no key"},
		"a word":            {"changeme", "line 1 is not"},
		"a sample":          {base64.StdEncoding.EncodeToString([]byte(strings.Repeat("changeme", 4))), "line 1 is not random"},
		"zeros":             {zeros, "line 1 is not random"},
		"short":             {base64.StdEncoding.EncodeToString([]byte(good)[:16]), "line 1 is not the base64"},
		"long":              {good + good, "line 1 is not the base64"},
		"hex":               {strings.Repeat("0123456789abcdef", 4), "line 1 is not the base64"},
		"second line":       {good + "\n" + good[:43], "line 2 is not the base64"},
		"too many":          {strings.Repeat(good+"\n", 9), "more than 8"},
		"a line of 100 KiB": {strings.Repeat("A", 100<<10), "there is no key"},
	} {
		_, err := token.NewSealer(access.NewSecret(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), good[:20]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	for _, text := range []string{good, good + "\n", "# ours\r\n\r\n" + good + "\r\n", good + "\n" + kekText(t)} {
		if s := sealerOf(t, text); s.ID() != sealerOf(t, good).ID() {
			t.Errorf("%q: another key", text)
		}
	}
}

func TestSealer(t *testing.T) {
	first, second := kekText(t), kekText(t)
	s := sealerOf(t, first)
	sealed := s.Seal("a", []byte("secret"))
	if bytes.Contains(sealed, []byte("secret")) || bytes.Equal(sealed, s.Seal("a", []byte("secret"))) {
		t.Error("sealed twice alike, or not at all")
	}
	for _, opener := range []*token.Sealer{s, sealerOf(t, second, first)} {
		if plain, err := opener.Open("a", s.ID(), sealed); err != nil || string(plain) != "secret" {
			t.Errorf("%q %v", plain, err)
		}
	}
	refused := func(what string, o *token.Sealer, name, under string, sealed []byte, damaged bool) {
		t.Helper()
		plain, err := o.Open(name, under, sealed)
		e, ok := errors.AsType[*token.SealedError](err)
		if !ok || e.Damaged != damaged || plain != nil {
			t.Errorf("%s: %q %v", what, plain, err)
		}
	}
	other := sealerOf(t, second)
	refused("another key", other, "a", s.ID(), sealed, false)
	refused("another key that claims to be it", other, "a", other.ID(), sealed, true)
	refused("another name", s, "b", s.ID(), sealed, true)
	refused("empty", s, "a", s.ID(), nil, true)
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		refused("a changed byte", s, "a", s.ID(), changed, true)
	}
}

// Another key-encryption key opens nothing and changes nothing; one that follows
// takes over; sealed rows cannot change places.
func TestKEKs(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first, second := kekText(t), kekText(t)
		open := func(db *metadata.DB, sealer *token.Sealer) (*token.Service, error) {
			return token.New(f.ctx(), token.Deps{
				Store: db.Tokens(), Accounts: f.accounts, Policies: f.accounts, Changes: db,
				Passwords: f.accounts.Passwords(), Keys: f.accounts.Keys(), Sealer: sealer,
			}, token.Options{Issuer: issuer, Service: service, Now: f.clock})
		}
		rows := func() []token.SigningKey {
			t.Helper()
			keys, err := f.db.Tokens().ListSigningKeys(f.ctx())
			f.ok(err)
			return keys
		}
		replace := func(keys []token.SigningKey) {
			t.Helper()
			f.ok(f.db.Tokens().ChangeSigningKeys(f.ctx(), func([]token.SigningKey) ([]token.SigningKey, error) { return keys, nil }))
		}
		replace(nil)
		s, err := open(f.db, sealerOf(t, first))
		f.ok(err)
		f.ok(s.Close())
		before := rows()
		for name, sealer := range map[string]*token.Sealer{"another": newSealer(t), "the next without this": sealerOf(t, second)} {
			_, err := open(f.db, sealer)
			if e, ok := errors.AsType[*token.SealedError](err); !ok || e.Under != before[0].KEK || e.Have != sealer.ID() {
				t.Errorf("%s: %v", name, err)
			}
			if after := rows(); len(after) != 1 || !bytes.Equal(after[0].Private, before[0].Private) {
				t.Errorf("%s: the keys were changed: %+v", name, after)
			}
		}
		for _, lines := range [][]string{{first, second}, {second, first}, {second}} {
			sealer := sealerOf(t, lines...)
			s, err := open(f.db, sealer)
			f.ok(err)
			f.ok(s.Close())
			if now := rows(); len(now) != 1 || now[0].ID != before[0].ID || now[0].KEK != sealer.ID() {
				t.Errorf("keys %+v", now)
			}
		}
		moved := rows()[0]
		s, err = open(f.db, sealerOf(t, second))
		f.ok(err)
		next, err := s.RotateSigningKey(f.ctx())
		f.ok(err)
		f.ok(s.Close())
		keys := rows()
		for i := range keys {
			if keys[i].ID == next.ID {
				keys[i].Private = moved.Private
			}
		}
		replace(keys)
		if _, err := open(f.db, sealerOf(t, second)); err == nil {
			t.Error("a key that was put into the place of another is used")
		}
	})
}

// A copied database holds no private key. Keys that an earlier version kept
// plain are sealed at the start and leave nothing behind in the file, and a
// successor follows, for the sake of older copies.
func TestPlainKeysAreSealed(t *testing.T) {
	dir, sealer := t.TempDir(), newSealer(t)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// with opens the database and closes it, which leaves one file.
	with := func(do func(db *metadata.DB)) {
		t.Helper()
		db, err := metadata.Open(t.Context(), "sqlite:"+filepath.Join(dir, "m.db"), metadata.Options{})
		ok(err)
		do(db)
		ok(db.Close())
	}
	start := func(db *metadata.DB) []token.KeyStatus {
		t.Helper()
		s, err := token.New(t.Context(), token.Deps{Store: db.Tokens(), Changes: db, Sealer: sealer}, token.Options{Issuer: issuer, Service: service})
		ok(err)
		keys, err := s.SigningKeys(t.Context())
		ok(err)
		ok(s.Close())
		return keys
	}
	var scalar []byte
	holds := func() bool {
		t.Helper()
		found := false
		ok(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			found = found || bytes.Contains(content, scalar)
			return err
		}))
		return found
	}
	var first []token.KeyStatus
	var plain token.SigningKey
	with(func(db *metadata.DB) {
		first = start(db)
		stored, err := db.Tokens().ListSigningKeys(t.Context())
		ok(err)
		plain = stored[0]
		plain.Private, err = sealer.Open("signing key "+plain.ID, plain.KEK, plain.Private)
		ok(err)
		plain.KEK = ""
		private, err := x509.ParsePKCS8PrivateKey(plain.Private)
		ok(err)
		scalar, err = private.(*ecdsa.PrivateKey).Bytes()
		ok(err)
	})
	if holds() {
		t.Fatal("a sealed key is plain in the file")
	}
	with(func(db *metadata.DB) {
		ok(db.Tokens().ChangeSigningKeys(t.Context(), func([]token.SigningKey) ([]token.SigningKey, error) { return []token.SigningKey{plain}, nil }))
	})
	if !holds() {
		t.Fatal("the plain key is not in the file: the search proves nothing")
	}
	with(func(db *metadata.DB) {
		keys := start(db)
		if len(keys) != 2 || keys[0].ID != first[0].ID || keys[0].State != token.Active || keys[1].State != token.Published {
			t.Errorf("keys %+v", keys)
		}
	})
	if holds() {
		t.Error("the plain key is still in the file")
	}
}
