// Package oci owns the words of the OCI specifications: repository names, tags,
// digests, descriptors, manifest JSON and the error codes of the
// distribution-spec. It is pure: no I/O, no clock, no HTTP.
package oci
