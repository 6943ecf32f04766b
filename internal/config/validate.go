package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Set overrides the setting at path, as a flag does; origin names the flag.
// Errors: *Error.
func (c *Config) Set(path, text, origin string) error {
	if c.where = maps.Clone(c.where); c.where == nil {
		c.where = map[string]string{}
	}
	c.where[path] = origin
	for s := range settings(reflect.ValueOf(c).Elem()) {
		if s.path == path {
			if err := s.parse(text); err != nil {
				err.Where = origin
				return err
			}
			return nil
		}
	}
	panic("config: no setting " + path)
}

// Validate checks what one setting means for another. It looks at no file but
// the configuration. Errors: *Error.
func (c Config) Validate() error {
	for _, check := range []func() *Error{
		c.checkListen, c.checkExternal, c.checkPlain, c.checkTLS, c.checkClientAuthorities, c.checkACME, c.checkDatabase, c.checkLives, c.checkService, c.checkLogin, c.checkDirectories,
	} {
		if err := check(); err != nil {
			if err.Where == "" {
				err.Where = c.where[err.Key]
			}
			return err
		}
	}
	return nil
}

func (c Config) checkListen() *Error {
	if c.Data == "" {
		return wrong("data", "name a directory", "is empty")
	}
	if e := checkAddress("listen", c.Listen); e != nil {
		return e
	}
	if c.Health.Listen == "" {
		return nil
	}
	if e := checkAddress("health.listen", c.Health.Listen); e != nil {
		return e
	}
	if c.Health.Listen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		return wrong("health.listen", "give health another port", "is the same as listen")
	}
	return nil
}

