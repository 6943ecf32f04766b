//go:build unix && !darwin

package keychain

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/godbus/dbus/v5"
)

// algorithm is the encrypted one of the two that the Secret Service API has.
// The other sends secrets over the bus as they are, and is not used.
const algorithm = "dh-ietf1024-sha256-aes128-cbc-pkcs7"

// group is the Second Oakley Group (RFC 2409, 6.2), which the API prescribes;
// its generator is 2.
var group, _ = new(big.Int).SetString("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD1"+
	"29024E088A67CC74020BBEA63B139B22514A08798E3404DD"+
	"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245"+
	"E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"+
	"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381"+
	"FFFFFFFFFFFFFFFF", 16)

const groupSize = 128 // bytes

// An exchange is our half of the key agreement.
type exchange struct{ private *big.Int }

func newExchange() (exchange, error) {
	private, err := rand.Int(rand.Reader, group)
	return exchange{private}, err
}

func (x exchange) public() []byte {
	return new(big.Int).Exp(big.NewInt(2), x.private, group).Bytes()
}

// agree makes the key of the session: HKDF with SHA-256, without salt and info,
// of the shared number in its full width.
func (x exchange) agree(theirs []byte) (sessionCipher, error) {
	public := new(big.Int).SetBytes(theirs)
	if public.Cmp(big.NewInt(1)) <= 0 || public.Cmp(new(big.Int).Sub(group, big.NewInt(1))) >= 0 {
		return sessionCipher{}, errors.New("the keychain's public key is not of the group")
	}
	shared := new(big.Int).Exp(public, x.private, group).FillBytes(make([]byte, groupSize))
	key, err := hkdf.Key(sha256.New, shared, nil, "", aes.BlockSize)
	if err != nil {
		return sessionCipher{}, err
	}
	block, err := aes.NewCipher(key)
	return sessionCipher{block}, err
}

// A sessionCipher seals what goes over the bus: AES-128-CBC with PKCS #7.
type sessionCipher struct{ block cipher.Block }

// sealed is the type Secret of the API: (oayays).
type sealed struct {
	Session     dbus.ObjectPath
	IV          []byte
	Value       []byte
	ContentType string
}

func (s sessionCipher) seal(session dbus.ObjectPath, secret string) (sealed, error) {
	iv := make([]byte, aes.BlockSize)
	if _, err := rand.Read(iv); err != nil {
		return sealed{}, err
	}
	pad := aes.BlockSize - len(secret)%aes.BlockSize
	text := append([]byte(secret), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(s.block, iv).CryptBlocks(text, text)
	return sealed{Session: session, IV: iv, Value: text, ContentType: "text/plain; charset=utf8"}, nil
}

func (s sessionCipher) open(in sealed) (string, error) {
	damaged := fmt.Errorf("the keychain answers with a secret that cannot be read")
	if len(in.IV) != aes.BlockSize || len(in.Value) == 0 || len(in.Value)%aes.BlockSize != 0 {
		return "", damaged
	}
	text := bytes.Clone(in.Value)
	cipher.NewCBCDecrypter(s.block, in.IV).CryptBlocks(text, text)
	pad := int(text[len(text)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.HasSuffix(text, bytes.Repeat([]byte{byte(pad)}, pad)) {
		return "", damaged
	}
	return string(text[:len(text)-pad]), nil
}
