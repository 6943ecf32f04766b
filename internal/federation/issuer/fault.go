package issuer

import (
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/access"
)

// An Invalid is what is wrong with a definition.
type Invalid struct {
	Field   string // "claimMappings.username", or ""
	Problem string
	Cure    string
}

// Error returns one line: "issuer.audiences: missing".
func (e *Invalid) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// Hint returns the cure as one line.
func (e *Invalid) Hint() string { return e.Cure }

func invalid(field, cure, problem string, args ...any) error {
	return &Invalid{Field: field, Problem: fmt.Sprintf(problem, args...), Cure: cure}
}

// Why a change was not made.
var (
	ErrUnknown = errors.New("no such trusted issuer")
	ErrExists  = errors.New("a trusted issuer has this name or URL already")
	ErrChanged = errors.New("the trusted issuer was changed in the meantime")
	ErrFixed   = errors.New("the trusted issuer is configured in a file: change it there")
)

// A refusal is why a token proves nobody. Its reason is fit for the record: of
// the token it has nothing that was not verified.
type refusal struct {
	reason, cure string
	detail       string            // of the token as it came, for the log and for who tests it
	by           *trusted          // the issuer whose signature was verified, or nil
	claims       map[string]string // what it said, as far as the rules keep it
	expired      bool
}

func (e *refusal) Error() string {
	if e.detail == "" {
		return e.reason
	}
	return e.reason + ": " + e.detail
}

// Hint returns the cure, or "".
func (e *refusal) Hint() string { return e.cure }

func refuse(cure, reason string, args ...any) error {
	return &refusal{reason: fmt.Sprintf(reason, args...), cure: cure}
}

// refused is what the caller of Authenticate gets for it.
func (e *refusal) refused() error {
	kind := access.ErrBadCredential
	if e.expired {
		kind = access.ErrExpired
	}
	out := &access.Refused{Why: fmt.Errorf("%w: %s", kind, cut(e.reason)), Claims: e.claims}
	if e.by != nil {
		out.Proof = access.Proof{Method: access.MethodIDToken, Trust: e.by.mark()}
	}
	return out
}
