// Package outbound owns the way to servers that somebody names: issuers of
// tokens, providers, whatever a document of an administrator points to. It asks
// over TLS alone, follows no redirect, uses no proxy, bounds what comes back,
// and connects to no address inside our network that was not allowed by name.
package outbound
