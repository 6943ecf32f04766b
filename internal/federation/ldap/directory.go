package ldap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/sallyport/sallyport/internal/access"
)

const (
	defaultTimeout = 4 * time.Second
	// maxLogin and maxPassword bound what is sent, in bytes.
	maxLogin    = 256
	maxPassword = 1024
)

// Options of a Directory; the zero value works.
type Options struct {
	Timeout time.Duration    // of each step with a server: connecting, one question. 0: 4 seconds
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: discard
}

// A Directory tells whose a password is. It is asked when somebody presents one, and
// when what came of that is checked again, and at no other time. It is safe for
// concurrent use; Close it.
type Directory struct {
	d       Definition
	o       Options
	roots   *x509.CertPool // nil: the machine's
	servers []*server
	// A connection on which a password was tried is somebody's: the registry never
	// searches with that person's rights.
	searches, binds *pool
}

// New returns a directory, and asks no server yet. Errors: *Invalid.
func New(d Definition, o Options) (*Directory, error) {
	if bad := d.Check(); bad != nil {
		return nil, bad
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Directory{d: d.complete(), o: o}
	if len(d.CA) > 0 {
		s.roots = x509.NewCertPool()
		s.roots.AppendCertsFromPEM(d.CA)
	}
	for _, u := range d.URLs {
		a, _ := parseURL(u) // Check has
		s.servers = append(s.servers, &server{address: a})
	}
	s.searches, s.binds = newPool(s, s.dialSearch), newPool(s, s.dial)
	return s, nil
}

// Close ends the connections.
func (d *Directory) Close() {
	d.searches.close()
	d.binds.close()
}

// Name returns what the directory is configured as.
func (d *Directory) Name() string { return d.d.Name }

// within bounds how long a person waits: for every server, and their own password.
func (d *Directory) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 3*d.o.Timeout)
}

// Prove returns whom a name, as the person types it, and a password are of. Errors:
// access.ErrBadCredential; access.ErrBusy; others when the directory could not be
// asked.
func (d *Directory) Prove(ctx context.Context, name string, password access.Secret) (access.Outside, error) {
	// An empty password would be a bind that proves nothing (RFC 4513, 5.1.2); what is
	// behind a NUL, some servers do not see.
	p := password.Reveal()
	if p == "" || len(p) > maxPassword || strings.ContainsRune(p, 0) || !presentable(name) {
		return access.Outside{}, access.ErrBadCredential
	}
	ctx, cancel := d.within(ctx)
	defer cancel()
	e, err := d.person(ctx, d.loginFilter(name))
	if err != nil {
		return access.Outside{}, err
	}
	if !d.isCalled(e, name) {
		return access.Outside{}, access.ErrBadCredential
	}
	if err := d.bind(ctx, e.DN, p); err != nil {
		return access.Outside{}, err
	}
	return d.vouch(ctx, e)
}

// Renew returns what is so now of o. Errors: access.ErrBadCredential when it is
// nobody any more, or may not sign in; others when the directory could not be asked.
func (d *Directory) Renew(ctx context.Context, o access.Outside) (access.Outside, error) {
	filter, ok := d.subjectFilter(o.Subject)
	if !ok {
		return access.Outside{}, access.ErrBadCredential
	}
	ctx, cancel := d.within(ctx)
	defer cancel()
	e, err := d.person(ctx, filter)
	if err != nil {
		return access.Outside{}, err
	}
	return d.vouch(ctx, e)
}

// presentable reports whether somebody may be called s: the rest is not asked for.
func presentable(s string) bool {
	if s == "" || len(s) > maxLogin || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// isCalled reports whether the entry has the name as it was typed, but for case. To
// a directory more names than that are the same, by spaces, accents and signs that
// nobody sees: who guesses would have a count for each (I-03).
func (d *Directory) isCalled(e *goldap.Entry, name string) bool {
	return slices.ContainsFunc(d.d.LoginAttributes, func(attribute string) bool {
		return slices.ContainsFunc(e.GetEqualFoldAttributeValues(attribute), func(v string) bool { return strings.EqualFold(v, name) })
	})
}

// bind tries a password. Errors: access.ErrBadCredential.
func (d *Directory) bind(ctx context.Context, dn, password string) error {
	if dn == "" {
		return access.ErrBadCredential // that would be a bind as nobody
	}
	err := d.binds.with(ctx, func(c *goldap.Conn) error { return c.Bind(dn, password) })
	answer, ok := errors.AsType[*goldap.Error](err)
	switch {
	case err == nil:
		return nil
	case !ok || broken(err):
		return fmt.Errorf("try a password: %w", err)
	}
	// Wrong, locked, expired, to be changed, gone, without one, or a referral: it is
	// not this server that says yes.
	d.o.Logger.DebugContext(ctx, "directory refuses a password", "directory", d.d.Name, "code", answer.ResultCode)
	return access.ErrBadCredential
}

// vouch reads what the directory says of an entry. Errors: access.ErrBadCredential
// for who may not sign in.
func (d *Directory) vouch(ctx context.Context, e *goldap.Entry) (access.Outside, error) {
	subject, err := d.subject(e)
	if err != nil {
		return access.Outside{}, err
	}
	o := access.Outside{Provider: d.d.Name, Issuer: Issuer(d.d.Name), Subject: subject, Name: e.GetEqualFoldAttributeValue(d.d.NameAttribute)}
	if o.Groups, err = d.groups(ctx, e); err != nil {
		return access.Outside{}, err
	}
	if allowed := d.d.AllowedGroups; len(allowed) > 0 && !slices.ContainsFunc(o.Groups, func(g string) bool { return slices.Contains(allowed, g) }) {
		d.o.Logger.InfoContext(ctx, "person is in none of allowed_groups", "directory", d.d.Name, "subject", subject)
		return access.Outside{}, access.ErrBadCredential
	}
	return o, nil
}

// failed notes that a server did not answer, or not as one should.
func (d *Directory) failed(ctx context.Context, s *server, err error) {
	if s.failed(d.o.Now()) {
		d.o.Logger.WarnContext(ctx, "directory server does not answer", "directory", d.d.Name, "server", s.url, "err", err)
	}
}

func (d *Directory) answered(ctx context.Context, s *server) {
	if s.answered() {
		d.o.Logger.InfoContext(ctx, "directory server answers again", "directory", d.d.Name, "server", s.url)
	}
}
