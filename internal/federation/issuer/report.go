package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/outbound"
)

// A Level says how bad a finding is.
type Level string

// The levels of findings.
const (
	Good    Level = "ok"
	Warning Level = "warning" // tokens are accepted
	Bad     Level = "error"   // tokens are refused
)

// A Finding is one thing that was looked at.
type Finding struct {
	Subject string // "definition", "audience", "discovery", "keys", "clock", "token review"
	Level   Level
	Text    string
	Cure    string // or ""
}

// A Report is what Check found.
type Report struct {
	Name, URL, Revision string
	Findings            []Finding
}

// Ok reports whether tokens of the issuer are accepted.
func (r Report) Ok() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Bad })
}

func (r *Report) add(subject string, level Level, cure, text string, args ...any) {
	r.Findings = append(r.Findings, Finding{subject, level, fmt.Sprintf(text, args...), cure})
}

func (r *Report) fail(subject string, err error) {
	f := Finding{Subject: subject, Level: Bad, Text: err.Error()}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		f.Cure = h.Hint()
	}
	r.Findings = append(r.Findings, f)
}

// Check asks the issuer for its keys, whatever is known of them already, and says
// what would keep its tokens out. It is for administrators: each call makes
// requests. Errors: ErrUnknown.
func (s *Set) Check(ctx context.Context, name string) (Report, error) {
	t, err := s.named(ctx, name)
	if err != nil {
		return Report{}, err
	}
	return s.examine(ctx, t), nil
}

// CheckDefinition is Check for a definition that is not trusted yet. Files are not
// read for it. Errors: *Invalid.
func (s *Set) CheckDefinition(ctx context.Context, d Definition) (Report, error) {
	if err := s.CheckNew(d); err != nil {
		return Report{}, err
	}
	t := s.trust(d)
	defer t.line.close()
	return s.examine(ctx, t), nil
}

func (s *Set) examine(ctx context.Context, t *trusted) Report {
	ctx, cancel := context.WithTimeout(ctx, maxFetch)
	defer cancel()
	r := Report{Name: t.definition.Name, URL: t.url(), Revision: t.revision}
	if t.problem != nil {
		r.fail("definition", t.problem)
		return r
	}
	if _, err := t.rules(); err != nil {
		r.fail("definition", err)
		return r
	}
	s.examineAudience(&r, t)
	t.examineReach(&r)
	s.examineKeys(ctx, &r, t)
	s.examineClock(ctx, &r, t)
	if t.asked != nil {
		t.asked.examine(ctx, &r)
	}
	return r
}

func (s *Set) examineAudience(r *Report, t *trusted) {
	list := t.whole.Issuer.Audiences
	if s.options.Audience != "" && !slices.Contains(list, s.options.Audience) {
		r.add("audience", Warning, "see that no other registry accepts it", "tokens have to be for %s; this registry is called %s", strings.Join(list, " or "), s.options.Audience)
		return
	}
	r.add("audience", Good, "", "tokens have to be for %s", strings.Join(list, " or "))
}

// examineReach says whom a preset lets speak that could be told to let fewer: the
// policy alone decides then.
func (t *trusted) examineReach(r *Report) {
	parameter, everybody := "namespaces", "every service account of the cluster is a principal"
	switch t.definition.Preset {
	case "kubernetes", "kubernetes-in-cluster":
	case "aws":
		parameter, everybody = "roles", "every principal of the account that may ask for tokens is one here"
	default:
		return
	}
	if t.definition.Parameters[parameter] == "" {
		r.add("definition", Warning, "name those that are meant in the parameter "+parameter+", or see that the policy names each", "%s, since %s is not given", everybody, parameter)
	}
}

