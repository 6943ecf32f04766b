package issuer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits on what becomes of a token: a token of ours carries it.
const (
	maxClaims    = 40
	maxKey       = 128 // bytes
	maxValue     = 1024
	maxAllClaims = 2560
	keyUID       = "uid"
)

// reservedNames could be taken for somebody else (T-29).
var reservedNames = []string{"anonymous", "anyone", "everyone", "system", "root", "none", "null"}

// A subject is who a token proves, as the rules map it.
type subject struct {
	name   string
	claims map[string]string
}

// apply checks the claims of a verified token and maps them. Whatever cannot be
// decided refuses the token.
func (r *rules) apply(ctx context.Context, claims map[string]any) (subject, error) {
	b := &budget{left: maxAllCost}
	variables := map[string]any{variableName: claims}
	if sub, given := claims["sub"]; given {
		if text, ok := sub.(string); !ok || strings.TrimSpace(text) == "" {
			return subject{}, refuse("", "sub is no text")
		}
	}
	for _, rule := range r.claims {
		if err := rule.check(ctx, b, claims, variables); err != nil {
			return subject{}, err
		}
	}
	out := subject{claims: map[string]string{}}
	var err error
	if out.name, err = r.name(ctx, b, claims, variables); err != nil {
		return subject{}, err
	}
	for _, e := range r.extra {
		if err := e.keep(ctx, b, claims, out.claims); err != nil {
			return subject{}, err
		}
	}
	return out, r.checkUser(ctx, b, out)
}

// keep puts the extra into kept.
func (e extra) keep(ctx context.Context, b *budget, claims map[string]any, kept map[string]string) error {
	v, err := e.value(ctx, b, claims, map[string]any{variableName: claims}, e.text)
	if err != nil {
		return refuse("see the extra "+e.key, "%s: %v", e.key, err)
	}
	if v == "" {
		return nil
	}
	total := len(e.key) + len(v)
	for key, value := range kept {
		total += len(key) + len(value)
	}
	if len(v) > maxValue || total > maxAllClaims {
		return refuse("keep only what policies match", "what is kept of its claims is too long at %s", e.key)
	}
	kept[e.key] = v
	return nil
}

// told returns what a verified token that was refused said, for the record.
func (r *rules) told(ctx context.Context, claims map[string]any) map[string]string {
	b, kept := &budget{left: maxAllCost}, map[string]string{}
	for _, e := range append([]extra{{key: "sub", mapping: mapping{claim: "sub"}}}, r.extra...) {
		_ = e.keep(ctx, b, claims, kept) // what cannot be told is left out
	}
	return kept
}

func (rule claimRule) check(ctx context.Context, b *budget, claims map[string]any, variables map[string]any) error {
	if rule.expression == nil {
		if text, ok := claims[rule.Claim].(string); !ok || text != rule.RequiredValue {
			return refuse("see that the token is of the one that is meant", "the claim %s is %.100q, not %.100q", rule.Claim, shown(claims[rule.Claim]), rule.RequiredValue)
		}
		return nil
	}
	return require(ctx, b, rule.expression, rule.Message, variables)
}

// require: an error is no yes.
func require(ctx context.Context, b *budget, x *expression, message string, variables map[string]any) error {
	holds, err := x.holds(ctx, b, variables)
	if message == "" {
		message = "the rule does not hold: " + x.text
	}
	switch {
	case err != nil:
		return refuse("", "%s (%.200s)", message, err)
	case !holds:
		return refuse("", "%s", message)
	}
	return nil
}

// shown is a claim for people to read.
func shown(v any) string {
	if v == nil {
		return "missing"
	}
	return fmt.Sprint(v)
}

// name returns the principal's name.
func (r *rules) name(ctx context.Context, b *budget, claims map[string]any, variables map[string]any) (string, error) {
	if r.username.claim == "email" {
		verified, ok := claims["email_verified"].(bool)
		if email, _ := claims["email"].(string); !ok || !verified || !isMailbox(email) {
			return "", refuse("", "email is not verified")
		}
	}
	name, err := r.username.value(ctx, b, claims, variables, true)
	bare := strings.TrimPrefix(name, r.username.prefix)
	switch {
	case err != nil:
		return "", refuse("see claimMappings.username", "its name: %v", err)
	case !plain(name) || !plain(bare) || len(name) > maxValue:
		return "", refuse("see claimMappings.username", "%.80q is no name", name)
	}
	for _, reserved := range reservedNames {
		if strings.EqualFold(bare, reserved) {
			return "", refuse("see claimMappings.username", "%.80q names nobody", name)
		}
	}
	return name, nil
}

// isMailbox takes one @ between what nobody reads in two ways (F-14).
func isMailbox(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && local != "" && domain != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),:;<>[\]`, r)
	}) && !strings.Contains(domain, "@")
}

// value returns what a mapping says, "" for nothing.
func (m mapping) value(ctx context.Context, b *budget, claims map[string]any, variables map[string]any, text bool) (string, error) {
	var v any
	if m.expression != nil {
		var err error
		if v, err = m.expression.eval(ctx, b, variables); err != nil {
			return "", fmt.Errorf("the expression gives no value: %.200w", err)
		}
		text = true
	} else {
		var given bool
		if v, given = claims[m.claim]; !given && !text {
			return "", nil
		}
	}
	s, err := textOf(v, text)
	if err != nil || s == "" {
		return "", err
	}
	return m.prefix + s, nil
}

// textOf returns a value as a text. Only claims that are taken as they are may be
// numbers and booleans: an expression says what it means.
func textOf(v any, text bool) (string, error) {
	switch v := v.(type) {
	case string:
		if strings.ContainsFunc(v, unseen) {
			return "", errors.New("it has characters that cannot be seen")
		}
		return v, nil
	case int64:
		if !text {
			return strconv.FormatInt(v, 10), nil
		}
	case bool:
		if !text {
			return strconv.FormatBool(v), nil
		}
	}
	if list, ok := listOf(v); ok && len(list) < 2 {
		if len(list) == 0 {
			return "", nil
		}
		return textOf(list[0], true)
	}
	return "", errors.New("it is no text")
}

// checkUser asks the rules about the principal.
func (r *rules) checkUser(ctx context.Context, b *budget, s subject) error {
	if len(r.users) == 0 {
		return nil
	}
	extra := map[string][]string{} // as Kubernetes has it
	for key, value := range s.claims {
		if key != keyUID {
			extra[key] = []string{value}
		}
	}
	user := map[string]any{"username": s.name, "uid": s.claims[keyUID], "groups": []string{}, "extra": extra}
	for _, rule := range r.users {
		if err := require(ctx, b, rule.expression, rule.Message, map[string]any{variableUser: user}); err != nil {
			return err
		}
	}
	return nil
}
