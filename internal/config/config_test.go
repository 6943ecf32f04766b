package config_test

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/internal/config"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/configuration.md")

var equal = cmp.Options{
	cmpopts.IgnoreUnexported(config.Config{}),
	cmp.Comparer(func(a, b config.DatabaseURL) bool { return a.Reveal() == b.Reveal() }),
	cmpopts.EquateEmpty(),
	cmpopts.EquateComparable(netip.Prefix{}),
}

func load(t testing.TB, text string) (config.Config, error) {
	t.Helper()
	c, err := config.Decode("sallyport.yaml", []byte(text))
	if err != nil {
		return c, err
	}
	return c, c.Validate()
}

// what cannot be meant stops the start and says where and what to do.
func TestMistakes(t *testing.T) {
	for name, tt := range map[string]struct{ text, want, hint string }{
		"unknown key":            {"data: d\nlisen: localhost:1\n", "sallyport.yaml:2: lisen: is not a setting", "did you mean listen?"},
		"unknown key in section": {"tls:\n  # a comment\n  certifcate: x\n", "sallyport.yaml:3: tls.certifcate: is not a setting", "did you mean tls.certificate?"},
		"other spelling":         {"externalURL: https://a\n", "sallyport.yaml:1: externalURL: is not a setting", "did you mean external_url?"},
		"nothing like it":        {"frobnicate: 1\n", "sallyport.yaml:1: frobnicate: is not a setting", "docs/configuration.md"},
		"key with escapes":       {"\"a\\e[2J\\nb\": 1\n", "sallyport.yaml:1: a?[2J?b: is not a setting", "remove it"},
		"twice":                  {"data: a\ndata: b\n", "sallyport.yaml:", ""},
		"bool for text":          {"listen: true\n", "sallyport.yaml:1: listen: has the wrong type", "write text"},
		"number for text":        {"data: 0777\n", "sallyport.yaml:1: data: has the wrong type", "in quotes"},
		"text for bool":          {"insecure_http: \"true\"\n", "sallyport.yaml:1: insecure_http: has the wrong type", "true or false"},
		"text for number":        {"passwords:\n  min_length: \"12\"\n", "sallyport.yaml:2: passwords.min_length: has the wrong type", "number from 12 to 64"},
		"number too small":       {"passwords:\n  min_length: 11\n", "sallyport.yaml:2: passwords.min_length: \"11\" is not a number", "from 12 to 64"},
		"fraction for number":    {"passwords:\n  min_length: 12.5\n", "sallyport.yaml:2: passwords.min_length: has the wrong type", "number from 12 to 64"},
		"octal for number":       {"passwords:\n  min_length: 0x10\n", "sallyport.yaml:2: passwords.min_length: \"0x10\" is not a number", "from 12 to 64"},
		"yes for bool":           {"insecure_http: yes\n", "sallyport.yaml:1: insecure_http: has the wrong type", "true or false"},
		"no for text is text":    {"listen: no\n", `sallyport.yaml:1: listen: "no" is not an address with a port`, "HOST:PORT"},
		"list for text":          {"data: [a]\n", "sallyport.yaml:1: data: has the wrong type", "write text"},
		"text for section":       {"tls: on\n", "sallyport.yaml:1: tls: is not a section", "below it"},
		"list at the top":        {"- a\n", "sallyport.yaml:1: is not a section", ""},
		"text for list":          {"trusted_proxies: 10.0.0.0/8\n", "sallyport.yaml:1: trusted_proxies: has the wrong type", "write a list"},
		"null":                   {"data:\n", "sallyport.yaml:1: data: has no value", "remove the line"},
		"duration in seconds":    {"tokens:\n  lifetime: 300\n", "sallyport.yaml:2: tokens.lifetime: has the wrong type", `"300s"`},
		"duration without unit":  {"tokens:\n  lifetime: \"300\"\n", `sallyport.yaml:2: tokens.lifetime: "300" is not a duration`, `"300s"`},
		"duration too short":     {"tokens: {lifetime: 299s}\n", "sallyport.yaml:1: tokens.lifetime: 4m59s is too short", "at least 5m"},
		"negative duration":      {"shutdown_timeout: -1s\n", "sallyport.yaml:1: shutdown_timeout: -1s is too short", "at least 1s"},
		"grace below uploads":    {"gc: {grace: 12h}\n", "sallyport.yaml:1: gc.grace: 12h is too short", "at least 13h"},
		"no such format":         {"log: {format: xml}\n", `sallyport.yaml:1: log.format: "xml" is not a value it can take`, "json, text"},
		"network":                {"trusted_proxies: [\"10.0.0.1/8\"]\n", "sallyport.yaml:1: trusted_proxies: 10.0.0.1/8 has bits behind its mask", "10.0.0.0/8"},
		"not a network":          {"trusted_proxies: [proxy]\n", `sallyport.yaml:1: trusted_proxies: "proxy" is not a network`, "such as"},
		"number in list":         {"trusted_proxies: [10]\n", "sallyport.yaml:1: trusted_proxies: holds something that is not text", ""},
		"empty":                  {"", "sallyport.yaml", "at least one setting"},
		"only a comment":         {"# nothing\n", "sallyport.yaml: is empty", "at least one setting"},
		"two documents":          {"data: a\n---\ndata: b\n", "is not one YAML document", "docs/configuration.md"},
		"not YAML":               {"data: [a\n", "is not one YAML document", "docs/configuration.md"},
		"tab":                    {"tls:\n\tkey: a\n", "is not one YAML document", ""},
		"anchor":                 {"data: &a x\nlisten: *a\n", "sallyport.yaml:1: data: uses a YAML anchor or alias", "write the value out"},
		"merge key":              {"<<: {data: a}\n", "sallyport.yaml:1: <<: is not a setting", ""},
		"control character":      {"data: \"a\\0b\"\n", "sallyport.yaml:1: data: holds a control character", "remove"},
		"database scheme":        {"database: mysql://u:geheim@h/d\n", "sallyport.yaml:1: database: is neither SQLite nor PostgreSQL", "sqlite:PATH"},
		"database not a URL":     {"database: \"postgres://u:geheim%zz@h/d\"\n", "sallyport.yaml:1: database: is not a URL", "%-escapes"},
		"database twice":         {"database: sqlite:x\ndatabase_file: y\n", "sallyport.yaml:2: database_file: is set beside database", "keep one"},
		"no external URL":        {"listen: 0.0.0.0:443\n", "external_url: is missing", "--external-url"},
		"all addresses":          {"listen: \":5000\"\n", "external_url: is missing", "--external-url"},
		"port name":              {"listen: localhost:https\n", `sallyport.yaml:1: listen: port "https" is not a number`, "HOST:PORT"},
		"port too large":         {"listen: localhost:65536\n", `sallyport.yaml:1: listen: port "65536" is not a number`, "HOST:PORT"},
		"health on registry":     {"listen: localhost:5001\n", "health.listen: is the same as listen", "another port"},
		"external with path":     {"external_url: https://a/b\n", "sallyport.yaml:1: external_url: holds more than scheme, host and port", "without a path"},
		"external with user":     {"external_url: https://u:geheim@a\n", "sallyport.yaml:1: external_url: holds more than", ""},
		"external without host":  {"external_url: \"https://\"\n", "sallyport.yaml:1: external_url: is not an http or https URL", ""},
		"external other scheme":  {"external_url: ftp://a\n", "sallyport.yaml:1: external_url: is not an http or https URL", ""},
		"external upper case":    {"external_url: https://Reg.test\n", "sallyport.yaml:1: external_url: \"Reg.test\" is not a host name", "lower case"},
		"external unspecified":   {"external_url: https://0.0.0.0\n", "sallyport.yaml:1: external_url: \"0.0.0.0\" is not a host name", ""},
		"external plain":         {"external_url: http://a\n", "sallyport.yaml:1: external_url: begins with http:// but the listener serves TLS", "insecure_http"},
		"plain beyond loopback":  {"listen: 0.0.0.0:80\nexternal_url: http://a\ninsecure_http: true\n", "sallyport.yaml:3: insecure_http: is only for loopback or behind a declared proxy", "trusted_proxies"},
		"plain with certificate": {"insecure_http: true\ntls: {certificate: a, key: b}\n", "sallyport.yaml:1: insecure_http: contradicts", "remove"},
		"half a pair":            {"tls: {certificate: a}\n", "tls.key: is missing", "or neither"},
		"the other half":         {"tls: {key: a}\n", "tls.certificate: is missing", "or neither"},
		"idle above absolute":    {"tokens: {session_absolute: 24h}\n", "tokens.session_idle: is longer than tokens.session_absolute", "at most"},
		"key life below 90 days": {"keys: {max_expiry: 24h}\n", "sallyport.yaml:1: keys.max_expiry: 24h is too short", "at least 2160h"},
		"authorities no list":    {"tls: {client_authorities: {name: a}}\n", "sallyport.yaml:1: tls.client_authorities: is not a list of sections", "below a hyphen"},
		"authority no section":   {"tls: {client_authorities: [a]}\n", "sallyport.yaml:1: tls.client_authorities[0]: is not a section", "below it"},
		"authority key":          {"tls:\n  client_authorities:\n    - name: a\n      cs: b\n", "sallyport.yaml:4: tls.client_authorities[0].cs: is not a setting", "did you mean tls.client_authorities[0].ca?"},
		"authority anchor":       {"tls: {client_authorities: [&a {name: a}]}\n", "uses a YAML anchor", "write the value out"},
		"authority identity":     {"tls: {client_authorities: [{name: a, ca: b, identity: uri}]}\n", "sallyport.yaml:1: tls.client_authorities[0].identity: \"uri\" is not a value", "spiffe, dns, email, cn"},
		"authority no identity":  {"tls:\n  client_authorities:\n    - {name: a, ca: b}\n", "sallyport.yaml:2: tls.client_authorities[0].identity: is missing", "spiffe"},
		"authority no ca":        {"tls: {client_authorities: [{name: a, identity: dns}]}\n", "tls.client_authorities[0].ca: is missing", "PEM"},
		"authority name":         {"tls: {client_authorities: [{name: A/b, ca: b, identity: dns}]}\n", "sallyport.yaml:1: tls.client_authorities[0].name: \"A/b\" is not a name", "hyphens"},
		"authority twice":        {"tls: {client_authorities: [{name: a, ca: b, identity: dns}, {name: a, ca: c, identity: cn}]}\n", "tls.client_authorities[1].name: \"a\" comes twice", "of its own"},
		"authorities in plain":   {"insecure_http: true\ntls: {client_authorities: [{name: a, ca: b, identity: dns}]}\n", "sallyport.yaml:1: insecure_http: contradicts", "remove"},
		"acme without consent":   {"external_url: https://a.test\nacme: {email: a@b.test}\n", "acme.accept_terms: is not set", "terms of service"},
		"acme in plain":          {"insecure_http: true\nacme: {accept_terms: true}\n", "sallyport.yaml:2: acme.accept_terms: contradicts insecure_http", "remove"},
		"acme beside files":      {"tls: {certificate: a, key: b}\nacme: {accept_terms: true}\n", "acme.accept_terms: contradicts tls.certificate", "remove"},
		"acme without a name":    {"acme: {accept_terms: true}\n", "acme.hosts: is empty", "external_url"},
		"acme for an address":    {"external_url: https://192.0.2.1\nacme: {accept_terms: true}\n", "acme.hosts: \"192.0.2.1\" is not a name", "DNS names"},
		"acme for a pattern":     {"acme: {accept_terms: true, hosts: [\"*.a.test\"]}\n", "acme.hosts: \"*.a.test\" is not a name", "DNS names"},
		"acme for others":        {"external_url: https://a.test\nacme: {accept_terms: true, hosts: [b.test]}\n", "acme.hosts: lacks the host of external_url", "a.test too"},
		"acme directory":         {"external_url: https://a.test\nacme: {accept_terms: true, directory: \"http://ca.test\"}\n", "acme.directory: is not an https URL", "https"},
		"acme half a binding":    {"external_url: https://a.test\nacme: {accept_terms: true, eab_key_id: x}\n", "acme.eab_key_id: and acme.eab_key_file belong together", "or neither"},
		"acme listener":          {"external_url: https://a.test\nacme: {accept_terms: true, http_listen: \"localhost:5000\"}\n", "acme.http_listen: is the address of another listener", "of its own"},
		"texts with a number":    {"acme: {hosts: [1]}\n", "sallyport.yaml:1: acme.hosts: holds something that is not text", "list of texts"},
		"directory twice":        {"login:\n  directories:\n    - {name: corp, schema: rfc2307, urls: [\"ldaps://a\"], user_base: dc=a}\n    - {name: corp}\n", "sallyport.yaml:4: login.directories[1].name: \"corp\" comes twice", "of its own"},
		"directory no schema":    {"login: {directories: [{name: corp}]}\n", "login.directories[0].schema: is missing", "active-directory"},
		"directory no server":    {"login: {directories: [{name: corp, schema: rfc2307}]}\n", "login.directories[0].urls: is missing", "ldaps://"},
		"directory no base":      {"login: {directories: [{name: corp, schema: rfc2307, urls: [\"ldaps://a\"]}]}\n", "login.directories[0].user_base: is missing", "ou=people"},
		"directory half a bind":  {"login: {directories: [{name: corp, schema: rfc2307, urls: [\"ldaps://a\"], user_base: dc=a, bind_dn: cn=a}]}\n", "bind_dn: and bind_password_file belong together", "set both"},
		"directory max age":      {"login: {directories: [{name: corp, schema: rfc2307, urls: [\"ldaps://a\"], user_base: dc=a, max_age: 1m}]}\n", "max_age: is shorter than recheck", "at least recheck"},
		"directory schema":       {"login: {directories: [{name: corp, schema: novell}]}\n", "login.directories[0].schema: \"novell\" is not a value", "rfc2307bis"},
		"service with quote":     {"service: 'a\"b'\n", "sallyport.yaml:1: service: holds a space, quote", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.text)
			if err == nil {
				t.Fatal("accepted")
			}
			var e *config.Error
			if !errors.As(err, &e) {
				t.Fatalf("not a config.Error: %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(e.Hint(), tt.hint) {
				t.Errorf("got  %s\nhint %s\nwant %s\nhint %s", err, e.Hint(), tt.want, tt.hint)
			}
			if e.Hint() == "" {
				t.Error("no cure")
			}
			if all := err.Error() + e.Hint(); strings.ContainsAny(all, "\n\x1b") || strings.Contains(all, "geheim") {
				t.Errorf("unfit for a terminal, or shows a secret: %q", all)
			}
		})
	}
}

