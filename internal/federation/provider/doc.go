// Package provider signs people in with OpenID providers: we are their relying
// party, by authorization code with PKCE.
package provider
