package score

import (
	"bytes"
	"encoding/base32"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/secret"
)

// DigestLen is the length of a digest: 20 characters carry 100 bits.
const DigestLen = 20

var digestText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Codec makes the keys under which the scores of a stream are stored, writes their
// values and reads them back. A value carries a code that only holders of the
// secret can make, and only for its own key. A value that was written by anybody
// else, or copied from another key, is not read as a score.
//
// Its methods may be called from several goroutines.
type Codec struct {
	prefix string
	names  macs // of entities
	codes  macs // of values
}

// NewCodec creates the codec of a stream from its secret and the prefix of its
// keys, which contains no zero byte.
func NewCodec(of []byte, prefix string) *Codec {
	c := &Codec{prefix: prefix}
	c.names.init(bytes.Clone(of))
	c.codes.init(secret.Key(of, secret.ScoreCode))
	return c
}

// Digest replaces an entity's key where that must not be visible: the first 20
// characters of the lower-case base32 of
//
//	HMAC-SHA-256(secret, kind 0x00 tenant 0x00 key)
func (c *Codec) Digest(e facet.Entity) string {
	m := c.names.get()
	defer c.names.put(m)
	m.text = append(append(m.text, e.Kind.String()...), 0)
	m.text = append(append(m.text, e.Tenant...), 0)
	m.text = append(m.text, e.Key...)
	return string(m.tag())
}

// Key returns the Redis key of an entity: "<prefix>:<kind>:{<digest>}". The braces
// are a hash tag: a cluster places keys by the digest alone.
func (c *Codec) Key(e facet.Entity) string { return c.KeyOf(e.Kind, c.Digest(e)) }

// KeyOf is [Codec.Key] for a known digest.
func (c *Codec) KeyOf(k facet.Kind, digest string) string {
	return c.prefix + ":" + k.String() + ":{" + digest + "}"
}

// isKeyOf reports whether key belongs to a kind and a digest.
func (c *Codec) isKeyOf(key string, k facet.Kind, digest string) bool {
	rest, ok := strings.CutPrefix(key, c.prefix+":")
	if !ok {
		return false
	}
	name, rest, ok := strings.Cut(rest, ":{")
	return ok && name == k.String() && rest == digest+"}"
}

func isDigest(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return len(s) == DigestLen
}
