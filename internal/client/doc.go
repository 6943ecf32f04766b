// Package client owns talking to a Sallyport over HTTP: the JSON types of its
// admin API, logging in, the stored logins and the cache of access tokens. It
// trusts the server with nothing but its own secrets: where they go was decided
// at login.
package client
