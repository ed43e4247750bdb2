package route

import (
	"strings"
	"sync"

	"github.com/weirdev/weir/event"
)

var (
	// formParams say in which form an answer is wanted, or where the API begins.
	formParams = sync.OnceValue(func() map[string]bool {
		return wordsOf("locale lang language version apiversion api_version app platform tenant region country currency")
	})

	// assetDirs and assetTypes are of files that pages and apps load by themselves.
	assetDirs = sync.OnceValue(func() map[string]bool {
		return wordsOf("static assets images img css js fonts icons tiles thumbs thumbnails avatars emoji emojis sprites")
	})
	assetTypes = sync.OnceValue(func() map[string]bool {
		return wordsOf("js css map ico svg woff woff2 ttf m4s ts png jpg jpeg gif webp avif")
	})

	// owners stand for the account that is signed in.
	owners = sync.OnceValue(func() map[string]bool { return wordsOf("me self current") })
)

const longestListed = 12

// Object returns the object that a request is about: the segment of its path, as the
// client wrote it, at the last parameter of its route, and the kind of the object, which
// is the literal before that parameter. Without an object, both are "". kind is "" too if
// that literal is no name, but /api, a version or one of the fallback's 256 names.
//
// It works for templates, for the fallback, and for routes that a gateway names, if path
// has the form that they describe. Of the fallback's {id}/… it takes the first segment,
// unless that is a word: it is part of a name then. A locale, a version and the like are
// no objects, nor are files that pages load, nor "me".
//
// id aliases path, kind aliases route.
func Object(route, path string) (id, kind string) {
	if !strings.Contains(route, "{") {
		return "", ""
	}
	var s event.RawSegments
	if !s.Read(path) {
		return "", ""
	}
	rest, before, at, open := strings.Trim(route, "/"), "", 0, false
	for rest != "" && !open {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		tail := rest == "…"
		switch {
		case part == "*" && rest == "":
			open = true
			continue
		case at >= min(s.Len(), event.MaxSegments):
			return "", ""
		case isParam(part):
			if raw := s.At(at); !listed(formParams(), part[1:len(part)-1]) && !isObjectless(raw, before) && !(tail && nameLike(raw)) {
				id, kind = raw, before
			}
		case !sameSegment(part, s.At(at)):
			return "", ""
		default:
			before = part
		}
		at++
		open = tail
	}
	if at != s.Len() && !open {
		return "", ""
	}
	if kind == "api" || isPlaceholder(kind) {
		kind = ""
	}
	return id, kind
}

// isObjectless reports whether a segment behind the literal before is a file that pages
// load, or a name for the owner.
func isObjectless(raw, before string) bool {
	dot := strings.LastIndexByte(raw, '.')
	return listed(owners(), raw) || listed(assetDirs(), before) || dot > 0 && listed(assetTypes(), raw[dot+1:])
}

// isPlaceholder reports whether a literal of a route stands for several segments of
// paths, or is a version.
func isPlaceholder(part string) bool {
	return strings.HasPrefix(part, "~") || len(part) > 1 && len(part) <= 10 && part[0] == 'v' && (part[1] >= '0' && part[1] <= '9' || part[1] == '{')
}

// sameSegment compares a literal of a route with a segment of a path, as [Table.Route]
// does: without case, and with escapes of unreserved bytes decoded.
func sameSegment(part, raw string) bool {
	if part == raw || isPlaceholder(part) {
		return true
	}
	for part != "" && raw != "" {
		a, n := event.PathByte(part)
		b, m := event.PathByte(raw)
		if lower(a) != lower(b) {
			return false
		}
		part, raw = part[n:], raw[m:]
	}
	return part == raw
}

// nameLike is [wordLike] for a segment as the client wrote it.
func nameLike(raw string) bool {
	var buf [event.MaxLiteral]byte
	b := buf[:0]
	for raw != "" && len(b) < len(buf) {
		c, n := event.PathByte(raw)
		b = append(b, lower(c))
		raw = raw[n:]
	}
	return wordLike(b)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// listed reports whether word, in any case, is in words.
func listed(words map[string]bool, word string) bool {
	var buf [longestListed]byte
	if len(word) > len(buf) {
		return false
	}
	for i := range len(word) {
		buf[i] = lower(word[i])
	}
	return words[string(buf[:len(word)])]
}
