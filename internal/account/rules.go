package account

import (
	_ "embed"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/internal/access"
)

// Bounds on passwords. A password is compared byte for byte: it is not
// normalised, trimmed or folded.
const (
	// DefaultMinPassword is what Options.MinPassword means when it is zero, in
	// characters.
	DefaultMinPassword = 12
	// MaxPassword is in bytes.
	MaxPassword = 1024
)

// CheckPassword tells whether an account may have that password. All that sets
// one asks it, but for the import of hashes, in which nothing can be seen. Errors:
// *Invalid, which does not show the password.
func (s *Service) CheckPassword(name string, password access.Secret) error {
	p := password.Reveal()
	n := utf8.RuneCountInString(p)
	switch {
	case n < s.minPassword:
		return invalid("the password has %d characters; use at least %d", n, s.minPassword)
	case len(p) > MaxPassword:
		return invalid("the password is %d bytes long; use at most %d", len(p), MaxPassword)
	case strings.ContainsAny(p, "\x00\r\n"):
		return invalid("the password holds a line break or a NUL, which no client can send")
	case access.KeySecret.Claims(p), access.RefreshSecret.Claims(p), access.ResetSecret.Claims(p), access.CodeSecret.Claims(p), access.DeviceSecret.Claims(p),
		strings.HasPrefix(p, "eyJ") && strings.Count(p, ".") == 2:
		return invalid("the password looks like an access key, a code or a token, and would be taken for one at login; choose another")
	case isCommon(joined(p)):
		return invalid("the password is a well-known one, or a short word among digits and signs; choose another, such as several words")
	case isHardlyMore(joined(p), append([]string{name}, s.hosts...)):
		return invalid("the password is hardly more than names, well-known words and rows of keys; choose another, such as several words")
	}
	return nil
}

//go:embed common.txt
var commonText string

var common = sync.OnceValue(func() map[string]bool {
	set := make(map[string]bool, 12_000)
	for line := range strings.Lines(commonText) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			set[line] = true
		}
	}
	return set
})

// minCore is the least that letters must span of a password, in bytes.
const minCore = 5

// isCommon reports whether s, which is joined, is a common password, be it with
// signs for letters, with digits and signs around it, or several times; or
// nothing but digits and signs around a short word.
func isCommon(s string) bool {
	s = once(s)
	inner := strings.TrimFunc(s, func(r rune) bool { return !isLetter(r) && r != '@' && r != '$' })
	if len(core(s)) < minCore {
		return true
	}
	return common()[core(s)] || common()[core(letters.Replace(s))] || common()[core(letters.Replace(inner))]
}

// letters are the signs that stand for letters.
var letters = strings.NewReplacer("@", "a", "4", "a", "0", "o", "1", "i", "3", "e", "$", "s", "5", "s", "7", "t")

// joined returns s in lower case and plain letters without what joins words.
func joined(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_ .!<>{}[]/", r) {
			return -1
		}
		return r
	}, strings.ToLower(norm.NFKC.String(s)))
}

// core returns s from its first letter to its last one, once if that is a
// repetition.
func core(s string) string {
	return once(strings.TrimFunc(s, func(r rune) bool { return !isLetter(r) }))
}

// once returns what s is a repetition of, or s.
func once(s string) string {
	for n := 1; n <= len(s)/2; n++ {
		if len(s)%n == 0 && strings.Repeat(s[:n], len(s)/n) == s {
			return s[:n]
		}
	}
	return s
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= utf8.RuneSelf }

// wellKnown are the words of passwords that stand in examples and guessing
// lists, none before one that begins with it.
var wellKnown = []string{
	"changeme", "changeit", "replaceme", "replace", "change", "please", "password", "passw0rd", "p@ssw0rd", "secret",
	"administrator", "admin", "sallyport", "registry", "docker", "letmein", "default", "example", "sample", "test", "your", "todo",
	"welcome", "harbor",
}

// rows are the keys beside each other, and the alphabet; in both directions.
var rows = func(rows ...string) []string {
	for _, row := range rows {
		rows = append(rows, reversed(row))
	}
	return rows
}(
	"1234567890", "qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm",
	"1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p", "abcdefghijklmnopqrstuvwxyz",
)

const (
	minRun      = 4 // characters of a row that are taken for one
	minName     = 3 // bytes of a name that are looked for
	minBeside   = 8 // bytes that must be there beside names
	minDistinct = 6 // different bytes that must be left without names, words and rows
)

// isHardlyMore reports whether hardly anything is left of s, which is joined,
// without the names, the words of wellKnown and rows of keys.
func isHardlyMore(s string, names []string) bool {
	return isHardly(s, names, func(s string) string { return s }) || isHardly(s, names, letters.Replace)
}

// isHardly is isHardlyMore with everything spelt in one way.
func isHardly(s string, names []string, spelt func(string) string) bool {
	s = spelt(s)
	beside := s
	for _, name := range names {
		for _, part := range append([]string{joined(name)}, strings.FieldsFunc(strings.ToLower(name), isJoint)...) {
			if len(part) >= minName {
				beside = strings.ReplaceAll(beside, spelt(part), "")
			}
		}
	}
	if beside != s && (len(beside) < minBeside || isCommon(beside)) {
		return true
	}
	for _, word := range wellKnown {
		beside = strings.ReplaceAll(beside, word, "")
	}
	return distinct(withoutRows(beside)) < minDistinct
}

func isJoint(r rune) bool { return strings.ContainsRune("-_./:", r) }

// withoutRows returns s without its stretches of rows, forwards or backwards.
func withoutRows(s string) string {
	var rest strings.Builder
	for len(s) > 0 {
		n := 1
		for _, row := range rows {
			n = max(n, run(s, row))
		}
		if n < minRun {
			rest.WriteByte(s[0])
			n = 1
		}
		s = s[n:]
	}
	return rest.String()
}

// run returns how many bytes s has in common with row from its first byte on.
func run(s, row string) int {
	from := strings.IndexByte(row, s[0])
	n := 0
	for from >= 0 && n < len(s) && from+n < len(row) && s[n] == row[from+n] {
		n++
	}
	return n
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// distinct counts the different bytes of s.
func distinct(s string) int {
	var seen [256]bool
	n := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			n++
		}
	}
	return n
}
