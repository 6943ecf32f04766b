// Package ldap asks directories, over LDAP and never without TLS, whether a
// password is somebody's, and whether that person and their groups are still there.
package ldap