func checkAddress(key, address string) *Error {
	const cure = "write HOST:PORT, such as localhost:5000 or 0.0.0.0:443"
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return wrong(key, cure, "%.60q is not an address with a port", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return wrong(key, cure, "port %.20q is not a number from 0 to 65535", port)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !isHostName(host) {
		return wrong(key, cure, "%.60q is not a host", host)
	}
	return nil
}

// IsLoopback reports whether the listen address can only be reached from this
// machine.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

func (c Config) checkExternal() *Error {
	const key, cure = "external_url", "write https://HOST or https://HOST:PORT, without a path"
	if c.ExternalURL == "" {
		if IsLoopback(c.Listen) {
			return nil
		}
		return &Error{Key: key, Problem: "is missing, and listen (" + c.Listen + ") is not a loopback address",
			Cure: "set external_url (--external-url) to the URL clients use, such as https://registry.example.com"}
	}
	u, err := url.Parse(c.ExternalURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return wrong(key, cure, "is not an http or https URL")
	}
	if u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(c.ExternalURL, "#") {
		return wrong(key, cure, "holds more than scheme, host and port")
	}
	host, port := u.Hostname(), u.Port()
	ip, err := netip.ParseAddr(host)
	if err != nil && !isHostName(host) || err == nil && (ip.Zone() != "" || ip.IsUnspecified()) {
		return wrong(key, cure+", in lower case", "%.60q is not a host name clients can use", host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); strings.HasSuffix(u.Host, ":") || port != "" && (err != nil || n == 0 || strconv.FormatUint(n, 10) != port) {
		return wrong(key, cure, "port %.20q is not a number from 1 to 65535", port)
	}
	if u.Scheme == "http" && !c.InsecureHTTP {
		return wrong(key, "write https://, or ask for plain HTTP with insecure_http", "begins with http:// but the listener serves TLS")
	}
	return nil
}

func (c Config) checkPlain() *Error {
	if c.InsecureHTTP && !IsLoopback(c.Listen) && len(c.TrustedProxies) == 0 {
		return wrong("insecure_http", "listen on localhost, or name the proxy that ends TLS in trusted_proxies", "is only for loopback or behind a declared proxy")
	}
	if c.InsecureHTTP && !reflect.ValueOf(c.TLS).IsZero() {
		return wrong("insecure_http", "remove insecure_http, or the settings under tls", "contradicts the settings under tls")
	}
	return nil
}

func (c Config) checkTLS() *Error {
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		key := "tls.key"
		if c.TLS.Certificate == "" {
			key = "tls.certificate"
		}
		return wrong(key, "set tls.certificate and tls.key, or neither", "is missing")
	}
	return nil
}

func (c Config) checkClientAuthorities() *Error {
	seen := map[string]bool{}
	for i, a := range c.TLS.ClientAuthorities {
		// Messages name the item's own key where it is set, else the list.
		at := func(key, cure, problem string, args ...any) *Error {
			e := wrong(fmt.Sprintf("tls.client_authorities[%d].%s", i, key), cure, problem, args...)
			if e.Where = c.where[e.Key]; e.Where == "" {
				e.Where = c.where["tls.client_authorities"]
			}
			return e
		}
		switch {
		case !isHostName(a.Name) || strings.Contains(a.Name, "."):
			return at("name", "write lower-case letters, digits and hyphens, such as build", "%.60q is not a name", a.Name)
		case seen[a.Name]:
			return at("name", "give each authority a name of its own", "%q comes twice", a.Name)
		case a.CA == "":
			return at("ca", "name the PEM file with the authority's certificates", "is missing")
		case a.Identity == "":
			return at("identity", "write one of spiffe, dns, email, cn", "is missing")
		}
		seen[a.Name] = true
	}
	return nil
}

func (c Config) checkACME() *Error {
	a := c.ACME
	if !a.AcceptTerms {
		if !reflect.DeepEqual(a, Default().ACME) {
			return wrong("acme.accept_terms", "read the terms of service of the ACME server, then set acme.accept_terms: true", "is not set, and other settings under acme are")
		}
		return nil
	}
	switch u, err := url.Parse(a.Directory); {
	case c.InsecureHTTP:
		return wrong("acme.accept_terms", "remove insecure_http, or the settings under acme", "contradicts insecure_http")
	case c.TLS.Certificate != "":
		return wrong("acme.accept_terms", "remove tls.certificate and tls.key, or the settings under acme", "contradicts tls.certificate")
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return wrong("acme.directory", "write an https URL, as the ACME server's documentation gives it", "is not an https URL")
	case (a.EABKeyID == "") != (a.EABKeyFile == ""):
		return wrong("acme.eab_key_id", "set acme.eab_key_id and acme.eab_key_file, or neither", "and acme.eab_key_file belong together")
	}
	if e := c.checkACMEHosts(); e != nil || a.HTTPListen == "" {
		return e
	}
	if e := checkAddress("acme.http_listen", a.HTTPListen); e != nil {
		return e
	}
	if !strings.HasSuffix(a.HTTPListen, ":0") && (a.HTTPListen == c.Listen || a.HTTPListen == c.Health.Listen) {
		return wrong("acme.http_listen", "give it a port of its own, such as 0.0.0.0:80", "is the address of another listener")
	}
	return nil
}

// ACMEHosts are the names to get certificates for.
func (c Config) ACMEHosts() []string {
	if len(c.ACME.Hosts) > 0 {
		return c.ACME.Hosts
	}
	if u, err := url.Parse(c.ExternalURL); err == nil && u.Hostname() != "" {
		return []string{u.Hostname()}
	}
	return nil
}

func (c Config) checkACMEHosts() *Error {
	hosts := c.ACMEHosts()
	if len(hosts) == 0 {
		return wrong("acme.hosts", "set external_url to the URL clients use, or list its host", "is empty, and so is external_url")
	}
	for _, h := range hosts {
		_, err := netip.ParseAddr(h)
		if err == nil || !isHostName(h) || !strings.Contains(h, ".") {
			return wrong("acme.hosts", "list DNS names in lower case, such as registry.example.com", "%.60q is not a name that certificates are issued for", h)
		}
	}
	if u, err := url.Parse(c.ExternalURL); err == nil && u.Hostname() != "" && !slices.Contains(hosts, u.Hostname()) {
		return wrong("acme.hosts", "list "+u.Hostname()+" too", "lacks the host of external_url")
	}
	return nil
}

func (c Config) checkDatabase() *Error {
	if !c.Database.IsZero() && c.DatabaseFile != "" {
		return wrong("database_file", "keep one of the two", "is set beside database")
	}
	return nil
}

func (c Config) checkLives() *Error {
	if c.Tokens.SessionIdle > c.Tokens.SessionAbsolute {
		return wrong("tokens.session_idle", "make it at most tokens.session_absolute", "is longer than tokens.session_absolute")
	}
	if c.Tokens.KeyRotation > 0 && c.Tokens.KeyPublishAhead > c.Tokens.KeyRotation/2 {
		return wrong("tokens.key_publish_ahead", "make it at most half of tokens.key_rotation", "is longer than half of tokens.key_rotation")
	}
	if c.Tokens.TestExpiry > c.Tokens.Lifetime {
		return wrong("tokens.test_expiry", "make it at most tokens.lifetime", "is longer than tokens.lifetime")
	}
	return nil
}

func (c Config) checkService() *Error {
	const cure = "use letters, digits and punctuation, such as registry.example.com"
	if !isService(c.Service) {
		return wrong("service", cure, "holds a space, quote, comma or backslash, or is too long")
	}
	own := c.Effective().Service
	for i, name := range c.Tokens.Services {
		switch {
		case name == "" || !isService(name):
			return wrong("tokens.services", cure, "%.60q is empty, too long, or holds a space, quote, comma or backslash", name)
		case name == own:
			return wrong("tokens.services", "name only other registries", "holds %.60q, which is this registry", name)
		case slices.Contains(c.Tokens.Services[:i], name):
			return wrong("tokens.services", "name each once", "holds %.60q twice", name)
		}
	}
	return nil
}

// isService reports whether s can be the audience of tokens, and stand in a
// challenge.
func isService(s string) bool {
	return !strings.ContainsAny(s, `" \,`) && len(s) <= 255 && s == clean(s)
}

// isHostName reports whether s is a DNS name in lower case: what a client sends
// in Host is compared with it.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}
