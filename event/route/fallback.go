package route

import (
	"bytes"
	"strings"

	"github.com/weirdev/weir/event"
)

// MaxFallbacks bounds the number of different routes that [Table.Route] gives to
// paths that match no template.
const MaxFallbacks = 1 << 18

// fallback derives a route from
//
//	prefix   /api, a version, both or neither; before it, /{locale} for a language,
//	         or /{app} for a word that says whom an app is for
//	remote   /rpc/ and a method, if it is a remote procedure that many APIs have
//	usual    all the rest, if it is a route that many APIs have; otherwise
//	head     the first segment: a word of the vocabulary as it is; another word
//	         as one of 256 names, ~00 to ~ff, by its hash; anything else as {id}
//	follower a word that the vocabulary has after this head: the next segment,
//	         or the one after an {id}
//	tail     nothing, /{id} for one more segment, /{id}/… for several
//
// Where that hides words of the path that say a class, the canonical route of that
// class stands behind the prefix instead. So a path has the class that it would have
// as a route.
//
// Only usual and canonical routes, the vocabulary and the 256 names ever appear in a
// route, and at most two of the latter, which bounds the number. Nothing is learned from
// traffic, because every reader of the log must derive the same routes.
func (t *Table) fallback(s *event.Segments) string {
	var buf [4 * event.MaxLiteral]byte
	b, at := appendRoutePrefix(buf[:0], s)
	if at == s.Len() {
		if at == 0 {
			return "/"
		}
		return t.interned(b)
	}
	prefix := len(b)
	b, whole := appendDerived(b, s, at)
	if !whole {
		if route := t.canonical(s, b); route != "" {
			b = append(b[:prefix], route...)
		}
	}
	return t.interned(b)
}

// appendDerived appends what is derived from the segments behind the prefix. It is the
// whole path if no segment is hidden.
func appendDerived(b []byte, s *event.Segments, at int) (_ []byte, whole bool) {
	if procedure := procedureName(s, at); procedure != "" {
		return append(append(b, "/rpc/"...), procedure...), false // its service may say more
	}
	if route := usual().match(s, at, ""); route != "" {
		return append(b, route...), !strings.Contains(route, "{id}")
	}
	begin := at
	b, word := appendHead(append(b, '/'), s, at)
	at++
	b, at = appendFollower(b, s, at, word)
	switch left := s.Len() - at; {
	case left == 1:
		b = append(b, "/{id}"...)
	case left > 1:
		b = append(b, "/{id}/…"...)
	}
	return b, word != nil && at == s.Len() && at-begin <= 2
}

// appendRoutePrefix appends a language or an app, /api and a version, and returns the
// number of segments used.
func appendRoutePrefix(b []byte, s *event.Segments) ([]byte, int) {
	at, behind := 0, s.Len() > 1 && (string(s.At(1)) == "api" || versionName(s.At(1)) != "")
	switch {
	case s.Len() == 0:
	case IsLanguage(s.At(0)) && (behind || len(s.At(0)) > 2) && vocabulary()[string(s.At(0))] == nil: // not me
		b = append(b, "/{locale}"...)
		at++
	case behind && apps()[string(s.At(0))]:
		b = append(b, "/{app}"...)
		at++
	}
	if at < s.Len() && string(s.At(at)) == "api" {
		b = append(b, "/api"...)
		at++
	}
	if at < s.Len() {
		if v := versionName(s.At(at)); v != "" {
			b = append(append(b, '/'), v...)
			at++
		}
	}
	return b, at
}

// IsLanguage reports whether a segment is a language, with or without a country: de,
// pt-BR, zh_cn.
func IsLanguage[T ~string | ~[]byte](segment T) bool {
	for i := range len(segment) {
		c := segment[i] | 0x20
		if letter := c >= 'a' && c <= 'z'; !letter && (i != 2 || segment[i] != '-' && segment[i] != '_') {
			return false
		}
	}
	return len(segment) == 2 || len(segment) == 5 && (segment[2] == '-' || segment[2] == '_')
}

// procedureName returns the method of a remote procedure if it is one that many APIs
// have: sendmoney of /rpc/wallet.sendmoney and of /shop.v1.wallet/sendmoney.
func procedureName(s *event.Segments, at int) string {
	if left := s.Len() - at; left < 2 || left > 3 || s.Len() > event.MaxSegments {
		return ""
	}
	head, last := s.At(at), s.At(s.Len()-1)
	if !rpcHeads()[string(head)] && bytes.IndexByte(head, '.') <= 0 {
		return ""
	}
	return procedures()[string(last[bytes.LastIndexByte(last, '.')+1:])]
}

// versionName distinguishes the usual versions, and joins all others.
func versionName(seg []byte) string {
	if len(seg) < 2 || len(seg) > 10 || seg[0] != 'v' || seg[1] < '0' || seg[1] > '9' {
		return ""
	}
	switch string(seg) {
	case "v1":
		return "v1"
	case "v2":
		return "v2"
	case "v3":
		return "v3"
	}
	return "v{n}"
}

func appendHead(b []byte, s *event.Segments, at int) ([]byte, *word) {
	seg := s.At(at)
	if w := vocabulary()[string(seg)]; w != nil {
		return append(b, w.text...), w
	}
	if !wordLike(seg) {
		return append(b, "{id}"...), nil
	}
	const hex = "0123456789abcdef"
	h := fnv32(seg)
	h ^= h >> 16
	h ^= h >> 8
	return append(b, '~', hex[h>>4&15], hex[h&15]), nil
}

// wordLike distinguishes names from identifiers: 2 to 24 letters with - and _
// between them, and not only hexadecimal digits.
func wordLike(seg []byte) bool {
	if len(seg) < 2 || len(seg) > 24 || seg[0] < 'a' || seg[0] > 'z' {
		return false
	}
	hexOnly := true
	for _, c := range seg {
		letter := c >= 'a' && c <= 'z'
		if !letter && c != '-' && c != '_' {
			return false
		}
		hexOnly = hexOnly && c <= 'f' && c != '_'
	}
	return !hexOnly || len(seg) < 8
}

func appendFollower(b []byte, s *event.Segments, at int, head *word) ([]byte, int) {
	if head == nil {
		return b, at
	}
	for skip := range 2 {
		if at+skip >= min(s.Len(), event.MaxSegments) {
			break
		}
		follower := head.followers[string(s.At(at+skip))]
		if follower == "" {
			continue
		}
		if skip == 1 {
			b = append(b, "/{id}"...)
		}
		return append(append(b, '/'), follower...), at + skip + 1
	}
	return b, at
}

func (t *Table) interned(b []byte) string {
	slot := &t.fallbacks[fnv32(b)%uint32(len(t.fallbacks))]
	if p := slot.Load(); p != nil && *p == string(b) {
		return *p
	}
	route := string(b)
	slot.Store(&route)
	return route
}

// fnv32 is FNV-1a. Names of routes depend on it: it must not change.
func fnv32(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
