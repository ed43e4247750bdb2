package score

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// macs keeps states of HMAC-SHA-256 with one key, because creating one costs more
// than using it.
type macs struct{ pool sync.Pool }

// mac is one state. Its message is gathered in text.
type mac struct {
	hash hash.Hash
	text []byte
	sum  [sha256.Size]byte
	out  [digestRoom]byte
}

// digestBytes of a sum are enough for [DigestLen] characters.
const (
	digestBytes = 15
	digestRoom  = 24
)

func (p *macs) init(key []byte) {
	p.pool.New = func() any { return &mac{hash: hmac.New(sha256.New, key)} }
}

// get returns a state with an empty message, which the caller puts back.
func (p *macs) get() *mac {
	m := p.pool.Get().(*mac)
	m.text = m.text[:0]
	return m
}

func (p *macs) put(m *mac) { p.pool.Put(m) }

// tag returns the first [DigestLen] characters of the lower-case base32 of the
// message's code. It is valid until the state is put back.
func (m *mac) tag() []byte {
	m.hash.Reset()
	m.hash.Write(m.text)
	m.hash.Sum(m.sum[:0])
	digestText.Encode(m.out[:], m.sum[:digestBytes])
	return m.out[:DigestLen]
}
