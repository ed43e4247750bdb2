package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"sync"
	"time"
)

// session is one sign-in. Sessions are kept in memory: a restart of the console ends
// all of them.
type session struct {
	user    User
	csrf    string // in every form
	expires time.Time

	mu    sync.Mutex
	flash []note // shown once, on the next page
}

// note is the result of an action.
type note struct {
	Bad   bool
	Title string
	Text  string
}

func (s *session) say(n note) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flash) < 5 {
		s.flash = append(s.flash, n)
	}
}

func (s *session) said() []note {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.flash
	s.flash = nil
	return all
}

// Limits on what strangers can make the console keep.
const (
	mostSessions  = 1000
	mostAddresses = 10_000
	failuresKept  = time.Minute
	mostFailures  = 10 // of one address within failuresKept
)

// sessions are the sign-ins that hold, by the hash of the cookie.
type sessions struct {
	lasts time.Duration
	now   func() time.Time

	mu       sync.Mutex
	byHash   map[[sha256.Size]byte]*session
	failures map[netip.Addr][]time.Time // of signing in
}

func newSessions(lasts time.Duration, now func() time.Time) *sessions {
	return &sessions{lasts: lasts, now: now, byHash: map[[sha256.Size]byte]*session{}, failures: map[netip.Addr][]time.Time{}}
}

func randomText() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// begin signs a user in, and returns the cookie.
func (s *sessions) begin(u User) (cookie string) {
	cookie = randomText()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var oldest [sha256.Size]byte
	var first time.Time
	for hash, one := range s.byHash {
		if !now.Before(one.expires) {
			delete(s.byHash, hash)
		} else if first.IsZero() || one.expires.Before(first) {
			oldest, first = hash, one.expires
		}
	}
	if len(s.byHash) >= mostSessions {
		delete(s.byHash, oldest)
	}
	s.byHash[sha256.Sum256([]byte(cookie))] = &session{user: u, csrf: randomText(), expires: now.Add(s.lasts)}
	return cookie
}

// of returns the session of a cookie; nil if there is none.
func (s *sessions) of(cookie string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byHash[sha256.Sum256([]byte(cookie))]
	if one == nil || !s.now().Before(one.expires) {
		return nil
	}
	return one
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byHash, sha256.Sum256([]byte(cookie)))
}

// mayTry reports whether an address may try to sign in. IPv6 addresses count by
// their /64.
func (s *sessions) mayTry(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.recent(throttled(from))) < mostFailures
}

// failed counts a failure to sign in.
func (s *sessions) failed(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := throttled(from)
	if len(s.failures) >= mostAddresses {
		for k := range s.failures {
			if len(s.recent(k)) == 0 {
				delete(s.failures, k)
			}
		}
		if len(s.failures) >= mostAddresses {
			clear(s.failures) // better than to keep everybody out
		}
	}
	s.failures[key] = append(s.recent(key), s.now())
}

// recent returns the failures of an address that still count. The caller holds s.mu.
func (s *sessions) recent(key netip.Addr) []time.Time {
	all := s.failures[key]
	for len(all) > 0 && s.now().Sub(all[0]) > failuresKept {
		all = all[1:]
	}
	return all
}

func throttled(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is6() {
		p, _ := a.WithZone("").Prefix(64)
		return p.Addr()
	}
	return a
}
