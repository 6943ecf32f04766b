package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/sallyport/sallyport/internal/access"
)

const (
	defaultSessions = time.Hour
	maxRemembered   = 10_000 // tokens that were verified
	maxLogged       = 300    // bytes of what a stranger wrote
	loadTimeout     = 30 * time.Second
)

// Deps are what a Set needs.
type Deps struct {
	Store   Store
	Changes access.Changes
	Fixed   []Definition // of the configured file
}

// Options of a Set; the zero value works.
type Options struct {
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: discard
	// Audience is what this registry is called in tokens, for advice. Tokens of
	// such a host are ours, and prove nobody here.
	Audience string
	// MaxSessions bounds the life of identity tokens. 0: 24 h.
	MaxSessions time.Duration
}

// A Set is all trusted issuers. It is the authenticator for access.IDToken, and
// says of each request whether what an earlier proof rests on still holds. Safe
// for concurrent use.
type Set struct {
	deps     Deps
	options  Options
	now      func() time.Time
	log      *slog.Logger
	known    *otter.Cache[[sha256.Size]byte, *proven]
	fixed    []*trusted
	snapshot atomic.Pointer[snapshot]
	loading  sync.Mutex

	ending context.Context
	end    context.CancelFunc
	gate   sync.Mutex
	ended  bool
	tasks  sync.WaitGroup
}

// A snapshot is all issuers under one generation. It does not change.
type snapshot struct {
	generation int64
	byName     map[string]*trusted
	byURL      map[string]*trusted // only those that are trusted
}

// New returns the set of what is configured and stored. A definition that is
// wrong or clashes with another one is an error with a Hint.
func New(deps Deps, o Options) (*Set, error) {
	s := &Set{deps: deps, options: o, now: o.Now, log: o.Logger}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.options.MaxSessions == 0 {
		s.options.MaxSessions = longestToken
	}
	s.known = otter.Must(&otter.Options[[sha256.Size]byte, *proven]{MaximumSize: maxRemembered})
	s.ending, s.end = context.WithCancel(context.Background())
	for _, d := range deps.Fixed {
		t := s.trust(d)
		t.fixed = true
		if err := t.validate(); err != nil {
			return nil, within("issuer "+d.Name, err)
		}
		s.fixed = append(s.fixed, t)
	}
	ctx, cancel := context.WithTimeout(s.ending, loadTimeout)
	defer cancel()
	now, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range now.byName {
		if clash, ok := errors.AsType[*clash](t.problem); ok {
			return nil, invalid("issuer "+t.definition.Name, clash.Hint(), "%v", clash)
		}
	}
	return s, nil
}

// Close ends what runs in the background.
func (s *Set) Close() {
	s.gate.Lock()
	s.ended = true
	s.gate.Unlock()
	s.end()
	s.tasks.Wait()
	for _, t := range s.snapshot.Load().byName {
		t.line.close()
	}
}

// background runs a task until Close.
func (s *Set) background(task func(ctx context.Context)) bool {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.ended {
		return false
	}
	s.tasks.Go(func() { task(s.ending) })
	return true
}

