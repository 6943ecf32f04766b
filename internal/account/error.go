package account

import (
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/access"
)

// An Invalid is a request that breaks a rule. Its text is meant for whoever
// asked: it names the part that is wrong, and the rule or the cure.
type Invalid struct {
	text  string
	cause error
}

func (e *Invalid) Error() string { return e.text }

// Unwrap returns what found the rule broken, such as an *access.PolicyError, or
// nil.
func (e *Invalid) Unwrap() error { return e.cause }

func invalid(format string, args ...any) error {
	return &Invalid{text: fmt.Sprintf(format, args...)}
}

// invalidBecause makes an *Invalid of an error whose text is fit for the client.
func invalidBecause(err error) error { return &Invalid{text: err.Error(), cause: err} }

// notFoundIsBad turns ErrUnknown into access.ErrBadCredential; any other error
// means that we could not decide.
func notFoundIsBad(doing string, err error) error {
	if errors.Is(err, ErrUnknown) {
		return access.ErrBadCredential
	}
	return fmt.Errorf("%s: %w", doing, err)
}