func TestGood(t *testing.T) {
	for name, text := range map[string]string{
		"behind a proxy":  "listen: 0.0.0.0:8080\nexternal_url: https://reg.test\ninsecure_http: true\ntrusted_proxies: [\"10.0.0.0/8\", \"::1/128\"]\n",
		"plain loopback":  "listen: 127.0.0.1:5000\ninsecure_http: true\nexternal_url: http://localhost:5000/\n",
		"own certificate": "listen: 0.0.0.0:443\nexternal_url: https://reg.test:443\ntls: {certificate: a.pem, key: a.key, http2: true}\n",
		"IPv6":            "listen: \"[::1]:5000\"\n",
		"no health":       "health: {listen: \"\"}\n",
		"no sweep":        "gc: {interval: 0s}\n",
		"free ports":      "listen: localhost:0\nhealth: {listen: \"localhost:0\"}\n",
		"quoted tag":      "data: !!str 5\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, text); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFlagsOverride(t *testing.T) {
	c, err := config.Decode("f", []byte("listen: 0.0.0.0:443\ndata: a\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Set("external_url", "https://reg.test", "--external-url"); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil || c.ExternalURL != "https://reg.test" || c.Data != "a" {
		t.Errorf("%+v %v", c, err)
	}
	if err := c.Set("log.format", "xml", "--log-format"); err == nil || err.Error() != `--log-format: log.format: "xml" is not a value it can take` {
		t.Error(err)
	}
	if err := c.Set("listen", "x", "--listen"); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "--listen: listen:") {
		t.Error(err)
	}
}

// the effective configuration shows no secret, however it is printed.
func TestRedaction(t *testing.T) {
	for _, url := range []string{
		"postgres://alice:geheim@db/reg",
		"postgres://alice:geheim@db/reg?sslmode=require&password=geheim2",
		"postgres://db/reg?user=a&password=geheim&sslpassword=geheim",
		"postgresql://alice:ge%20heim%2Fgeheim@db:5432/reg",
	} {
		c, err := load(t, "database: \""+url+"\"\n")
		if err != nil {
			t.Fatal(err)
		}
		text, err := c.Effective().Print()
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "database", c.Database, "config", c)
		marshalled, err := c.Database.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{string(text), log.String(), string(marshalled), fmt.Sprint(c), fmt.Sprintf("%#v %+v %v %s", c.Database, c, c, c.Database)} {
			if strings.Contains(shown, "heim") {
				t.Errorf("shows a secret: %s", shown)
			}
		}
		if !c.Database.HasPassword() || c.Database.Reveal() != url {
			t.Errorf("lost %s", url)
		}
	}
	if c, err := load(t, "database: postgres://alice@db/reg\n"); err != nil || c.Database.HasPassword() || c.Database.String() != "postgres://alice@db/reg" {
		t.Errorf("%v %v", c.Database, err)
	}
}

