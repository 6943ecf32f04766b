package server

import (
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/federation"
)

// CheckFiles reads the files that a configuration names and that have to be there
// at every start, as a start would, and returns the first error of one. It writes
// nothing and opens no database.
func CheckFiles(c config.Config) error {
	log := slog.New(slog.DiscardHandler)
	if _, err := databaseURL(c); err != nil {
		return err
	}
	if c.TLS.Certificate != "" {
		if _, err := newCertificate(c.TLS.Certificate, c.TLS.Key, time.Now, log); err != nil {
			return err
		}
	}
	if len(c.TLS.ClientAuthorities) > 0 {
		if _, err := clientAuthorities(c, federation.Options{Now: time.Now, Logger: log}); err != nil {
			return err
		}
	}
	if err := checkIssuersFile(c); err != nil {
		return err
	}
	for i, d := range c.Login.Directories {
		if _, err := directoryOf(i, d); err != nil {
			return err
		}
	}
	if c.Signing.KEKFile != "" {
		if _, err := readKEKFile("signing.kek_file", c.Signing.KEKFile, 0o077); err != nil {
			return err
		}
	}
	if _, err := acmeHTTP(nil, c.ACME.CAFile, log); err != nil {
		return err
	}
	_, err := acmeBinding(c.ACME)
	return err
}
