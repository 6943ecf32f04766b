package config

import (
	"fmt"
	"strings"
)

// An Error is a configuration that cannot be used: where, what, and what to do.
type Error struct {
	Where   string // "sallyport.yaml:3", "--listen", or "" for a default
	Key     string // "tls.key", or "" for the whole file
	Problem string
	Cure    string
}

// Error returns one line: "sallyport.yaml:3: tls.key: unknown key".
func (e *Error) Error() string {
	parts := make([]string, 0, 3)
	for _, p := range []string{e.Where, e.Key, e.Problem} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// Hint returns the cure as one line.
func (e *Error) Hint() string { return e.Cure }

func wrong(key, cure, problem string, args ...any) *Error {
	return &Error{Key: key, Problem: fmt.Sprintf(problem, args...), Cure: cure}
}
