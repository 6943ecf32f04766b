package access

import "slices"

// Vouches reports whether au may say, by the right that it has over the whole
// registry, how the principals of an issuer are proven. Who says that can come by
// any name and claims of the issuer, so that no rule may give any of them more
// than au has itself or manages, as with Commands. Errors: *Denied.
func (au Authority) Vouches(right Action, issuer string) error {
	if au.MayManage(Admin, "") {
		return nil
	}
	cm := newCommander(au, right)
	return cm.denied(cm.beyondIssuer(issuer), issuer, "principals of "+issuer)
}

// beyondIssuer returns something that gives some principal of issuer more than
// the commander may give. A condition of the rule is taken to hold: claims can be
// what it asks for.
func (cm *commander) beyondIssuer(issuer string) *surplus {
	some := ExternalPrincipal(issuer, "", nil)
	for _, r := range cm.au.Policy.rules {
		if !r.names.mayInclude(issuer) {
			continue
		}
		for i := range r.patterns {
			q, fits := r.patterns[i].writtenFor(callerOf(some))
			if !fits {
				continue
			}
			for _, a := range r.actions.single() {
				managed := setOf(a)&bitsAdmin == 0 && cm.part.contains(&q)
				if !managed && !cm.has(a, nil, nil).contains(&q) {
					return &surplus{r.Statement, r.patterns}
				}
			}
		}
	}
	return nil
}

// mayInclude reports whether some principal of issuer is among them.
func (n *names) mayInclude(issuer string) bool {
	return n.has(anyone) || n.has(everyone) || slices.ContainsFunc(n.outsiders, func(o outsider) bool { return o.issuer == issuer })
}
