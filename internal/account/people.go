package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// methodSSO is the Proof.Method of who a provider vouches for.
const methodSSO = "sso"

// Limits on what providers say.
const (
	maxIssuer  = 512 // bytes
	maxSubject = 512
	// maxSuffix is how many of a name there are before a sign-in is refused.
	maxSuffix = 1000
)

// ErrNoAccount says that a provider vouches for somebody who has no account here,
// and may not give one.
var ErrNoAccount = errors.New("nobody here is linked to this identity, and the provider may not create accounts")

// A Provider vouches for people: it lets them sign in, and says what they are
// called and their groups are. Both are ours below its name: "corp/alice".
type Provider struct {
	Name   string // one component of a name
	Issuer string // its own, which no other provider has
	// CreateAccounts lets who signs in for the first time have an account.
	CreateAccounts bool
	// Recheck is after how long it is asked again whether it still vouches, when
	// what it vouched for is used. MaxAge is after how long that ends when it was
	// not, or could not be asked.
	Recheck, MaxAge time.Duration
	Voucher         Voucher
	// Prover checks passwords: of who logs in with a name below that of the provider.
	Prover Prover
}

// renewable reports whether the provider can be asked again about whom l is of. A
// directory is not about who is withdrawn: a password brings them back.
func (p Provider) renewable(l Link) bool {
	return p.Prover != nil && !l.Checked.IsZero() || p.Voucher != nil && l.Renewal != nil
}

// voucher returns who is asked again.
func (p Provider) voucher() Voucher {
	if p.Prover != nil {
		return p.Prover
	}
	return p.Voucher
}

// A Voucher is asked again about people.
type Voucher interface {
	// Renew asks whether the provider still vouches for o, with what it gave for
	// that. Errors: access.ErrBadCredential when it does not; any other means that
	// it could not be asked, and comes with a Renewal if that is another one now.
	Renew(ctx context.Context, o access.Outside) (access.Outside, error)
}

// A Sealer keeps what providers are asked with at rest.
type Sealer interface {
	ID() string
	Seal(name string, plain []byte) []byte
	Open(name, under string, sealed []byte) ([]byte, error)
}

// CheckProviders errors when an account or group that is not theirs has a name
// of a provider: it would be taken for one that the provider vouches for. It takes
// away the groups that came of a provider that is there no more. Call it once.
func (s *Service) CheckProviders(ctx context.Context) error {
	var issuers []string
	for _, p := range s.providers {
		issuers = append(issuers, p.Issuer)
	}
	if err := s.dir.KeepGroups(ctx, issuers); err != nil {
		return fmt.Errorf("take away the groups of providers that are gone: %w", err)
	}
	for _, p := range s.providers {
		account, group, err := s.dir.Trespassers(ctx, p.Name, p.Issuer)
		switch {
		case err != nil:
			return fmt.Errorf("look for names below %s/: %w", p.Name, err)
		case account != "":
			return invalid("the account %s has a name that belongs to the provider %s: give the provider another name, or remove the account", account, p.Name)
		case group != "":
			return invalid("the local group %s has a name that belongs to the provider %s: give the provider another name, or take the members out of the group", group, p.Name)
		}
	}
	return nil
}

// local checks that a name is not at or below a provider's.
func (s *Service) local(what, name string) error {
	for _, p := range s.providers {
		if name == p.Name || strings.HasPrefix(name, p.Name+"/") {
			return invalid("%s %s: names at and below %s are for what the provider of that name vouches for; choose another", what, name, p.Name)
		}
	}
	return nil
}

func (s *Service) providerOf(issuer string) (Provider, bool) {
	i := slices.IndexFunc(s.providers, func(p Provider) bool { return p.Issuer == issuer })
	if i < 0 {
		return Provider{}, false
	}
	return s.providers[i], true
}

// SignIn returns who the one is that a provider has just vouched for, by issuer and
// subject alone; for a new one it makes an account. Its groups are from now on
// those that the provider named. Errors: access.ErrDisabled; ErrNoAccount;
// *Invalid; access.ErrBadCredential for no provider of ours.
func (s *Service) SignIn(ctx context.Context, o access.Outside) (access.Identity, error) {
	p, ok := s.providerOf(o.Issuer)
	switch {
	case !ok, p.Name != o.Provider:
		return access.Identity{}, access.ErrBadCredential
	case o.Subject == "", len(o.Subject) > maxSubject, len(o.Issuer) > maxIssuer, !printable(o.Subject):
		return access.Identity{}, invalid("the provider's subject is empty, not printable, or longer than %d bytes", maxSubject)
	}
	l, err := s.vouched(o)
	if err != nil {
		return access.Identity{}, err
	}
	for range 3 {
		a, old, err := s.dir.Person(ctx, o.Issuer, o.Subject)
		switch {
		case errors.Is(err, ErrUnknown):
			a, err = s.addPerson(ctx, p, o, l)
		case err == nil && a.Disabled:
			err = access.ErrDisabled
		case err == nil:
			l.AccountID = old.AccountID
			err = s.dir.Vouch(ctx, l, time.Time{})
		}
		switch {
		case errors.Is(err, ErrLinked), errors.Is(err, ErrUnknown):
			continue // somebody else, at the same moment
		case errors.Is(err, ErrGroups):
			return access.Identity{}, invalid("the provider names more than %d groups: give it a filter", MaxGroups)
		case err != nil:
			return access.Identity{}, fmt.Errorf("sign in: %w", err)
		}
		return s.signedIn(ctx, p, a.UID, l)
	}
	return access.Identity{}, access.ErrBusy
}

