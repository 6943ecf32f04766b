package config

import (
	"log/slog"
	"net/url"
	"strings"
)

// A DatabaseURL may hold a password: wherever it is printed, logged or
// marshalled it shows none. Reveal is the only way to its value.
type DatabaseURL struct{ value string }

// NewDatabaseURL checks the form of s: "sqlite:PATH", "postgres://…" or "".
// The error never shows s.
func NewDatabaseURL(s string) (DatabaseURL, error) {
	const cure = "write sqlite:PATH or postgres://USER@HOST:PORT/NAME"
	if s == "" {
		return DatabaseURL{}, nil
	}
	if path, ok := strings.CutPrefix(s, "sqlite:"); ok {
		if strings.Trim(path, "/") == "" {
			return DatabaseURL{}, wrong("", cure, "is not sqlite: and a file path")
		}
		return DatabaseURL{s}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return DatabaseURL{}, wrong("", cure+", with %-escapes in user and password", "is not a URL")
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "" {
		return DatabaseURL{}, wrong("", cure, "is neither SQLite nor PostgreSQL")
	}
	return DatabaseURL{s}, nil
}

// Reveal returns the URL itself.
func (d DatabaseURL) Reveal() string { return d.value }

// IsZero reports whether no database was named.
func (d DatabaseURL) IsZero() bool { return d.value == "" }

// HasPassword reports whether the URL holds a secret.
func (d DatabaseURL) HasPassword() bool { return d.String() != d.value }

// secretParameters are the parameters of a PostgreSQL URL that hold secrets.
var secretParameters = []string{"password", "sslpassword"}

// String returns the URL with every secret replaced by "xxxxx".
func (d DatabaseURL) String() string {
	if d.value == "" || strings.HasPrefix(d.value, "sqlite:") {
		return d.value
	}
	u, err := url.Parse(d.value)
	if err != nil {
		return "xxxxx"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "xxxxx"
	}
	changed := false
	for _, name := range secretParameters {
		if query.Has(name) {
			query.Set(name, "xxxxx")
			changed = true
		}
	}
	if changed {
		u.RawQuery = query.Encode()
	}
	if _, has := u.User.Password(); has {
		return u.Redacted()
	}
	if changed {
		return u.String()
	}
	return d.value
}

// GoString hides the secrets from %#v.
func (d DatabaseURL) GoString() string { return d.String() }

// LogValue hides the secrets from slog.
func (d DatabaseURL) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText hides the secrets from encoders.
func (d DatabaseURL) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
