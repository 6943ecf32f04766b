package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

var b64 = base64.RawURLEncoding.Strict()

const (
	// maxToken bounds what is looked at, in bytes.
	maxToken = 8 << 10
	// maxIssued bounds what is issued, in bytes: clients put it into one header.
	maxIssued = 6 << 10
)

// claims are what an access token says (docker's jwt.md, RFC 7519 §4.1). The
// order of the fields is part of the format; see parseClaims.
type claims struct {
	Issuer   string  `json:"iss"`
	Audience string  `json:"aud"`
	Subject  string  `json:"sub"` // "user:alice", "robot:ci", "" for anonymous
	Issued   int64   `json:"iat"` // seconds since 1970, as the next two
	From     int64   `json:"nbf"`
	Expires  int64   `json:"exp"`
	ID       string  `json:"jti"`
	Access   []grant `json:"access"`
	// Ours: the account, and the credential it was proven with.
	UID       string `json:"uid,omitempty"`
	Method    string `json:"method,omitempty"`
	KeyID     string `json:"key,omitempty"`
	SessionID string `json:"sid,omitempty"`
	// PasswordSet is that of access.Proof, in microseconds since 1970, or 0.
	PasswordSet int64 `json:"pwset,omitempty"`
	// Outsider is set for who has no account of ours.
	Outsider *Outsider `json:"ext,omitempty"`
}

// A grant is one entry of the access claim.
type grant struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (c claims) proof() access.Proof {
	p := access.Proof{Method: c.Method, KeyID: c.KeyID, SessionID: c.SessionID}
	if c.PasswordSet != 0 {
		p.PasswordSet = time.UnixMicro(c.PasswordSet)
	}
	if c.Outsider != nil {
		p.Certificate, p.Trust = c.Outsider.Certificate, c.Outsider.Trust
	}
	return p
}

func (c claims) grants() access.Grants {
	var g access.Grants
	for _, a := range c.Access {
		g.Add(access.Resource{Type: a.Type, Name: a.Name}, a.Actions...)
	}
	return g
}

func grantClaims(g access.Grants) []grant {
	out := []grant{} // never null
	for _, r := range g.Resources() {
		out = append(out, grant{Type: r.Type, Name: r.Name, Actions: g.Actions(r)})
	}
	return out
}

// The header of a token, before and after its key id. We compare it as text:
// jwk, jku, x5c, crit, b64 or another alg cannot be in it.
const (
	headerStart = `{"alg":"ES256","kid":"`
	headerEnd   = `","typ":"JWT"}`
	keyIDLength = 43
)

// headerOf returns the first part of every token signed with the key id.
func headerOf(id string) string { return b64.EncodeToString([]byte(headerStart + id + headerEnd)) }

// isHeader reports whether header is one of ours but for the key id.
func isHeader(header string) bool {
	text, err := b64.DecodeString(header)
	return err == nil && len(text) == len(headerStart)+keyIDLength+len(headerEnd) &&
		strings.HasPrefix(string(text), headerStart) && strings.HasSuffix(string(text), headerEnd)
}

// sign returns c as a compact JWS (RFC 7515 §7.1). Of the two signatures that
// ECDSA allows for each token we make the one with the smaller s, and accept no
// other, so that a token has one text.
func (k signingKey) sign(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("marshal claims: %w", err)
	}
	text := make([]byte, 0, len(k.header)+1+b64.EncodedLen(len(payload))+1+b64.EncodedLen(64))
	text = append(text, k.header...)
	text = append(text, '.')
	text = b64.AppendEncode(text, payload)
	sum := sha256.Sum256(text)
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if s.Cmp(halfOrder) > 0 {
		s.Sub(order, s)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	text = append(text, '.')
	return string(b64.AppendEncode(text, signature[:])), nil
}

var (
	order     = elliptic.P256().Params().N
	halfOrder = new(big.Int).Rsh(order, 1)
)

// errForm is a token that we did not write.
var errForm = errors.New("not a token of ours")

// verifySignature checks the last part of a token over all before it.
func (k signingKey) verifySignature(signed, signature string) error {
	raw, err := b64.DecodeString(signature)
	if err != nil || len(raw) != 64 || !canonical(signature) {
		return errForm
	}
	r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	sum := sha256.Sum256([]byte(signed))
	if s.Cmp(halfOrder) > 0 || !ecdsa.Verify(&k.private.PublicKey, sum[:], r, s) {
		return errForm
	}
	return nil
}

// parseClaims reads the middle part of a token whose signature is good. A token
// is exactly what we would have written for what it says: doubled, missing,
// misspelt or additional claims, other number forms and trailing data are all
// refused by writing the claims again.
func parseClaims(part string) (claims, error) {
	payload, err := b64.DecodeString(part)
	if err != nil || !canonical(part) {
		return claims{}, errForm
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return claims{}, errForm
	}
	again, err := json.Marshal(c)
	if err != nil || !bytes.Equal(payload, again) {
		return claims{}, errForm
	}
	return c, nil
}

// canonical reports whether s holds no line break, which base64 decoders skip.
func canonical(s string) bool { return !strings.ContainsAny(s, "\r\n") }
