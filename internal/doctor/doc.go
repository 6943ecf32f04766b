// Package doctor owns finding what is wrong with how the clients of a machine
// keep their credentials: who may read the files, what stands in them, and whom
// the clients would trust. It shows no secret, and believes no file.
package doctor