// a password in the file needs a private file.
func TestPrivateFile(t *testing.T) {
	for _, tt := range []struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		{"database: postgres://a:geheim@db/reg\n", 0o600, true},
		{"database: postgres://a:geheim@db/reg\n", 0o400, true},
		{"database: postgres://a:geheim@db/reg\n", 0o640, false},
		{"database: postgres://a:geheim@db/reg\n", 0o604, false},
		{"database: postgres://a@db/reg\n", 0o644, true},
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path)
		if (err == nil) != tt.ok {
			t.Errorf("%s mode %04o: %v", tt.text, tt.mode, err)
		}
		if err != nil && (!strings.Contains(err.Error(), path+":1: database: holds a password") || strings.Contains(err.Error(), "geheim")) {
			t.Error(err)
		}
	}
	if _, err := config.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestEffective(t *testing.T) {
	for text, want := range map[string]string{
		"data: /var/lib/s\n":                             "sqlite:/var/lib/s/metadata.db localhost:5000",
		"external_url: https://reg.test\n":               "sqlite:data/metadata.db reg.test",
		"external_url: https://reg.test:8443/\n":         "sqlite:data/metadata.db reg.test:8443",
		"service: x\ndatabase: sqlite:y\n":               "sqlite:y x",
		"database_file: /run/secrets/db\nservice: reg\n": " reg",
	} {
		c, err := load(t, text)
		if err != nil {
			t.Fatal(err)
		}
		e := c.Effective()
		if got := e.Database.Reveal() + " " + e.Service; got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestDefaultIsValid(t *testing.T) {
	c := config.Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Tokens.Lifetime != 300*time.Second {
		t.Error(c.Tokens.Lifetime)
	}
}

// docs/configuration.md has the table that the struct makes; -update writes it.
func TestDocumentation(t *testing.T) {
	const path, begin, end = "../../docs/configuration.md", "<!-- settings -->\n", "<!-- end of settings -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s lacks its markers", path)
	}
	want := head + begin + config.Markdown() + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("run: go test ./internal/config -update\n%s", diff)
	}
}

