package server_test

import (
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// A server that has stopped leaves no goroutine.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		os.Exit(code)
	}))
}
