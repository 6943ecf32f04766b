package client

import (
	"context"
	"net/http"
	"time"
)

// A SigningKey is one of the keys that sign access tokens, without the key. A
// time that is absent is not known yet.
type SigningKey struct {
	ID        string     `json:"id"`    // RFC 7638 thumbprint, the kid of tokens
	State     string     `json:"state"` // "published", "active" or "retiring"
	Created   time.Time  `json:"created"`
	Activates time.Time  `json:"activates"`         // it signs from then on
	Retires   *time.Time `json:"retires,omitempty"` // the next one signs from then on
	Ends      *time.Time `json:"ends,omitempty"`    // nothing it signed counts any more
}

// A Rotation is the body of POST /signing-keys. Now: the next key does not wait
// until others can have learned it.
type Rotation struct {
	Now bool `json:"now"`
}

// A KeySet is the public halves of the signing keys (RFC 7517 §5).
type KeySet struct {
	Keys []PublicKey `json:"keys"`
}

// A PublicKey is a JSON Web Key for ES256 (RFC 7518 §6.2.1).
type PublicKey struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// SigningKeys returns the keys that sign access tokens, in the order in which
// they do.
func (c *Client) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return list[SigningKey](ctx, c, "", "signing-keys")
}

// RotateSigningKey makes the next signing key unless it is there, and returns it.
func (c *Client) RotateSigningKey(ctx context.Context, r Rotation) (SigningKey, error) {
	return send[SigningKey](ctx, c, http.MethodPost, r, "signing-keys")
}

// RevokeSigningKey takes a signing key away at once, and ends the tokens that it
// signed.
func (c *Client) RevokeSigningKey(ctx context.Context, id string) error {
	return c.do(ctx, ask{method: http.MethodDelete, path: []string{"signing-keys", id}}, nil)
}

// KeySet returns what others verify our tokens with.
func (c *Client) KeySet(ctx context.Context) (KeySet, error) {
	return get[KeySet](ctx, c, "signing-keys", "jwks")
}
