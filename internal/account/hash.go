package account

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// argon are the costs of one argon2id hash.
type argon struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
}

// today are the costs of a hash that we make (OWASP's minimum; about 40 ms).
var today = argon{memory: 19 * 1024, passes: 2, threads: 1}

// most are the highest costs that we accept in a stored hash. Any hash within
// them takes less than the failure floor, and one core.
var most = argon{memory: 128 * 1024, passes: 4, threads: 1}

const (
	saltSize = 16 // bytes
	sumSize  = 32 // bytes
)

// A phc is an argon2id hash:
//
//	$argon2id$v=19$m=19456,t=2,p=1$salt$sum        salt, sum: base64 without '='
type phc struct {
	argon
	salt, sum []byte
}

var errHashForm = errors.New("not a password hash we know")

// parsePHC reads s. It accepts exactly what String writes.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return phc{}, errHashForm
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return phc{}, errHashForm
	}
	memory, ok1 := cost(costs[0], "m=", most.memory)
	passes, ok2 := cost(costs[1], "t=", most.passes)
	threads, ok3 := cost(costs[2], "p=", uint32(most.threads))
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	p := phc{argon: argon{memory, passes, uint8(threads)}, salt: salt, sum: sum}
	switch {
	case !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil:
		return phc{}, errHashForm
	case memory < 8*threads, len(salt) < 8, len(salt) > 64, len(sum) < 16, len(sum) > 64:
		return phc{}, errHashForm
	case p.String() != s: // line breaks inside base64
		return phc{}, errHashForm
	}
	return p, nil
}

// cost reads "m=19456": a number from 1 to limit, written the one way.
func cost(s, name string, limit uint32) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, name)
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil && n >= 1 && n <= uint64(limit) && strconv.FormatUint(n, 10) == digits
}

func (p phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s",
		p.memory, p.passes, p.threads, b64.EncodeToString(p.salt), b64.EncodeToString(p.sum))
}

// What hashes. Tests count instead.
var (
	argonSum      = argon2.IDKey
	compareBcrypt = bcrypt.CompareHashAndPassword
)

func (a argon) sum(password string, salt []byte, size int) []byte {
	return argonSum([]byte(password), salt, a.passes, a.memory, a.threads, uint32(size))
}

// weaker reports whether a costs less than b in some way.
func (a argon) weaker(b argon) bool {
	return a.memory < b.memory || a.passes < b.passes
}

// The costs of bcrypt that we take from elsewhere: below, a hash is worthless;
// above, checking it would take longer than the failure floor.
const (
	minBcryptCost = bcrypt.MinCost // 4
	maxBcryptCost = 12
)

// maxBcryptPassword is where bcrypt stops reading a password, in bytes.
const maxBcryptPassword = 72

// bcryptCost returns the cost of a bcrypt hash
//
//	$2y$10$ 22 characters of salt, 31 of sum
//
// and whether s is one with a variant and a cost that we accept.
func bcryptCost(s string) (int, bool) {
	if len(s) != 60 || s[0] != '$' || s[1] != '2' || !strings.ContainsRune("aby", rune(s[2])) || s[3] != '$' || s[6] != '$' {
		return 0, false
	}
	for _, c := range s[7:] {
		if c != '.' && c != '/' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s[4:6], 10, 8) // takes no sign
	return int(n), err == nil && int(n) >= minBcryptCost && int(n) <= maxBcryptCost
}

// A kind is a way to hash and its costs: what it takes to check a hash.
type kind struct {
	argon
	bcrypt int // the cost; 0: argon2id
}

// kindOf returns the kind of a stored hash, and whether it is one that we know.
func kindOf(stored string) (kind, bool) {
	if cost, ok := bcryptCost(stored); ok {
		return kind{bcrypt: cost}, true
	}
	p, err := parsePHC(stored)
	return kind{argon: p.argon}, err == nil
}

// checkHash reports whether password belongs to the stored hash, and whether
// the hash is weaker than one that we would make today. It computes exactly one
// hash, whatever comes: one of the kind decoy where none is stored.
func (h *hasher) checkHash(stored, password string, decoy kind) (ok, weak bool) {
	h.count.Add(1)
	if p, err := parsePHC(stored); err == nil {
		sum := p.argon.sum(password, p.salt, len(p.sum))
		return subtle.ConstantTimeCompare(sum, p.sum) == 1, p.weaker(today) || len(p.salt) < saltSize || len(p.sum) < sumSize
	}
	if _, known := bcryptCost(stored); known {
		same := compareBcrypt([]byte(stored), []byte(password)) == nil
		// bcrypt ignores what follows the 72nd byte, and repeats a short password
		// with NULs between: neither may prove anything.
		return same && len(password) <= maxBcryptPassword && !strings.Contains(password, "\x00"), true
	}
	if decoy.bcrypt > 0 {
		nobody := fmt.Sprintf("$2a$%02d$%s", decoy.bcrypt, strings.Repeat(".", 53))
		_ = compareBcrypt([]byte(nobody), []byte(password))
	} else {
		decoy.sum(password, make([]byte, saltSize), sumSize)
	}
	return false, false
}

// makeHash hashes password with salt as we do today.
func (h *hasher) makeHash(password string, salt []byte) string {
	h.count.Add(1)
	return phc{argon: today, salt: salt, sum: today.sum(password, salt, sumSize)}.String()
}
