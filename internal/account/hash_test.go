package account

import (
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func newTestHasher() *hasher { return newHasher(0) }

func TestCheckHash(t *testing.T) {
	salt := []byte("0123456789abcdef")
	ours := newTestHasher().makeHash("right horse", salt)
	weak := phc{argon: argon{8, 1, 1}, salt: salt, sum: argon{8, 1, 1}.sum("right horse", salt, 32)}.String()
	bc := func(password string) string {
		b, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	long := strings.Repeat("x", 72)
	for _, tt := range []struct {
		name             string
		stored, password string
		ok, weak         bool
	}{
		{"ours", ours, "right horse", true, false},
		{"ours, wrong", ours, "wrong horse", false, false},
		{"ours, another case", ours, "Right horse", false, false},
		{"I-08 ours, leading space", ours, " right horse", false, false},
		{"I-08 ours, NUL behind", ours, "right horse\x00", false, false},
		{"weaker", weak, "right horse", true, true},
		{"bcrypt $2a$", bc("abc"), "abc", true, true},
		{"bcrypt $2b$", "$2b$" + bc("abc")[4:], "abc", true, true},
		{"bcrypt $2y$", "$2y$" + bc("abc")[4:], "abc", true, true},
		{"bcrypt $2x$", "$2x$" + bc("abc")[4:], "abc", false, false},
		{"bcrypt, wrong", bc("abc"), "abd", false, true},
		{"bcrypt, 72 bytes", bc(long), long, true, true},
		{"I-07 bcrypt, 72 bytes and more", bc(long), long + "garbage", false, false},
		{"I-08 bcrypt repeats the password", bc("abc"), "abc\x00abc", false, false},
		{"no hash at all", "", "", false, false},
		{"plain text", "secret", "secret", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newTestHasher()
			ok, weak := h.checkHash(tt.stored, tt.password, kind{argon: today})
			if ok != tt.ok || ok && weak != tt.weak {
				t.Errorf("checkHash = %t, weak %t; want %t, %t", ok, weak, tt.ok, tt.weak)
			}
			if n := h.count.Load(); n != 1 {
				t.Errorf("%d hashes, want 1", n)
			}
		})
	}
}

func TestBcryptCost(t *testing.T) {
	rest := strings.Repeat("a", 53)
	for hash, want := range map[string]bool{
		"$2y$10$" + rest: true, "$2a$04$" + rest: true, "$2b$12$" + rest: true,
		"$2y$03$" + rest: false, "$2y$13$" + rest: false, "$2y$31$" + rest: false,
		"$2y$+4$" + rest: false, "$2y$4$" + rest + "a": false, "$2y$10$" + rest + "a": false,
		"$2y$10$" + rest[1:] + ":": false, "$2x$10$" + rest: false, "$1$10$" + rest: false, "": false,
	} {
		if _, ok := bcryptCost(hash); ok != want {
			t.Errorf("bcryptCost(%q) = %t, want %t", hash, ok, want)
		}
	}
}

const phcExample = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"

func TestParsePHCRefuses(t *testing.T) {
	if _, err := parsePHC(phcExample); err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ from, to string }{
		{"argon2id", "argon2i"}, {"v=19", "v=16"}, {"m=19456", "m=019456"}, {"m=19456", "m=+19456"},
		{"m=19456", "m=131073"}, {"m=19456", "m=4294967297"}, {"m=19456", "m=7"}, {"m=19456", "m=0"},
		{"t=2", "t=0"}, {"t=2", "t=5"}, {"p=1", "p=0"}, {"p=1", "p=2"}, {"p=1", "p=257"},
		{"t=2,p=1", "p=1,t=2"}, {"MDEyMzQ1Njc4OWFiY2RlZg$", "MDEyMzQ$"}, {"WY", "WZ"}, {"WY", "WY=="},
		{"MDEyMzQ1Njc4OWFiY2RlZg$", "MDEyMzQ1\nNjc4OWFiY2RlZg$"}, {"$argon2id", "x$argon2id"}, {"WY", "WY$"},
	} {
		text := strings.Replace(phcExample, change.from, change.to, 1)
		if text == phcExample {
			t.Fatalf("%q is not in the example", change.from)
		}
		if _, err := parsePHC(text); err == nil {
			t.Errorf("parsePHC(%q) took it", text)
		}
	}
}

// Law: what is read is written again as it was, and is within our bounds.
func FuzzParsePHC(f *testing.F) {
	f.Add(phcExample)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.String() != s {
			t.Errorf("%q is written %q", s, p)
		}
		if p.memory > most.memory || p.passes > most.passes || p.threads > most.threads || p.passes == 0 || p.threads == 0 {
			t.Errorf("%q is out of bounds", s)
		}
	})
}

// Law: each line is empty, a comment, one entry or one complaint; entries have
// valid, distinct names and a hash that we would check.
func FuzzParseHtpasswd(f *testing.F) {
	hash := "$2y$10$" + strings.Repeat("a", 53)
	f.Add("alice:" + hash + "\nbob:" + hash + "\r\n\n# note\n")
	f.Add("alice:" + hash + "\nalice:" + hash)
	f.Add("Alice:{SHA}xyz\nx\nbob:$2y$31$" + strings.Repeat("a", 53))
	f.Fuzz(func(t *testing.T, file string) {
		entries, bad := parseHtpasswd(strings.NewReader(file))
		lines := strings.Count(file, "\n") + 1
		if len(entries)+len(bad) > lines {
			t.Errorf("%d entries and %d complaints for %d lines", len(entries), len(bad), lines)
		}
		seen := map[string]bool{}
		for _, e := range entries {
			if _, ok := bcryptCost(e.hash); !ok || seen[e.name] || badEntry(e.name, e.hash) != "" {
				t.Errorf("took %q:%q", e.name, e.hash)
			}
			seen[e.name] = true
		}
		for _, l := range bad {
			if l.Line < 1 || l.Line > lines || l.Reason == "" {
				t.Errorf("complaint %+v", l)
			}
		}
	})
}
