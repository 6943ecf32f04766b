package outbound

import "fmt"

// An Error is why a server was not asked, or its answer not taken.
type Error struct {
	Host   string // as it was named, with its port where one was
	Reason string
	Cure   string // or ""
	Err    error  // what is behind it, or nil
}

// Error returns one line: "idp.corp:8443: 10.0.0.7 is a private address".
func (e *Error) Error() string {
	text := e.Reason
	if e.Host != "" {
		text = e.Host + ": " + text
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Hint returns the cure as one line.
func (e *Error) Hint() string { return e.Cure }

func refuse(host, cure, reason string, args ...any) *Error {
	return &Error{Host: host, Reason: fmt.Sprintf(reason, args...), Cure: cure}
}