// signedIn returns the identity of who has signed in, as it is now.
func (s *Service) signedIn(ctx context.Context, p Provider, uid string, l Link) (access.Identity, error) {
	a, err := s.dir.AccountByUID(ctx, uid)
	switch {
	case err != nil:
		return access.Identity{}, notFoundIsBad("find account", err)
	case a.Disabled:
		return access.Identity{}, access.ErrDisabled
	}
	id := access.Identity{Principal: a.Principal(), Proof: access.Proof{
		Method: methodSSO, PasswordSet: a.PasswordSet, Issuer: l.Issuer, Subject: l.Subject,
	}}
	if !p.renewable(l) {
		id.Expires = l.Checked.Add(p.MaxAge)
	}
	return id, nil
}

// vouched returns the link, without an account, that says what o does.
func (s *Service) vouched(o access.Outside) (Link, error) {
	l := Link{
		Provider: o.Provider, Issuer: o.Issuer, Subject: o.Subject,
		Groups: groupNames(o.Provider, o.Groups), Checked: s.now().UTC().Truncate(time.Microsecond),
	}
	if o.Renewal.IsZero() {
		return l, nil
	}
	if s.sealer == nil {
		return Link{}, errors.New("nothing to seal with what the provider is asked with")
	}
	l.KEK, l.Renewal = s.sealer.ID(), s.sealer.Seal(sealedName(l), []byte(o.Renewal.Reveal()))
	return l, nil
}

func sealedName(l Link) string { return "renewal of " + l.Issuer + " " + l.Subject }

// groupNames returns what groups of a provider are called here: those whose names
// can be names. None is made to fit, so that no two become one.
func groupNames(provider string, groups []string) []string {
	var out []string
	for _, g := range groups {
		if name := provider + "/" + g; access.ValidName(name) == nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// addPerson makes an account for somebody who signs in for the first time. Errors:
// ErrNoAccount; ErrLinked; ErrGroups.
func (s *Service) addPerson(ctx context.Context, p Provider, o access.Outside, l Link) (Account, error) {
	if !p.CreateAccounts {
		return Account{}, ErrNoAccount
	}
	policy, err := s.Current(ctx)
	if err != nil {
		return Account{}, err
	}
	base := personName(p.Name, o)
	for n := 1; n <= maxSuffix; n++ {
		name := base
		if n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		switch free, err := s.neverUsed(ctx, name); {
		case err != nil:
			return Account{}, err
		case !free:
			continue
		case policy.Mentions(access.User, name):
			// Whoever comes first may not choose to be the one that is meant.
			return Account{}, invalid("the policy gives rights to user:%s, who has never signed in; if that is you, an administrator says so: sallyport user link %s --issuer %s --subject %s", name, name, o.Issuer, o.Subject)
		}
		a, err := s.makePerson(ctx, name, l)
		if !errors.Is(err, ErrExists) {
			return a, err
		}
	}
	return Account{}, invalid("more than %d people of the provider are called %s", maxSuffix, base)
}

// makePerson makes the account of somebody whom l links to it. Errors: ErrExists;
// ErrLinked; ErrGroups.
func (s *Service) makePerson(ctx context.Context, name string, l Link) (Account, error) {
	a, err := s.newAccount(Name{access.User, name}, "")
	if err != nil {
		return Account{}, err
	}
	l.AccountID = a.UID
	return a, s.dir.AddPerson(ctx, a, l)
}

// neverUsed reports whether no account has or had the name: what the policy or a
// person remembers of a name shall not pass on to somebody else.
func (s *Service) neverUsed(ctx context.Context, name string) (bool, error) {
	switch _, err := s.dir.AccountByName(ctx, name); {
	case err == nil:
		return false, nil
	case !errors.Is(err, ErrUnknown):
		return false, fmt.Errorf("find account: %w", err)
	}
	retired, err := s.dir.IsRetired(ctx, name)
	if err != nil {
		return false, fmt.Errorf("find retired name: %w", err)
	}
	return !retired, nil
}

// personName makes a name of what the provider calls somebody, with room for a
// suffix. What has to be changed to be a name also gets a mark of issuer and
// subject: else somebody could choose a spelling that becomes another's name.
func personName(provider string, o access.Outside) string {
	room := access.MaxName - len(provider) - len("/-12345678-1000")
	named := func(said string) (string, bool) {
		name := provider + "/" + said
		return name, len(said) <= room && !strings.Contains(said, "/") && access.ValidName(name) == nil
	}
	plain := o.Name
	if plain == "" {
		plain = o.Subject
	}
	if name, ok := named(plain); ok {
		return name
	}
	sum := sha256.Sum256([]byte(o.Issuer + "\x00" + o.Subject))
	mark := "-" + hex.EncodeToString(sum[:4])
	if name, ok := named(component(o.Name, room)); ok {
		return name + mark
	}
	return provider + "/user" + mark
}

// component makes of s what resembles one part of a name, at most n bytes.
func component(s string, n int) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, s)
	out = strings.Trim(out, ".-_")
	return strings.TrimRight(out[:min(len(out), n)], ".-_")
}