// Every example in the documentation is a good configuration; those that begin
// with a version are policies.
func TestDocumentedExamples(t *testing.T) {
	for _, name := range []string{"configuration.md", "mtls.md", "acme.md", "ldap.md"} {
		text, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "```yaml\n")[1:]
		if len(blocks) == 0 {
			t.Fatal("no examples in", name)
		}
		for _, b := range blocks {
			example, _, _ := strings.Cut(b, "```")
			if strings.HasPrefix(example, "version:") {
				continue
			}
			if _, err := load(t, example); err != nil {
				t.Errorf("%s: %v in\n%s", name, err, example)
			}
		}
	}
}

// Law: what is printed is read back as the same configuration.
func FuzzPrint(f *testing.F) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(b, "```")
		f.Add(example)
	}
	f.Add("data: \"a: b # c\"\nservice: '!'\nexternal_url: https://[::1]:1\n")
	f.Add("tls: {client_authorities: [{name: a, ca: b, identity: dns}, {name: c, ca: d, crl: e, identity: cn}]}\n")
	f.Add("external_url: https://a.test\nacme: {accept_terms: true, hosts: [a.test, b.test], http_listen: 'localhost:80'}\n")
	f.Add("health: {listen: ''}\ngc: {interval: 0h}\ntokens: {lifetime: 301.5s}\n")
	f.Add("data: \"\\u2028\\ufeff\\u0085é\"\n")
	f.Add("data: \"~\"\nadmin_password_file: 'null'\ndatabase_file: \"0x1\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := load(t, text)
		if err != nil {
			return
		}
		c = c.Effective()
		printed, err := c.Print()
		if err != nil {
			t.Fatal(err)
		}
		back, err := load(t, string(printed))
		if err != nil {
			t.Fatalf("%v in\n%s", err, printed)
		}
		if c.Database.HasPassword() {
			c.Database, back.Database = config.DatabaseURL{}, config.DatabaseURL{}
		}
		if diff := cmp.Diff(c, back, equal); diff != "" {
			t.Errorf("%s\n%s", diff, printed)
		}
	})
}
