// Package distribution owns /v2/: the endpoints of the OCI distribution-spec,
// their requests, headers and error bodies, and the challenge. It holds no rule
// about who may do what: every handler works on a view made by registry.Guard.
package distribution
