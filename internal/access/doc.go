// Package access owns both gates' words and rules: principals, credentials,
// actions, scopes, grants, the policy language and the one check that decides.
// It is pure: no I/O, no clock.
package access
