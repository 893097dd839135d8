package user

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/m3o/ingress/internal/api"
)

// PasswordCost says how much work a password hash is. The parameters are stored
// with each hash, so that they can grow; a hash made with others is renewed at
// the next login.
type PasswordCost struct {
	// Memory is in KiB.
	Memory uint32
	// Passes is how often the memory is gone over.
	Passes uint32
	// Threads work on one hash.
	Threads uint8
}

// defaultPasswordCost follows RFC 9106 and OWASP's smallest recommended setting:
// 19 MiB, two passes, one thread.
var defaultPasswordCost = PasswordCost{Memory: 19 << 10, Passes: 2, Threads: 1}

const (
	minPasswordChars = 8
	maxPasswordBytes = 1024
	saltBytes        = 16
	hashBytes        = 32

	// hashWait is how long a call waits for its turn to hash.
	hashWait = 5 * time.Second
)

// checkPassword returns the API error for a password that cannot be set.
// Characters are Unicode code points.
func checkPassword(password string) error {
	if utf8.RuneCountInString(password) < minPasswordChars {
		return api.BadRequest("users-password-check", "Password is less than %d characters", minPasswordChars)
	}
	if len(password) > maxPasswordBytes {
		return api.BadRequest("users-password-check", "Password is more than %d bytes", maxPasswordBytes)
	}
	return nil
}

// hasher makes and checks argon2id hashes, a bounded number at once: each holds
// a core and its memory. Tenants take turns.
type hasher struct {
	cost  PasswordCost
	turns *turns
	// dummy is compared with when there is no account, so that the time taken
	// does not tell.
	dummy string
}

func newHasher(cost PasswordCost, concurrency int) *hasher {
	h := &hasher{cost: cost, turns: newTurns(concurrency)}
	h.dummy = cost.hash(rand.Text())
	return h
}

// hash returns the password's hash in PHC format. It waits for its turn and
// gives up with a 503 when that takes too long.
func (h *hasher) hash(ctx context.Context, tenant, password string) (string, error) {
	if err := h.enter(ctx, tenant); err != nil {
		return "", err
	}
	defer h.turns.leave(tenant)
	return h.cost.hash(password), nil
}

// verify reports whether the password is the one hashed, and whether the hash
// should be renewed because it was made at another cost. An empty hash stands
// for "no account": it takes as long and is never right.
//
// A password that is too long to have been set is not read: composing megabytes
// of accents takes longer than hashing them.
func (h *hasher) verify(ctx context.Context, tenant, hash, password string) (ok, stale bool, err error) {
	known := hash != ""
	if len(password) > maxPasswordBytes {
		known, password = false, ""
	}
	if hash == "" {
		hash = h.dummy
	}
	parsed, err := parseHash(hash)
	if err != nil {
		return false, false, err
	}
	if err := h.enter(ctx, tenant); err != nil {
		return false, false, err
	}
	defer h.turns.leave(tenant)
	key := parsed.cost.key(password, parsed.salt, len(parsed.key))
	ok = subtle.ConstantTimeCompare(key, parsed.key) == 1 && known
	return ok, parsed.cost != h.cost, nil
}

// enter waits for a turn, but not for ever.
func (h *hasher) enter(ctx context.Context, tenant string) error {
	ctx, cancel := context.WithTimeout(ctx, hashWait)
	defer cancel()
	if err := h.turns.enter(ctx, tenant); err != nil {
		busy := api.Unavailable("user", "too many passwords are being checked; try again", err)
		busy.RetryAfter = time.Second
		return busy
	}
	return nil
}

func (c PasswordCost) hash(password string) string {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails (crypto/rand)
	return phc{c, salt, c.key(password, salt, hashBytes)}.String()
}

// key composes the password first (Unicode NFC), because keyboards differ in how
// they write the same accented letter (RFC 8265 4.2.2).
func (c PasswordCost) key(password string, salt []byte, size int) []byte {
	return argon2.IDKey(norm.NFC.Bytes([]byte(password)), salt, c.Passes, c.Memory, c.Threads, uint32(size))
}

// phc is a hash with what it was made of.
type phc struct {
	cost      PasswordCost
	salt, key []byte
}

// String writes the PHC string format, as other argon2 programs do.
func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.cost.Memory, p.cost.Passes, p.cost.Threads,
		base64.RawStdEncoding.EncodeToString(p.salt), base64.RawStdEncoding.EncodeToString(p.key))
}

// Limits on what a stored hash may ask for, so that a damaged row cannot take
// the machine's memory.
const (
	maxMemory    = 1 << 20 // KiB
	maxPasses    = 64
	maxSaltBytes = 64
	maxKeyBytes  = 64
)

// parseHash reads the PHC string format. Its errors never hold the hash.
func parseHash(text string) (phc, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, errors.New("stored password hash is not argon2id")
	}
	var p phc
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.cost.Memory, &p.cost.Passes, &p.cost.Threads); err != nil {
		return phc{}, errors.New("stored password hash has malformed parameters")
	}
	var saltErr, keyErr error
	p.salt, saltErr = base64.RawStdEncoding.DecodeString(parts[4])
	p.key, keyErr = base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || keyErr != nil || !p.sane() || p.String() != text {
		return phc{}, errors.New("stored password hash is malformed")
	}
	return p, nil
}

func (p phc) sane() bool {
	c := p.cost
	return c.Memory >= 8*uint32(c.Threads) && c.Memory <= maxMemory &&
		c.Passes >= 1 && c.Passes <= maxPasses && c.Threads >= 1 &&
		len(p.salt) >= 8 && len(p.salt) <= maxSaltBytes &&
		len(p.key) >= 16 && len(p.key) <= maxKeyBytes
}
