package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/oci"
)

// A StartError is why the server cannot start, and the cure.
type StartError struct {
	Cure string
	Err  error
}

// Error returns one line, whatever the causes wrote.
func (e *StartError) Error() string { return strings.Join(strings.Fields(e.Err.Error()), " ") }

func (e *StartError) Unwrap() error { return e.Err }

// Hint returns the cure as one line.
func (e *StartError) Hint() string { return e.Cure }

// cannot makes a StartError; format is as fmt.Errorf's.
func cannot(cure, format string, args ...any) error {
	return &StartError{Cure: cure, Err: fmt.Errorf(format, args...)}
}

// unknown is the code of an error that is ours alone; clients know it from
// CNCF distribution.
const unknown oci.Code = "UNKNOWN"

// writeError writes the body of distribution-spec, "Error Codes", for a request
// that reached no door.
func writeError(w http.ResponseWriter, status int, code oci.Code, message string) {
	type detail struct {
		RequestID string `json:"requestId"`
	}
	type element struct {
		Code    oci.Code `json:"code"`
		Message string   `json:"message"`
		Detail  detail   `json:"detail"`
	}
	id := w.Header().Get(requestIDHeader)
	if status >= http.StatusInternalServerError {
		message += " (request " + id + ")"
	}
	body, err := json.Marshal(struct {
		Errors []element `json:"errors"`
	}{[]element{{code, message, detail{id}}}})
	if err != nil {
		panic(err) // strings always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body) // a client that went away is no error of ours
}
