// Package secret reads secrets and passwords from settings or files, and derives
// keys for single purposes from one secret, so that no key reveals anything about
// another or about the secret.
package secret

import (
	"crypto/hmac"
	"crypto/sha256"
)

// Purposes of keys. A purpose must never change, or everything that was made with
// its key is lost.
const (
	EntityHash     = "entity hash"             // places entities on facet partitions and in tables
	EntityHashName = "name of the entity hash" // tells streams with other secrets apart
	Shares         = "shares"                  // picks the entities in the share of a policy
	Switches       = "switches"                // vouches for switches, blocks and releases
	ScoreCode      = "score code"              // vouches for scores in Redis; docs/redis.md names it
)

// Key derives the 32 bytes of the key for a purpose:
//
//	HMAC-SHA-256(secret, "weir " purpose)
func Key(secret []byte, purpose string) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("weir " + purpose))
	return m.Sum(nil)
}
