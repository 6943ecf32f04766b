// Package issuer makes principals of the tokens of issuers that are trusted: CI
// systems, clusters and clouds that sign who a job is (OIDC). A token is believed
// as far as the issuer's Definition says, and answered by tokens of ours.
package issuer
