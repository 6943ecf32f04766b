// Package federation owns trust in outsiders: proof in, principal out. Today
// these are certificate authorities whose client certificates prove who comes.
package federation
