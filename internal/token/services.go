package token

import (
	"github.com/sallyport/sallyport/internal/access"
	"github.com/sallyport/sallyport/internal/oci"
)

// grant returns what a token may hold. The policy decides for every service by
// the name of the repository.
func (s *Service) grant(policy *access.Policy, id access.Identity, req request) access.Grants {
	now := s.now()
	given := policy.Grant(id, req.from, now, req.scope)
	if req.service == s.options.Service {
		return given
	}
	return elsewhere(access.Authority{Identity: id, Policy: policy, Origin: req.from, Now: now}, given)
}

// elsewhere returns the part of given that another registry than ours can be
// trusted to enforce. It knows no difference between a new tag and one that
// moves, so a push there takes both rights; it shows its whole catalog to whoever
// may see it, so that takes the right to operate everything; and our API is
// nowhere else.
func elsewhere(au access.Authority, given access.Grants) access.Grants {
	var there access.Grants
	for _, r := range given.Resources() {
		switch r {
		case access.API:
			continue
		case access.Catalog:
			if !au.MayManage(access.Operate, "") {
				continue
			}
		}
		for _, action := range given.Actions(r) {
			repo := oci.RepoName(r.Name)
			if action == string(access.Push) && !(au.May(access.CreateTag, repo) && au.May(access.MoveTag, repo)) {
				continue
			}
			there.Add(r, action)
		}
	}
	return there
}
