package account

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/access"
)

// Every line of the list is as isCommon looks for it, and is found whatever is
// put around it.
func TestCommonList(t *testing.T) {
	if n := len(common()); n < 10_000 {
		t.Errorf("the list has %d passwords", n)
	}
	for w := range common() {
		if core(joined(w)) != w || len(w) < minCore {
			t.Errorf("%q is looked for as %q", w, core(joined(w)))
		}
		for _, variation := range []string{w, strings.ToUpper(w[:1]) + w[1:] + "2026!", "99-" + w, w + "." + w, w + "12" + w + "12", "<" + strings.ToUpper(w) + ">"} {
			if !isCommon(joined(variation)) {
				t.Errorf("%q is not found to be common", variation)
			}
		}
	}
}

// Laws: a password that is refused for its words is refused with signs around
// it, and in capitals; nothing that is refused is shown.
func FuzzCheckPassword(f *testing.F) {
	for _, s := range []string{"correct horse battery staple", "Password2026!", "alice-alice-alice", "qwertyuiop12", "\xff\xfe", "pässwörd", strings.Repeat("ab", 600)} {
		f.Add(s)
	}
	s := &Service{minPassword: 1, hosts: []string{"registry.example.com"}}
	f.Fuzz(func(t *testing.T, password string) {
		refused := s.CheckPassword("alice", access.NewSecret(password))
		if refused == nil {
			if distinct(joined(password)) < minDistinct {
				t.Errorf("%q is taken", password)
			}
			return
		}
		if len(password) >= 12 && strings.Contains(refused.Error(), password) {
			t.Errorf("the answer shows %q", password)
		}
		if strings.Contains(refused.Error(), "hardly more") {
			if err := s.CheckPassword("alice", access.NewSecret(".-"+password+"-.")); err == nil {
				t.Errorf("%q is taken with signs around it", password)
			}
		}
	})
}