// load returns the issuers as they are now. It costs a query when the generation
// has changed.
func (s *Set) load(ctx context.Context) (*snapshot, error) {
	generation, err := s.deps.Changes.Generation(ctx)
	if err != nil {
		return nil, err
	}
	if now := s.snapshot.Load(); now != nil && now.generation == generation {
		return now, nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	before := s.snapshot.Load()
	if before != nil && before.generation == generation {
		return before, nil
	}
	list, err := s.deps.Store.Issuers(ctx)
	if err != nil {
		return nil, err
	}
	now := s.assemble(generation, before, list)
	s.snapshot.Store(now)
	return now, nil
}

// A clash is two issuers with one name or URL.
type clash struct{ text string }

func (c *clash) Error() string { return c.text }

// Hint returns the cure.
func (c *clash) Hint() string {
	return "remove one of them: sallyport issuer remove, or the entry in the configured file"
}

// assemble keeps what has not changed, with its keys. Of two with one name or URL
// none is trusted: nobody knows which was meant.
func (s *Set) assemble(generation int64, before *snapshot, list []Stored) *snapshot {
	out := &snapshot{generation, map[string]*trusted{}, map[string]*trusted{}}
	all := slices.Clone(s.fixed)
	for _, stored := range list {
		t := s.reuse(before, stored)
		if t == nil {
			t = s.trustStored(stored)
		}
		all = append(all, t)
	}
	names, urls := map[string]int{}, map[string]int{}
	for _, t := range all {
		names[t.definition.Name]++
		urls[t.url()]++
	}
	for _, t := range all {
		if t.problem == nil && (names[t.definition.Name] > 1 || urls[t.url()] > 1) {
			other := *t // what is shared with the snapshot before stays as it was
			other.problem = &clash{"there is another issuer with the name " + t.definition.Name + " or the URL " + t.url()}
			t = &other
		}
		out.byName[t.definition.Name] = t
		if t.problem == nil {
			out.byURL[t.url()] = t
		}
	}
	if before != nil {
		for name, t := range before.byName {
			if out.byName[name] != t {
				t.line.close()
			}
		}
	}
	return out
}

func (s *Set) reuse(before *snapshot, stored Stored) *trusted {
	if before == nil {
		return nil
	}
	t := before.byName[stored.Name]
	if t == nil || t.fixed || t.problem != nil || !t.stored.Changed.Equal(stored.Changed) || !bytes.Equal(t.stored.Document, stored.Document) {
		return nil
	}
	return t
}

func (s *Set) trustStored(stored Stored) *trusted {
	d, err := load(stored.Document)
	if err == nil && d.Name != stored.Name {
		err = invalid("name", "remove it and add it again", "it is stored as %.80q", stored.Name)
	}
	d.Name = stored.Name
	t := s.trust(d)
	t.stored = stored
	if err == nil {
		err = t.whole.checkNoFiles()
	}
	if err != nil {
		t.problem = err
	}
	return t
}

// Authenticate implements access.Authenticator for access.IDToken. Why one is
// refused is for the log, and for Test. access.ErrBusy says that the keys of the
// issuer could not be had in time.
func (s *Set) Authenticate(ctx context.Context, credential access.Credential) (access.Identity, error) {
	presented, ok := credential.(access.IDToken)
	if !ok {
		return access.Identity{}, access.ErrBadCredential
	}
	id, err := s.prove(ctx, presented.Secret)
	if err == nil {
		return id, nil
	}
	if errors.Is(err, access.ErrBusy) { // it can have a refusal of somebody else's in it
		s.log.LogAttrs(ctx, slog.LevelWarn, "outside token not verified", slog.String("err", cut(err.Error())), slog.String("request", presented.From.RequestID))
		return access.Identity{}, access.ErrBusy
	}
	if r, refused := errors.AsType[*refusal](err); refused {
		return access.Identity{}, r.refused() // whoever asked for it logs it
	}
	return access.Identity{}, err
}

func (s *Set) prove(ctx context.Context, secret access.Secret) (access.Identity, error) {
	now, sum := s.now(), secret.Sum()
	all, err := s.load(ctx)
	if err != nil {
		return access.Identity{}, err
	}
	p, ok := s.known.GetIfPresent(sum)
	if !ok || all.byURL[p.by.url()] != p.by || !p.holds(now) {
		if p, err = s.verify(ctx, all, secret.Reveal()); err != nil {
			return access.Identity{}, err
		}
		s.known.Set(sum, p)
	}
	id := p.identity(now, s.options.MaxSessions)
	if p.by.asked != nil {
		end, err := p.by.asked.confirm(ctx, secret, p.sub)
		if err != nil {
			return access.Identity{}, p.by.signed(err, p.subject.claims)
		}
		if end.Before(id.Expires) {
			id.Expires = end
		}
	}
	return id, nil
}

// verify finds the issuer of a token, and asks nobody whom we do not trust (F-04).
func (s *Set) verify(ctx context.Context, all *snapshot, text string) (*proven, error) {
	p, err := parse(text)
	if err != nil {
		return nil, err
	}
	t := all.byURL[p.issuer]
	if t == nil {
		return nil, &refusal{reason: "its issuer is not trusted", cure: "add it with sallyport issuer add, if it is to be trusted", detail: strconv.Quote(p.issuer)}
	}
	found, err := t.prove(ctx, p, s.now())
	if r, ok := err.(*refusal); ok && r.by == nil {
		named := *r
		named.reason = "issuer " + t.definition.Name + ": " + r.reason
		return nil, &named
	}
	return found, err
}

// Resolve returns the principal that id and a proof of Authenticate name, without
// claims, if its issuer is still trusted with the very definition that the proof
// rests on. It costs no query while the generation stays. Errors:
// access.ErrBadCredential.
func (s *Set) Resolve(ctx context.Context, id access.ID, proof access.Proof) (access.Identity, error) {
	all, err := s.load(ctx)
	if err != nil {
		return access.Identity{}, err
	}
	name, _, _ := strings.Cut(proof.Trust, "@")
	t := all.byName[name]
	if proof.Method != access.MethodIDToken || t == nil || t.problem != nil || t.url() != id.Issuer || t.mark() != proof.Trust {
		return access.Identity{}, access.ErrBadCredential
	}
	return access.Identity{Principal: access.ExternalPrincipal(id.Issuer, id.Name, nil), Proof: proof}, nil
}

// names returns the names of all, sorted.
func (a *snapshot) names() []string { return slices.Sorted(maps.Keys(a.byName)) }

// cut returns the beginning of s without what is not printable ASCII: a stranger
// wrote it.
func cut(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), maxLogged)])
}