// Link lets who a provider calls subject sign in as a person. One below the
// provider's own name, who has not signed in yet, gets the account now. Errors:
// ErrUnknown; ErrLinked; *Invalid.
func (s *Service) Link(ctx context.Context, name, issuer, subject string) error {
	p, ok := s.providerOf(issuer)
	switch {
	case !ok:
		return invalid("no provider with the issuer %.200q is configured: see login.providers", issuer)
	case subject == "", len(subject) > maxSubject, !printable(subject):
		return invalid("subject: 1 to %d bytes of printable text", maxSubject)
	}
	l := Link{Provider: p.Name, Issuer: issuer, Subject: subject}
	a, err := s.find(ctx, Name{access.User, name})
	switch {
	case errors.Is(err, ErrUnknown) && strings.HasPrefix(name, p.Name+"/"):
		err = s.addLinked(ctx, Name{access.User, name}, l)
	case err == nil:
		l.AccountID = a.UID
		err = s.dir.AddLink(ctx, l)
	}
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}

// addLinked makes an account of a provider's, for who has not signed in yet.
func (s *Service) addLinked(ctx context.Context, n Name, l Link) error {
	if err := access.ValidName(n.Name); err != nil {
		return invalidBecause(err)
	}
	if err := s.refuseRetired(ctx, n); err != nil {
		return err
	}
	_, err := s.makePerson(ctx, n.Name, l)
	return err
}

// Unlink undoes Link, and ends the account's sessions. Errors: ErrUnknown; *Invalid
// when nobody could sign in any more.
func (s *Service) Unlink(ctx context.Context, name, issuer, subject string) error {
	a, err := s.find(ctx, Name{access.User, name})
	if err != nil {
		return err
	}
	links, err := s.dir.Links(ctx, a.Name, a.Name)
	if err != nil {
		return fmt.Errorf("find links: %w", err)
	}
	ofIssuer := 0
	for _, l := range links[a.UID] {
		if l.Issuer == issuer {
			ofIssuer++
		}
	}
	if p, ok := s.providerOf(issuer); ok && ofIssuer == 1 && strings.HasPrefix(name, p.Name+"/") {
		return invalid("user:%s is below the provider %s and has no other identity of it: disable or remove the account", name, p.Name)
	}
	switch err := s.dir.RemoveLink(ctx, a.UID, issuer, subject, s.now()); {
	case errors.Is(err, ErrLastLink):
		return invalid("user:%s has no password and signs in with this identity alone: link another one first, or disable or remove the account", name)
	case err != nil:
		return fmt.Errorf("unlink %s: %w", name, err)
	}
	return nil
}

// hasPassword errors for who signs in with a provider alone: with a password the
// provider would be asked no more.
func (s *Service) hasPassword(ctx context.Context, a Account) error {
	if a.PasswordHash != "" {
		return nil
	}
	links, err := s.dir.Links(ctx, a.Name, a.Name)
	if err != nil {
		return fmt.Errorf("find links: %w", err)
	}
	if l := links[a.UID]; len(l) > 0 {
		return invalid("user:%s signs in with the provider %s and can have no password", a.Name, l[0].Provider)
	}
	return nil
}

// withLinks fills in the links of accounts that are ordered by name.
func (s *Service) withLinks(ctx context.Context, accounts []Account) error {
	if len(accounts) == 0 || len(s.providers) == 0 {
		return nil
	}
	links, err := s.dir.Links(ctx, accounts[0].Name, accounts[len(accounts)-1].Name)
	if err != nil {
		return fmt.Errorf("find links: %w", err)
	}
	for i := range accounts {
		accounts[i].Links = links[accounts[i].UID]
	}
	return nil
}
