package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/account"
	"github.com/sallyport/sallyport/internal/ledger"
)

// firstPassword returns the administrator's first password, and whether it was
// made up and has to be shown. One from a file has to pass check.
func firstPassword(file string, check func(name string, password access.Secret) error) (password access.Secret, madeUp bool, err error) {
	if file == "" {
		password, err = account.RandomPassword(rand.Reader)
		return password, true, err
	}
	text, err := readSecretLine("admin_password_file", file)
	if err != nil {
		return access.Secret{}, false, err
	}
	const cure = "write a password of your own into the first line, such as the output of: openssl rand -base64 24"
	if text == "" {
		return access.Secret{}, false, cannot(cure, "admin_password_file: the first line of %s is empty", file)
	}
	password = access.NewSecret(text)
	if err := check(account.FirstAdmin, password); err != nil {
		return access.Secret{}, false, cannot(cure, "admin_password_file: %s: %w", file, err)
	}
	return password, false, nil
}

// bootstrap makes the administrator at the very first start and tells out.
//
// The password is written out before it counts. If out cannot be written, or
// the start fails in between, there is no administrator yet and the next start
// makes another password; the other order could leave one that nobody has seen.
func (s *Server) bootstrap(ctx context.Context) error {
	_, err := s.rooms.db.Directory().LatestPolicy(ctx)
	switch {
	case err == nil:
		return s.tell(s.banner(""))
	case !errors.Is(err, account.ErrUnknown):
		return fmt.Errorf("read policy: %w", err)
	}
	password, madeUp, err := firstPassword(s.config.AdminPasswordFile, s.rooms.accounts.CheckPassword)
	if err != nil {
		return err
	}
	shown := "the first line of " + s.config.AdminPasswordFile
	if madeUp {
		shown = password.Reveal() + "   (shown this once, kept nowhere)"
	}
	if err := s.tell(s.banner(shown)); err != nil {
		return err
	}
	first := &ledger.Event{Kind: ledger.Account, Action: "bootstrap", Decision: ledger.Allowed, Principal: ledger.System}
	created, err := s.rooms.accounts.Bootstrap(ledger.With(ctx, first), password)
	if err != nil {
		return fmt.Errorf("make administrator: %w", err)
	}
	if !created {
		return s.tell("Another process made the administrator at the same moment: its password counts, not the one above.\n")
	}
	return nil
}

func (s *Server) tell(text string) error {
	if _, err := io.WriteString(s.out, text); err != nil {
		return cannot("give the process a standard output", "tell where the registry is: %w", err)
	}
	return nil
}

// banner says where the registry is and, with the administrator's password, the
// first commands.
func (s *Server) banner(password string) string {
	var b strings.Builder
	base := s.names.external
	if base == "" {
		base = s.names.scheme + "://" + s.Address()
	}
	fmt.Fprintf(&b, "Sallyport serves %s\n", base)
	if name := s.Address(); !strings.HasSuffix(base, "://"+name) {
		fmt.Fprintf(&b, "listening on %s\n", name)
	}
	if s.health.socket != nil {
		fmt.Fprintf(&b, "health on http://%s/readyz\n", s.HealthAddress())
	}
	if password == "" {
		return b.String()
	}
	_, host, _ := strings.Cut(base, "://")
	fmt.Fprintf(&b, "\n  administrator  admin\n  password       %s\n", password)
	trust, login := "", ""
	if s.caFile != "" {
		ca := absolute(s.caFile)
		fmt.Fprintf(&b, "  CA to trust    %s\n", ca)
		trust = " --cert-dir " + filepath.Dir(ca)
		login = " --ca-file " + ca
		if !s.main.loopback() {
			fmt.Fprintf(&b, "\nOnce, so that docker trusts the CA:\n\n  sudo install -D -m 0644 %s /etc/docker/certs.d/%s/ca.crt\n", ca, host)
		}
	} else if s.names.scheme == "http" {
		trust = " --tls-verify=false"
	}
	fmt.Fprintf(&b, `
Log in, push, administer:

  docker login %[1]s -u admin
  docker tag IMAGE %[1]s/team/app:1 && docker push %[1]s/team/app:1
  podman login%[2]s %[1]s -u admin
  sallyport login --username admin%[3]s %[4]s

`, host, trust, login, base)
	return b.String()
}

// absolute makes a path that works from any directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
