// Package admin owns /api/: accounts, groups, access keys, sessions, the policy
// and sweeps as JSON, and who may do what with them. The types of the bodies are
// in client.
package admin
