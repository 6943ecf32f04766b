package credential_test

import (
	stdcontext "context"
	"crypto/x509"
	"encoding/pem"
)

func context() stdcontext.Context { return stdcontext.Background() }

// zeros makes secrets that are the same in every run.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
