package score

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"

	"github.com/weirdev/weir/internal/facet"
)

// DigestLen is the length of a digest: 20 characters carry 100 bits.
const DigestLen = 20

var digestText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Digest stands for an entity wherever its own key must not: the first 20
// characters of the lower-case base32 of
//
//	HMAC-SHA-256(secret, kind 0x00 tenant 0x00 key)
func Digest(secret []byte, e facet.Entity) string {
	mac := hmac.New(sha256.New, secret)
	b := make([]byte, 0, 128)
	b = append(append(b, e.Kind.String()...), 0)
	b = append(append(b, e.Tenant...), 0)
	mac.Write(append(b, e.Key...))
	var sum [sha256.Size]byte
	var text [52]byte
	digestText.Encode(text[:], mac.Sum(sum[:0]))
	return string(text[:DigestLen])
}

// Key is the Redis key of an entity: "<prefix>:<kind>:{<digest>}". The braces
// are a hash tag: a cluster places keys by the digest alone.
func Key(secret []byte, prefix string, e facet.Entity) string {
	return KeyOf(prefix, e.Kind, Digest(secret, e))
}

// KeyOf is [Key] of a digest that is already known.
func KeyOf(prefix string, k facet.Kind, digest string) string {
	return prefix + ":" + k.String() + ":{" + digest + "}"
}

func isDigest(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return len(s) == DigestLen
}
