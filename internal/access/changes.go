package access

import "context"

// Changes tells when something that decides was changed: an account, a group,
// a key, a session's revocation, the policy. What was read under one generation
// may be reused while the generation stays.
type Changes interface {
	// Generation returns a number that is another one after every such change
	// made by any process on the same database. A change made by this process is seen at
	// once, one made by another within a second. An error means that it cannot
	// be known, and the caller refuses the request. It costs no database query.
	// Safe for concurrent use.
	Generation(ctx context.Context) (int64, error)
}
