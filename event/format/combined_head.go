package format

import (
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/ascii"
)

// combinedHead is the part before the time:
//
//	[virtual-host] address ident user
//	[virtual-host] client, proxy, …, address ident user
//	[virtual-host] client, proxy, … address ident user      (the list in quotes or not)
//	address virtual-host user                               (lighttpd)
//	address - [list] - user                                 (ingress-nginx until 0.25, GKE)
//
// It is read from the left, because only the user is a client's text, which may
// contain blanks and brackets, and the user comes last. A head that fits none of
// these is refused: after a wrong guess, one client's requests would count against
// another, or against nobody.
type combinedHead struct {
	vhost bool   // there is a virtual host
	chain string // the list, without the address
	peer  string // "" where a host name was logged instead of the address
	inner string // the list in brackets
	user  string
}

// read stores the head's fields in e.
func (h *combinedHead) read(s string, u *unescaper, e *event.Event) bool {
	*h = combinedHead{}
	rest, ok := h.origin(strings.TrimRight(s, " "), u, e)
	if !ok || !h.names(rest) {
		return false
	}
	putText(e, event.IP, h.peer)
	putText(e, event.ForwardedFor, u.unescape(h.chain))
	if h.user != `""` { // how Apache writes an empty name
		putText(e, event.RemoteUser, u.unescape(h.user))
	}
	return true
}

// origin reads the virtual host, the list and the address.
func (h *combinedHead) origin(s string, u *unescaper, e *event.Event) (rest string, ok bool) {
	first, after := word(s)
	second, names := word(after)
	switch {
	case startsChain(first) && !(isPeer(second) && mayBeHost(first)):
		return h.list(s)
	case isPeer(first) && second != "-" && names != "" && strings.IndexByte(names, ' ') < 0:
		// In three words, the second is lighttpd's host, which is the client's, or
		// an ident.
		if h.peer = first; strings.ContainsAny(second, ".:") && isHostName(second) {
			putHost(e, second)
		}
		return after, true
	case startsChain(second) || isPeer(second):
		if isPeer(first) && names == "" {
			return "", false
		}
		h.vhost = first != "-" // which is an empty list
		putHost(e, u.unescape(first))
		if startsChain(second) {
			return h.list(after)
		}
		h.peer = second
		return names, !isPeer(first) || strings.HasPrefix(names, "- ")
	case isPeer(first):
		h.peer = first
		return after, true
	}
	return after, h.unnamed(first, after, e)
}

// unnamed reads the lines of Apache with host name look-ups: they have no address.
// A virtual host may come first, if it has a port.
func (h *combinedHead) unnamed(first, after string, e *event.Event) bool {
	if !isHostName(first) {
		return false
	}
	ident, user := word(after)
	if strings.Contains(first, ":") {
		h.vhost = true
		putHost(e, first)
		_, names := word(after)
		h.user = names
		return isHostName(ident) && ident != "-" && !strings.Contains(ident, ":") && strings.HasPrefix(names, "- ")
	}
	first, _ = word(user)
	return ident == "-" && user != "" && !isPeer(first)
}

// startsChain reports whether a list of addresses begins with w, the word before
// the first blank.
func startsChain(w string) bool {
	return strings.IndexByte(w, ',') >= 0 || strings.HasPrefix(w, `"`) && w != `""`
}

// mayBeHost reports whether w, which has a comma, may be a host named by a client,
// as nginx accepts it: a list would contain blanks. If it were read as a list, a
// client could choose its address.
func mayBeHost(w string) bool {
	return !strings.HasSuffix(w, ",") && !strings.HasPrefix(w, `"`)
}

// list reads addresses that are separated by commas, and the address after them. If
// there is none, the last one in the list is it: such logs contain what the proxy
// passes on, client first, the proxy's own peer last.
func (h *combinedHead) list(s string) (rest string, ok bool) {
	if s[0] == '"' {
		h.chain, rest, ok = inQuotes(s)
		h.peer, rest = word(strings.TrimLeft(rest, " "))
		return rest, ok && isPeer(h.peer)
	}
	end, rest := listEnd(s)
	h.chain = s[:end]
	if next, after := word(rest); isPeer(next) {
		h.peer = next
		return after, true
	}
	i := strings.LastIndexByte(h.chain, ',')
	h.peer, h.chain = strings.TrimLeft(h.chain[i+1:], " "), h.chain[:max(i, 0)]
	if !isPeer(h.peer) {
		h.peer = ""
	}
	return rest, true
}

// listEnd returns where a list ends, without a trailing comma, and the text after
// it.
func listEnd(s string) (end int, rest string) {
	rest = s
	for {
		w, after := word(rest)
		if w == "-" { // the ident: the list ended in a comma
			return end, rest
		}
		end, rest = len(s)-len(rest)+len(strings.TrimSuffix(w, ",")), after
		if !strings.HasSuffix(w, ",") || after == "" {
			return end, rest
		}
	}
}

// names reads ident, which is not kept, and user.
func (h *combinedHead) names(s string) bool {
	if h.user != "" { // together with an unnamed host
		s = h.user
	}
	ident, user := word(s)
	h.user = user
	if strings.HasPrefix(user, "- ") { // another column: what the user is, nobody can tell
		h.user = ""
		return ident == "-"
	}
	if strings.HasPrefix(user, "[") {
		if list, after, ok := strings.Cut(user[1:], "] - "); ok && isChain(list) {
			h.inner, h.user = list, after
		}
	}
	return true
}

// isPeer reports whether w names the other end of a socket.
func isPeer(w string) bool {
	if strings.HasPrefix(w, "unix:") {
		return true
	}
	_, ok := event.ParseAddress(w)
	return ok
}

// isChain reports whether s is a list of addresses and nothing else.
func isChain(s string) bool {
	for {
		element, rest, more := strings.Cut(s, ",")
		if _, ok := event.ParseAddress(element); !ok {
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
}

// isHostName reports whether w may be a host's name, or an address, with or
// without a port.
func isHostName(w string) bool {
	for i := range len(w) {
		c := w[i]
		if !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-._:*[]", c) >= 0 || c >= 0x80) {
			return false
		}
	}
	return w != "" && !strings.HasSuffix(w, ":")
}

// putHost stores a virtual host without its port. "_" is nginx's name for the
// server without a name.
func putHost(e *event.Event, w string) {
	if w == "_" || w == "" {
		return
	}
	if host, port, ok := cutLast(w, ':'); ok && ascii.IsPort(port) && (!strings.Contains(host, ":") || host[0] == '[') {
		w = host
	}
	putText(e, event.Host, w)
}
