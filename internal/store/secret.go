package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Sealer encrypts the secrets that must be read back, such as an app's
// environment, with AES-256-GCM (DESIGN 5). It is safe for concurrent use.
//
// It may know several keys: it seals with the first and opens with any, so that
// a key is rotated by putting a new one in front.
type Sealer struct {
	current string // key id
	keys    map[string]cipher.AEAD
}

// secretKeyBytes is the size of an AES-256 key.
const secretKeyBytes = 32

// OpenSealer reads the keys from setting, the value of INGRESS_SECRET_KEY, or,
// when that is empty, from the file at path, which is made with a fresh key when
// it is not there. Keys are 64 hexadecimal digits each, separated by white space
// or commas, the newest first.
func OpenSealer(path, setting string) (*Sealer, error) {
	if setting != "" {
		return newSealer("INGRESS_SECRET_KEY", setting)
	}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		content, err = createSecretKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the secret key: %w", err)
	}
	return newSealer(path, string(content))
}

func createSecretKey(path string) ([]byte, error) {
	var key [secretKeyBytes]byte
	rand.Read(key[:]) // never fails (crypto/rand)
	content := []byte(hex.EncodeToString(key[:]) + "\n")
	return content, WriteFile(path, content)
}

func newSealer(source, text string) (*Sealer, error) {
	s := &Sealer{keys: map[string]cipher.AEAD{}}
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r <= ' ' }) {
		key, err := hex.DecodeString(field)
		if err != nil || len(key) != secretKeyBytes {
			return nil, fmt.Errorf("%s: a secret key must be 64 hexadecimal digits; restore it, because without it what is encrypted cannot be read", source)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		id := keyID(key)
		if s.current == "" {
			s.current = id
		}
		s.keys[id] = aead
	}
	if s.current == "" {
		return nil, fmt.Errorf("%s: there is no secret key in it; restore it, because without it what is encrypted cannot be read", source)
	}
	return s, nil
}

// keyID names a key without giving it away.
func keyID(key []byte) string {
	sum := sha256.Sum256(append([]byte("m3o ingress secret key id\n"), key...))
	return hex.EncodeToString(sum[:4])
}

// Seal encrypts plain. The purpose, such as "app-env/" and the app's id, is
// bound to the result: it opens for the same purpose only, so that a sealed
// value moved to another row is refused.
func (s *Sealer) Seal(purpose string, plain []byte) string {
	sealed := s.keys[s.current].Seal(nil, nil, plain, []byte(purpose))
	return s.current + "." + base64.RawURLEncoding.EncodeToString(sealed)
}

// isNewest reports whether a value was sealed with the first of the keys.
func (s *Sealer) isNewest(sealed string) bool {
	id, _, _ := strings.Cut(sealed, ".")
	return id == s.current
}

// Knows reports whether values sealed with the key of this id can be opened.
func (s *Sealer) Knows(id string) bool { return s.keys[id] != nil }

// KnowsAllOf reports whether everything that another can open can be opened.
func (s *Sealer) KnowsAllOf(other *Sealer) bool {
	for id := range other.keys {
		if !s.Knows(id) {
			return false
		}
	}
	return true
}

// Open returns what Seal was given for the same purpose.
func (s *Sealer) Open(purpose, sealed string) ([]byte, error) {
	id, text, ok := strings.Cut(sealed, ".")
	if !ok {
		return nil, errors.New("open a sealed value: it is malformed")
	}
	aead, ok := s.keys[id]
	if !ok {
		return nil, fmt.Errorf("open a sealed value: it was sealed with the key %s, which is not among those given; add that key to INGRESS_SECRET_KEY or secret.key", id)
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("open a sealed value: %w", err)
	}
	plain, err := aead.Open(nil, nil, raw, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("open a sealed value: %w", err)
	}
	return plain, nil
}
