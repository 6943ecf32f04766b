// Package credential owns the credential protocols on stdin and stdout: Docker's
// credential helper and the kubelet's image credential provider. It hands a
// registry's credential to the programs of this user and to no other registry.
package credential
