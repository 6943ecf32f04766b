package issuer

import (
	"fmt"

	"cel.dev/cel-go/cel"
)

// A rules is what a definition demands and makes of claims, compiled.
type rules struct {
	claims   []claimRule
	users    []userRule
	username mapping
	extra    []extra
}

type claimRule struct {
	ClaimRule
	expression *expression // nil: a claim with a value
}

type userRule struct {
	UserRule
	expression *expression
}

type mapping struct {
	claim, prefix string
	expression    *expression
}

type extra struct {
	key string
	mapping
	text bool // a claim that is no text is an error
}

const cureMapping = "write a claim with its prefix, which may be \"\", or an expression"

// compile reads the rules of a definition that is expanded.
func (d Definition) compile() (*rules, error) {
	r := new(rules)
	if len(d.ClaimValidationRules) > maxRules || len(d.UserValidationRules) > maxRules {
		return nil, invalid("claimValidationRules", "say the same with fewer", "more than %d rules of a kind", maxRules)
	}
	for i, rule := range d.ClaimValidationRules {
		compiled, err := compileClaimRule(fmt.Sprintf("claimValidationRules[%d]", i), rule)
		if err != nil {
			return nil, err
		}
		r.claims = append(r.claims, compiled)
	}
	for i, rule := range d.UserValidationRules {
		field := fmt.Sprintf("userValidationRules[%d]", i)
		x, err := compile(variableUser, rule.Expression, cel.BoolType)
		if err != nil || len(rule.Message) > maxText {
			return nil, invalid(field+".expression", "write what must be true of user.username, user.uid and user.extra", "%v", err)
		}
		r.users = append(r.users, userRule{rule, x})
	}
	if err := r.compileMappings(d.ClaimMappings); err != nil {
		return nil, err
	}
	return r, r.checkEmail()
}

func compileClaimRule(field string, rule ClaimRule) (claimRule, error) {
	const cure = "write claim and requiredValue, or expression and message"
	switch {
	case (rule.Claim == "") == (rule.Expression == ""):
		return claimRule{}, invalid(field, cure, "it needs one of claim and expression")
	case rule.Claim != "" && rule.Message != "":
		return claimRule{}, invalid(field+".message", cure, "it is for an expression")
	case rule.Expression != "" && rule.RequiredValue != "":
		return claimRule{}, invalid(field+".requiredValue", cure, "it is for a claim")
	case len(rule.Claim) > maxKey || len(rule.RequiredValue) > maxText || len(rule.Message) > maxText:
		return claimRule{}, invalid(field, "shorten it", "a text of it is too long")
	case rule.Claim != "":
		return claimRule{ClaimRule: rule}, nil
	}
	x, err := compile(variableName, rule.Expression, cel.BoolType)
	if err != nil {
		return claimRule{}, invalid(field+".expression", "write what must be true of claims, as in claims.ref == 'refs/heads/main'", "%v", err)
	}
	return claimRule{rule, x}, nil
}

func (r *rules) compileMappings(m Mappings) (err error) {
	if r.username, err = compileMapping("claimMappings.username", m.Username); err != nil {
		return err
	}
	if m.Username.Claim != "" && m.Username.Prefix == nil {
		return invalid("claimMappings.username.prefix", cureMapping, "missing")
	}
	if m.Groups != (Mapping{}) {
		return invalid("claimMappings.groups", "keep what policies should see as an extra, as in {key: release, valueExpression: \"'release' in claims.groups ? 'yes' : ''\"}",
			"who has no account here is in no group")
	}
	if m.UID != (Mapping{}) {
		if m.UID.Prefix != nil {
			return invalid("claimMappings.uid.prefix", "leave it out", "uid takes none")
		}
		uid, err := compileMapping("claimMappings.uid", m.UID)
		if err != nil {
			return err
		}
		r.extra = append(r.extra, extra{key: keyUID, mapping: uid, text: true})
	}
	for i, e := range m.Extra {
		if err := r.compileExtra(fmt.Sprintf("claimMappings.extra[%d]", i), e); err != nil {
			return err
		}
	}
	if len(r.extra) > maxClaims {
		return invalid("claimMappings.extra", "keep what policies match", "more than %d", maxClaims)
	}
	return nil
}

func (r *rules) compileExtra(field string, e Extra) error {
	if !plain(e.Key) || len(e.Key) > maxKey {
		return invalid(field+".key", fmt.Sprintf("write a name of 1 to %d bytes", maxKey), "%.80q is no name of a claim", e.Key)
	}
	for _, other := range r.extra {
		if other.key == e.Key {
			return invalid(field+".key", "give each its own key", "%.80q is there twice", e.Key)
		}
	}
	m, err := compileMapping(field, Mapping{Claim: e.Claim, Expression: e.ValueExpression})
	r.extra = append(r.extra, extra{key: e.Key, mapping: m})
	return err
}

func compileMapping(field string, m Mapping) (mapping, error) {
	switch {
	case (m.Claim == "") == (m.Expression == ""):
		return mapping{}, invalid(field, cureMapping, "it needs one of claim and expression")
	case m.Expression != "" && m.Prefix != nil:
		return mapping{}, invalid(field+".prefix", "put it into the expression", "it is for a claim")
	case len(m.Claim) > maxKey || m.Prefix != nil && len(*m.Prefix) > maxKey:
		return mapping{}, invalid(field, "shorten it", "a text of it is too long")
	case m.Claim != "":
		out := mapping{claim: m.Claim}
		if m.Prefix != nil {
			out.prefix = *m.Prefix
		}
		return out, nil
	}
	x, err := compile(variableName, m.Expression, cel.StringType, cel.ListType(cel.StringType), cel.ListType(cel.DynType), cel.NullType)
	if err != nil {
		return mapping{}, invalid(field, "write an expression that gives a text, as in claims.sub", "the expression: %v", err)
	}
	return mapping{expression: x}, nil
}

// checkEmail: an address that nobody has verified is what somebody typed (F-13).
func (r *rules) checkEmail() error {
	x := r.username.expression
	if x == nil || !x.uses["email"] || x.uses["email_verified"] {
		return nil
	}
	for _, e := range r.extra {
		if e.expression != nil && e.expression.uses["email_verified"] {
			return nil
		}
	}
	for _, c := range r.claims {
		if c.expression != nil && c.expression.uses["email_verified"] {
			return nil
		}
	}
	return invalid("claimMappings.username.expression", "add the rule {expression: \"claims.email_verified == true\"}", "it uses claims.email, and nothing uses claims.email_verified")
}
