package issuer

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// A trusted is one issuer in use: its definition, its rules, its keys.
type trusted struct {
	definition Definition // as it was written
	whole      Definition // with its preset written out
	revision   string
	stored     Stored
	fixed      bool
	problem    error // why it is not trusted after all

	rules func() (*rules, error) // compiled when the first token comes
	line  *line
	keys  *keyring
	asked *reviews // nil: nobody is asked
}

// trust puts a definition to use. One that is wrong, as an older or newer release
// may have stored it, is kept to be shown, and trusted by nobody.
func (s *Set) trust(d Definition) *trusted {
	t := &trusted{definition: d}
	if t.whole, t.problem = d.expand(); t.problem == nil {
		t.problem = cmp.Or(t.whole.checkForm(), s.checkForeign(t.whole))
	} else {
		t.whole = d
	}
	t.revision = d.revision(t.whole)
	t.rules = sync.OnceValues(t.whole.compile)
	i := t.whole.Issuer
	t.line = &line{pem: i.CertificateAuthority, file: i.CertificateAuthorityFile, allow: t.whole.AllowPrivateAddresses}
	t.keys = &keyring{
		now: s.now, run: s.background,
		fetch: func(ctx context.Context) ([]byte, error) { return t.whole.fetchKeys(ctx, t.line) },
		read:  func(document []byte) (*keySet, []string, error) { return readKeys(document, t.whole.Preset) },
	}
	if t.whole.TokenReview != nil {
		t.asked = newReviews(t.whole, s.background, s.now)
	}
	return t
}

// validate is Definition.Validate, and keeps what it has compiled.
func (t *trusted) validate() error {
	if err := t.definition.checkName(); err != nil {
		return err
	}
	if t.problem != nil {
		return t.problem
	}
	_, err := t.rules()
	return err
}

// mark is what a proof rests on: the definition, and when it was added, so that
// what a login began while it was removed stays ended when the same one comes back.
func (t *trusted) mark() string {
	mark := t.definition.Name + "@" + t.revision
	if !t.fixed {
		mark += "." + strconv.FormatInt(t.stored.Changed.UnixMicro(), 36)
	}
	return mark
}

func (t *trusted) url() string { return t.whole.Issuer.URL }

func (t *trusted) maxTokenLife() time.Duration {
	if t.whole.MaxTokenLife == 0 {
		return longestToken
	}
	return time.Duration(t.whole.MaxTokenLife)
}

// sessionLife is how long an identity token for one of its tokens lives. Where
// somebody is asked about tokens there is none: it would outlive the answer.
func (t *trusted) sessionLife(most time.Duration) time.Duration {
	switch {
	case t.asked != nil:
		return 0
	case t.whole.Sessions == nil:
		return min(defaultSessions, most)
	}
	return min(time.Duration(*t.whole.Sessions), most)
}

// A proven is what came of a token, for as long as the issuer, its keys and the
// token stay.
type proven struct {
	by      *trusted
	keys    *keySet
	subject subject
	sub     string // the claim
	ends    time.Time
}

// prove verifies the token and maps its claims.
func (t *trusted) prove(ctx context.Context, p *parsed, now time.Time) (*proven, error) {
	keys, err := t.keys.find(ctx, p.header)
	if err != nil {
		return nil, err
	}
	if err := p.verifySignature(keys); err != nil {
		return nil, err
	}
	rules, err := t.rules()
	if err != nil { // an older or newer release took them
		return nil, t.signed(&refusal{reason: "its rules cannot be used", cure: "add the issuer again, with rules that sallyport issuer check has no complaint about", detail: err.Error()}, nil)
	}
	out := &proven{by: t, keys: keys}
	out.sub, _ = p.claims["sub"].(string)
	if out.ends, err = p.times(now, t.maxTokenLife()); err == nil {
		err = p.checkAudience(t.whole.Issuer.Audiences)
	}
	if err == nil {
		out.subject, err = rules.apply(ctx, p.claims)
	}
	if err != nil {
		return nil, t.signed(err, rules.told(ctx, p.claims))
	}
	return out, nil
}

// signed says of a refusal whose token it is, once the signature was verified,
// and what the token said.
func (t *trusted) signed(err error, claims map[string]string) error {
	r, ok := err.(*refusal) // what is wrapped is about something else
	if !ok {
		return err
	}
	known := *r
	known.reason = "issuer " + t.definition.Name + ": " + r.reason
	known.by, known.claims = t, claims
	return &known
}

// holds reports whether p is still what the token proves.
func (p *proven) holds(now time.Time) bool {
	return p.by.problem == nil && p.by.keys.stands(p.keys) && now.Before(p.ends.Add(leeway))
}

// identity is the answer of gate one. A token that ended within the leeway
// between the clocks lives to the end of that.
func (p *proven) identity(now time.Time, mostSessions time.Duration) access.Identity {
	ends := p.ends
	if !now.Before(ends) {
		ends = ends.Add(leeway)
	}
	return access.Identity{
		Principal:   access.ExternalPrincipal(p.by.url(), p.subject.name, p.subject.claims),
		Proof:       access.Proof{Method: access.MethodIDToken, Trust: p.by.mark()},
		Expires:     ends,
		SessionLife: p.by.sessionLife(mostSessions),
	}
}
