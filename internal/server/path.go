package server

import (
	"net/url"
	"strings"
)

// rawPath returns the path exactly as the client wrote it. EscapedPath alone
// would repair what RawPath holds wrongly escaped.
func rawPath(u *url.URL) string {
	if u.RawPath != "" {
		return u.RawPath
	}
	return u.EscapedPath()
}

// pathFault says why the raw path p is not one that every parser reads alike,
// or "". A path is plain when it begins with a slash, holds only the
// characters of RFC 3986 §3.3 without ';', has no segment that is empty (but
// the last), "." or "..", and escapes nothing but ':' (%3A, which some clients
// do to the colon of a digest). Names outside the grammar of a door are the
// door's to refuse.
func pathFault(p string) string {
	if p == "" || p[0] != '/' {
		return "the path must begin with a slash"
	}
	segment := 1 // where the present segment begins
	for i := 1; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			c := p[i]
			if c == '%' {
				if !strings.EqualFold(p[i:min(i+3, len(p))], "%3a") {
					return "the path holds an escape other than %3A"
				}
			} else if !plain[c] {
				return "the path holds a character that has no place in a path"
			}
			continue
		}
		switch s := p[segment:i]; {
		case s == "" && i < len(p):
			return "the path holds an empty segment"
		case s == "." || s == "..":
			return "the path holds a dot segment"
		}
		segment = i + 1
	}
	return ""
}

// plain are the characters of a path segment, RFC 3986 §3.3 "pchar", without
// '%' and ';'.
var plain = func() (set [256]bool) {
	for c := range 256 {
		set[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	for _, c := range []byte("-._~!$&'()*+,=:@") {
		set[c] = true
	}
	return set
}()