func (s *Set) examineKeys(ctx context.Context, r *Report, t *trusted) {
	if t.whole.JWKS == nil {
		from, uri, err := t.whole.discover(ctx, t.line)
		if err != nil {
			r.fail("discovery", t.forbidden(err))
			s.examineKept(r, t)
			return
		}
		r.add("discovery", Good, "", "%s names the keys at %s", from, uri)
	}
	document, err := t.whole.fetchKeys(ctx, t.line)
	if err != nil {
		r.fail("keys", t.forbidden(err))
		s.examineKept(r, t)
		return
	}
	set, left, err := readKeys(document, t.whole.Preset)
	for _, text := range left {
		r.add("keys", Warning, "tokens that are signed with it are refused: tell who runs the issuer", "%s", text)
	}
	if err != nil {
		r.fail("keys", err)
		return
	}
	var names []string
	for _, k := range set.keys {
		names = append(names, fmt.Sprintf("%.80q", k.KeyID))
	}
	r.add("keys", Good, "", "%d keys: %s", len(names), strings.Join(names, ", "))
}

// forbidden is err with the cure for an API server that shows strangers nothing.
func (t *trusted) forbidden(err error) error {
	if status, ok := errors.AsType[outbound.Status](err); ok && (status == 401 || status == 403) && strings.HasPrefix(t.whole.Preset, "kubernetes") {
		return refuse("bind the role system:service-account-issuer-discovery to the group system:unauthenticated", "%v", err)
	}
	return err
}

// examineClock compares our clock with that of the server that has the keys.
func (s *Set) examineClock(ctx context.Context, r *Report, t *trusted) {
	where := t.whole.discoveryURL()
	if t.whole.JWKS != nil {
		where = t.whole.JWKS.URL
	}
	client, err := t.line.open()
	if where == "" || err != nil {
		return
	}
	theirs, err := client.Date(ctx, where)
	if err != nil {
		return // why is said above
	}
	switch off := s.now().Sub(theirs).Round(time.Second); {
	case off.Abs() > leeway:
		r.add("clock", Bad, "set the clock of this machine; if it is right, tell who runs the issuer", "ours is %s from that of %s; the limit is %s", off, hostOf(where), leeway)
	case off.Abs() > leeway/6:
		r.add("clock", Warning, "let both be set by NTP", "ours is %s from that of %s", off, hostOf(where))
	default:
		r.add("clock", Good, "", "ours is that of %s", hostOf(where))
	}
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// examineKept says whether tokens are accepted all the same.
func (s *Set) examineKept(r *Report, t *trusted) {
	t.keys.mu.Lock()
	defer t.keys.mu.Unlock()
	if t.keys.usable() != nil {
		r.add("keys", Warning, "let the issuer answer before then", "the keys of %s count until %s",
			t.keys.fetched.UTC().Format(time.RFC3339), t.keys.fetched.Add(maxStale).UTC().Format(time.RFC3339))
	}
}

// A Trial is what a token proves, or why it proves nobody.
type Trial struct {
	Issuer   string            // the name here of the one that signed it, or ""
	Name     string            // of the principal; "": nobody
	URL      string            // the principal's issuer
	Claims   map[string]string // what is kept; of one that is refused, what can be told
	Expires  time.Time
	Refused  string // why, or ""
	Cure     string
	Sessions time.Duration // the life of an identity token for it
}

// Test says what a token would prove. What it says of a refused one holds parts
// of the token, which are for who presents it alone. Errors: when it cannot be
// decided.
func (s *Set) Test(ctx context.Context, token access.Secret) (Trial, error) {
	id, err := s.prove(ctx, token)
	if errors.Is(err, access.ErrBusy) {
		r := Report{}
		r.fail("", err)
		return Trial{Refused: strings.TrimPrefix(err.Error(), access.ErrBusy.Error()+": "), Cure: r.Findings[0].Cure}, nil
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		out := Trial{Refused: r.Error(), Cure: r.cure, Claims: r.claims}
		if r.by != nil {
			out.Issuer, out.URL = r.by.definition.Name, r.by.url()
		}
		return out, nil
	}
	if err != nil {
		return Trial{}, err
	}
	name, _, _ := strings.Cut(id.Proof.Trust, "@")
	return Trial{
		Issuer: name, Name: id.Principal.Name, URL: id.Principal.Issuer, Claims: id.Principal.Claims,
		Expires: id.Expires, Sessions: id.SessionLife,
	}, nil
}
