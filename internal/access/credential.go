package access

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

const redacted = "[redacted]"

// A Secret is a string that must not be shown. It redacts itself wherever it
// is printed, logged or marshalled; Reveal is the only way to its value.
// Secrets are not compared with ==.
type Secret struct {
	// value is a pointer because fmt calls no methods on a Secret in an
	// unexported field: it then prints an address.
	value *string
}

// NewSecret wraps s.
func NewSecret(s string) Secret { return Secret{&s} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

func (Secret) String() string               { return redacted }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format redacts under every verb: without it %d would print the fields.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MaxIDToken bounds an IDToken, in bytes: for who sends one and who is asked.
const MaxIDToken = 16 << 10

// A Credential is a Password, an AccessKey, an IDToken, a RefreshToken, a
// ResetCode, a Code, a DeviceCode or a Certificate, and knows where it was presented.
type Credential interface{ credential() }

type (
	// Password is a name and a password, of a local account or one of a directory.
	Password struct {
		Name   string
		Secret Secret
		From   Origin
	}
	// AccessKey is the long-lived secret of an account, in the form of KeySecret.
	AccessKey struct {
		Secret Secret
		From   Origin
	}
	// RefreshToken is an opaque identity token of docker login, in the form of
	// RefreshSecret.
	RefreshToken struct {
		Secret Secret
		From   Origin
	}
	// IDToken is a JWT from elsewhere.
	IDToken struct {
		Secret Secret
		From   Origin
	}
	// ResetCode is the one-time code with which a person sets a password, in the
	// form of ResetSecret. It proves nobody anywhere else.
	ResetCode struct {
		Secret Secret
		From   Origin
	}
	// Code is an authorization code (RFC 6749, 4.1), in the form of CodeSecret, with
	// what shows that the one who brings it asked for it.
	Code struct {
		Secret   Secret
		Verifier Secret // of PKCE (RFC 7636)
		Redirect string // where it was brought to
		From     Origin
	}
	// DeviceCode is what a program shows that waits for an approval (RFC 8628), in
	// the form of DeviceSecret.
	DeviceCode struct {
		Secret Secret
		From   Origin
	}
	// Certificate is a client certificate, whose key the other side of the
	// connection has shown to hold, and what it sent along. It is not verified.
	Certificate struct {
		Chain []*x509.Certificate // its own first, at least that
		From  Origin
	}
)

func (Password) credential()     {}
func (AccessKey) credential()    {}
func (RefreshToken) credential() {}
func (IDToken) credential()      {}
func (ResetCode) credential()    {}
func (Code) credential()         {}
func (DeviceCode) credential()   {}
func (Certificate) credential()  {}

// ErrBadCredential is the whole answer to a wrong, revoked, expired, disabled
// or unknown credential, so that a caller cannot tell these apart.
var ErrBadCredential = errors.New("bad credential")

// These are, to the client, ErrBadCredential, which they wrap: credentials of
// ours that are not good here or any more. The record tells them apart.
var (
	ErrWrongNetwork = fmt.Errorf("%w: it is not for this network", ErrBadCredential)
	ErrRevoked      = fmt.Errorf("%w: it was revoked", ErrBadCredential)
	ErrExpired      = fmt.Errorf("%w: it has expired", ErrBadCredential)
	ErrDisabled     = fmt.Errorf("%w: its owner is disabled", ErrBadCredential)
)

// A Refused is one of these with what only the record may say: whose credential
// it is, and which. Of an IDToken, Why may be any error that wraps
// ErrBadCredential (or ErrExpired): its text is for the record and the log, says
// which rule refused, and holds nothing of the token but what was verified.
type Refused struct {
	Why        error
	Owner, UID string // "user:alice"; "" when nobody was proven
	Proof      Proof
	// Claims are what a trusted issuer said, once its signature was verified.
	Claims map[string]string
}

func (e *Refused) Error() string { return e.Why.Error() }
func (e *Refused) Unwrap() error { return e.Why }

// ErrBusy says that the check could not be made now because too many wait for
// it; the door answers 429 with Retry-After.
var ErrBusy = errors.New("too many logins are being checked")

// ErrUnavailable says that the check could not be made because who knows the answer,
// such as a directory, does not give it; the door answers 503 with Retry-After.
var ErrUnavailable = errors.New("who checks this password does not answer")

// A NotAdmitted is somebody who has proven who they are in a directory, and is not
// let in here. Text says to them why, and what an administrator can do.
type NotAdmitted struct{ Text string }

func (e *NotAdmitted) Error() string { return e.Text }

// Throttled says that the check was not made, because too many before it proved
// nothing; the door answers 429 with Retry-After. It does not tell whether there
// is such an account, nor whether the credential was right.
type Throttled struct{ After time.Duration }

func (e *Throttled) Error() string {
	return fmt.Sprintf("too many wrong passwords: wait %d s", e.Seconds())
}

// Seconds returns After as Retry-After wants it: whole seconds, at least 1.
func (e *Throttled) Seconds() int64 {
	return max(int64((e.After+time.Second-1)/time.Second), 1)
}

// An Authenticator proves credentials of one kind.
type Authenticator interface {
	// Authenticate returns who presents c. A credential that proves nothing is
	// ErrBadCredential and nothing more. ErrBusy, *Throttled and
	// ErrUnavailable ask to come again; *NotAdmitted is for who is known
	// elsewhere and not here. Any other error means we could not
	// decide. Safe for concurrent use.
	Authenticate(ctx context.Context, c Credential) (Identity, error)
}
