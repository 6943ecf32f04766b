package access_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/access"
)

// TestSecretShowsNothing: L-01 however a secret, or what holds one, is written.
func TestSecretShowsNothing(t *testing.T) {
	const canary = "canary-1f9a"
	secret := access.NewSecret(canary)
	password := access.Password{Name: "alice", Secret: secret}
	hidden := struct{ secret access.Secret }{secret} // fmt calls no methods on this one
	var written []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%o", "%T"} {
		for _, v := range []any{secret, &secret, password, &password, []access.Secret{secret}, map[string]access.Secret{"a": secret}, hidden, &hidden} {
			written = append(written, fmt.Sprintf(verb, v))
		}
	}
	for _, v := range []any{secret, password, map[string]any{"a": secret}} {
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		asYAML, err := yaml.Dump(v)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(h).Info("logged in", "secret", v, slog.Group("g", "s", v))
		}
		written = append(written, string(asJSON), string(asYAML), log.String())
	}
	written = append(written, fmt.Sprint(secret), secret.String(), errors.Join(fmt.Errorf("with %v", secret)).Error())
	hex := fmt.Sprintf("%x", canary)
	for _, w := range written {
		if strings.Contains(w, canary) || strings.Contains(strings.ToLower(w), hex) || strings.Contains(w, "99 97 110") {
			t.Errorf("a secret was shown: %s", w)
		}
	}
	if got := secret.String(); got != "[redacted]" {
		t.Errorf("String() = %q", got)
	}
	if secret.Reveal() != canary || secret.IsZero() || secret.Sum() != sha256.Sum256([]byte(canary)) {
		t.Error("the secret was lost")
	}
}

func TestSecretZero(t *testing.T) {
	for _, s := range []access.Secret{{}, access.NewSecret("")} {
		if !s.IsZero() || s.Reveal() != "" || s.Sum() != sha256.Sum256(nil) {
			t.Errorf("%#v is not zero", s)
		}
	}
}

// TestSecretIsNotDecoded: what was written redacted is not taken for a secret.
func TestSecretIsNotDecoded(t *testing.T) {
	var s access.Secret
	if err := json.Unmarshal([]byte(`"[redacted]"`), &s); err == nil || !s.IsZero() {
		t.Errorf("JSON decoded into a secret: %v", err)
	}
	if err := yaml.Load([]byte(`"[redacted]"`), &s); err == nil || !s.IsZero() {
		t.Errorf("YAML decoded into a secret: %v", err)
	}
}

var forms = map[string]access.SecretForm{"key": access.KeySecret, "refresh": access.RefreshSecret}

// source is a seeded source of bytes.
func source(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func TestSecretForms(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			in := source(1)
			seen := map[string]bool{}
			for range 1000 {
				s, err := form.New(in)
				if err != nil {
					t.Fatal(err)
				}
				text := s.Reveal()
				if !form.Valid(text) || !form.Claims(text) || len(text) != len(form.Prefix)+form.Random+6 || seen[text] {
					t.Fatalf("bad secret %q", text)
				}
				seen[text] = true
				for other, f := range forms {
					if other != name && (f.Valid(text) || f.Claims(text)) {
						t.Fatalf("%q is taken for a %s", text, other)
					}
				}
			}
		})
	}
}

// TestSecretEntropy: the alphabet is used evenly, so that a character carries
// log2(62) bits. χ² with 61 degrees of freedom is beyond 130 once in a million.
func TestSecretEntropy(t *testing.T) {
	count := map[byte]float64{}
	in := source(2)
	const secrets = 4000
	for range secrets {
		s, err := access.RefreshSecret.New(in)
		if err != nil {
			t.Fatal(err)
		}
		body := s.Reveal()[len(access.RefreshSecret.Prefix):][:access.RefreshSecret.Random]
		for i := range len(body) {
			count[body[i]]++
		}
	}
	want, chi := float64(secrets*access.RefreshSecret.Random)/62, 0.0
	for _, n := range count {
		chi += (n - want) * (n - want) / want
	}
	if len(count) != 62 || chi > 130 {
		t.Errorf("%d characters, χ² = %.1f", len(count), chi)
	}
}

func TestSecretWithoutRandomness(t *testing.T) {
	if s, err := access.KeySecret.New(bytes.NewReader(make([]byte, 10))); err == nil || !s.IsZero() {
		t.Errorf("made %q of 10 bytes", s.Reveal())
	}
}

// TestSecretGuesses: I-18 a million random strings of the right shape, none accepted.
func TestSecretGuesses(t *testing.T) {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	r := rand.New(rand.NewPCG(3, 4))
	for range 500_000 {
		for _, form := range forms {
			b := []byte(form.Prefix)
			for range form.Random + 6 {
				b = append(b, alphabet[r.IntN(len(alphabet))])
			}
			if form.Valid(string(b)) {
				t.Fatalf("accepted %q", b)
			}
		}
	}
}

// FuzzSecret: I-18 a secret with any one character changed, cut or added is
// refused; and what is accepted has the form's prefix, length and alphabet.
func FuzzSecret(f *testing.F) {
	f.Add(uint64(1), 3, byte('x'), "sallyport_key_")
	f.Add(uint64(2), 14, byte('0'), "sallyport_idt_AAAA")
	f.Add(uint64(3), 49, byte(0), "")
	f.Fuzz(func(t *testing.T, seed uint64, at int, c byte, text string) {
		for _, form := range forms {
			s, err := form.New(rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}))
			if err != nil {
				t.Fatal(err)
			}
			good := s.Reveal()
			i := int(uint(at) % uint(len(good)))
			if changed := good[:i] + string([]byte{c}) + good[i+1:]; changed != good && form.Valid(changed) {
				t.Errorf("accepted %q, changed from %q", changed, good)
			}
			for _, bad := range []string{good[:i], good + string([]byte{c}), string([]byte{c}) + good, good[:i] + good[i+1:], strings.ToLower(good)} {
				if bad != good && form.Valid(bad) {
					t.Errorf("accepted %q", bad)
				}
			}
			if form.Valid(text) && (!strings.HasPrefix(text, form.Prefix) || len(text) != len(good)) {
				t.Errorf("accepted %q", text)
			}
		}
	})
}

// TestSecretEveryFlip: I-18 each character of a secret counts.
func TestSecretEveryFlip(t *testing.T) {
	for name, form := range forms {
		s, err := form.New(source(5))
		if err != nil {
			t.Fatal(err)
		}
		good := s.Reveal()
		for i := range len(good) {
			for c := byte(' '); c <= '~'; c++ {
				if changed := good[:i] + string([]byte{c}) + good[i+1:]; c != good[i] && form.Valid(changed) {
					t.Errorf("%s: accepted %q", name, changed)
				}
			}
		}
	}
}
