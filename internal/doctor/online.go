package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/client"
	"github.com/sallyport/sallyport/internal/client/dockerconfig"
)

// Bounds of what is asked.
const (
	maxServers     = 20
	serverPatience = 15 * time.Second // for all questions to one
	maxSkew        = time.Minute
	certSoon       = 14 * 24 * time.Hour
)

// login reads the stored logins of sallyport itself, and what its credential helper
// keeps there where there is no keychain.
func (e *exam) login(f file) (secret bool, err error) {
	var all struct {
		Servers map[client.Address]client.Login `json:"servers"`
		Kept    map[string]struct {
			Username string        `json:"username"`
			Secret   client.Secret `json:"secret"`
		} `json:"kept"`
	}
	if json.Unmarshal(f.text, &all) != nil {
		return false, errDamaged
	}
	for _, server := range sortedKeys(all.Servers) {
		l := all.Servers[server]
		l.Server = server
		secret = secret || !l.Token.IsZero()
		if _, err := client.New(l, e.options); err != nil {
			e.tell(problem{id: "login-tampered", place: f.path, entry: string(server), reason: "a command would refuse it", mend: e.naming(f.path, "sallyport login", string(server))})
			continue
		}
		e.logins = append(e.logins, l)
		e.secret(held{place: f.path, entry: string(server), registry: string(server), user: l.Username, slot: identitySlot, value: l.Token.Secret})
	}
	for _, registry := range sortedKeys(all.Kept) {
		k := all.Kept[registry]
		secret = secret || !k.Secret.IsZero()
		h := held{place: f.path, entry: registry, registry: registry, user: k.Username, slot: passwordSlot, value: k.Secret.Secret, mend: e.logout(f.path, registry, []string{"docker logout"})}
		if k.Username == tokenUser {
			h.slot = identitySlot
		}
		e.secret(h)
	}
	return secret, nil
}

// online asks the servers that were named, and those whose secrets of ours were
// found.
func (e *exam) online(ctx context.Context, o Options) {
	servers := slices.Clone(o.Servers)
	if o.Online {
		for _, h := range e.ours {
			if a, err := client.ParseAddress(dockerconfig.Host(h.registry)); h.registry != "" && err == nil && !slices.ContainsFunc(servers, func(s client.Address) bool { return host(s) == host(a) }) {
				servers = append(servers, e.known(a))
			}
		}
	}
	for _, s := range servers[:min(len(servers), maxServers)] {
		e.server(ctx, s)
	}
}

// known returns the address that a login has for a host: it may be plain HTTP on
// this machine.
func (e *exam) known(a client.Address) client.Address {
	for _, l := range e.logins {
		if host(l.Server) == host(a) {
			return l.Server
		}
	}
	return a
}

func host(a client.Address) string { return dockerconfig.Host(string(a)) }

// server asks one server, first without any secret.
func (e *exam) server(ctx context.Context, a client.Address) {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	ca := e.trustedCAs(a)
	p, err := client.Examine(ctx, a, ca, e.options)
	if err != nil {
		e.unreached(a, err)
		return
	}
	e.certificate(a, p.Certificates)
	if skew := p.Skew.Abs(); skew > maxSkew {
		e.tell(problem{id: "clock-skew", place: string(a), reason: fmt.Sprintf("the registry's clock is %s from the one here", skew.Round(time.Second)), mend: "timedatectl set-ntp true"})
	}
	switch {
	case errors.Is(p.Err, client.ErrForeignRealm):
		e.tell(problem{id: "realm-elsewhere", place: string(a), reason: show(p.Err.Error())})
		return
	case p.Realm == "" && p.Err != nil:
		e.tell(problem{id: "registry-foreign", place: string(a), reason: show(p.Err.Error()), mend: "curl -i " + quote(string(a)+"/v2/")})
		return
	case p.Err != nil:
		e.tell(problem{id: "realm-unreachable", place: string(a), reason: show(p.Err.Error()), mend: "curl -i " + quote(p.Realm)})
		return
	}
	for _, h := range e.ours {
		if dockerconfig.Host(h.registry) == host(a) && e.ended(ctx, h, client.Login{Server: a, Username: h.user, Realm: p.Realm, Service: p.Service, CA: ca}) {
			mend := h.mend
			if mend == "" {
				mend = "sallyport login " + quote(string(a))
			}
			e.tell(problem{id: "login-ended", place: h.place, entry: h.entry, reason: "the registry does not take it any more", mend: mend})
		}
	}
}

// ended asks the token service, which was pinned, about a secret of ours, as what
// it is.
func (e *exam) ended(ctx context.Context, h held, l client.Login) bool {
	if access.KeySecret.Valid(h.value.Reveal()) {
		_, err := client.Enter(ctx, client.LoginRequest{Server: l.Server, Username: l.Username, Password: h.value, CA: l.CA}, e.options)
		return errors.Is(err, client.ErrBadLogin)
	}
	l.Token = client.Secret{Secret: h.value}
	c, err := client.New(l, e.options)
	if err != nil {
		return false
	}
	_, err = c.Whoami(ctx)
	return errors.Is(err, client.ErrLoginEnded)
}

// trustedCAs returns the CAs that this machine trusts for a server beside the
// system's: of its login, and of docker and podman.
func (e *exam) trustedCAs(a client.Address) string {
	var out strings.Builder
	for _, l := range e.logins {
		if l.Server == a {
			out.WriteString(l.CA + "\n")
		}
	}
	for _, dir := range []string{"/etc/docker/certs.d/", "/etc/containers/certs.d/", e.home + "/.config/containers/certs.d/"} {
		for _, name := range e.tree.list(dir + host(a)) {
			if f, err := e.tree.open(dir + host(a) + "/" + name); err == nil && strings.HasSuffix(name, ".crt") {
				out.Write(append(f.text, '\n'))
			}
		}
	}
	if strings.Contains(out.String(), "BEGIN CERTIFICATE") {
		return out.String()
	}
	return ""
}

// unreached says why a server was not.
func (e *exam) unreached(a client.Address, err error) {
	p := problem{id: "registry-unreachable", place: string(a), reason: show(err.Error()), mend: "curl -i " + quote(string(a)+"/v2/")}
	seeCertificate := "openssl s_client -connect " + quote(withPort(a)) + " -showcerts </dev/null"
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		p.id, p.mend = "tls-untrusted", fmt.Sprintf("mkdir -p /etc/docker/certs.d/%[1]s && cp CA.pem /etc/docker/certs.d/%[1]s/ca.crt", quote(host(a)))
		if _, ok := errors.AsType[x509.HostnameError](bad.Err); ok {
			p.id, p.mend = "tls-name", seeCertificate
		} else if invalid, ok := errors.AsType[x509.CertificateInvalidError](bad.Err); ok && invalid.Reason == x509.Expired {
			p.id, p.mend = "tls-expired", seeCertificate
		}
	}
	if errors.Is(err, client.ErrPlainHTTP) {
		p.id = "registry-plain"
	}
	e.tell(p)
}

func withPort(a client.Address) string {
	if h := host(a); strings.Contains(strings.TrimLeft(h, "["), "]:") || !strings.HasPrefix(h, "[") && strings.Contains(h, ":") {
		return h
	}
	return host(a) + ":443"
}

func (e *exam) certificate(a client.Address, chain []*x509.Certificate) {
	for _, c := range chain {
		if e.now.Add(certSoon).After(c.NotAfter) {
			e.tell(problem{id: "tls-expiring", place: string(a), entry: c.Subject.CommonName, reason: "the certificate ends at " + c.NotAfter.UTC().Format("2006-01-02 15:04Z")})
		}
	}
}
