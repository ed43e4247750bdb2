package route

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/weirdev/weir/event"
)

// canonicalRoutes stand for all paths whose words say the same classes, where the rest
// of the fallback would hide the words: /signup for /registrations and for
// /rpc/user.register. Of two routes with the same classes, one has an {id}, and stands
// for paths with an identifier. All classes that words can say are here.
const canonicalRoutes = `
/logout /logout/{id} /sessions/revoke /sessions/current /sessions /sessions/{id}
/login /login/{id} /auth/pin
/signup /auth/refresh /auth/token
/password/reset /users/{id}/password/reset /auth/forgot /password/change /password /users/{id}/password
/auth/code/send /auth/mfa/sms /auth/otp/sms
/signup/verify /signup/{id}/verify /email/verify /email/{id}/verify
/mfa /mfa/{id} /otp /otp/{id} /pin/verify /auth/challenge/{id}/verify
/email /users/{id}/email /email/change /users/me/email/add
/codes/redeem /codes/{id}/redeem /coupons/redeem /coupons/{id}/redeem
/refunds /orders/{id}/refund
/payments/confirm /payments/{id}/confirm /payments /payments/{id} /cards
/transfers /transfers/{id} /beneficiaries /beneficiaries/{id}
/checkout /checkout/{id} /cart /cart/{id} /export /users/{id}/export
/bootstrap /attest /devices/{id}/attest
/contacts/search /addresses /addresses/{id}
/me /users/{id}/profile /profile/change`

// classMethods are those with which words may say a class.
var classMethods = [...]string{"GET", "POST", "PUT", "PATCH", "DELETE"}

// saying is the classes of a route by its words, with each of classMethods: indexes of
// names, 0 for none.
type saying [len(classMethods)]uint8

// sayings finds out what words say, and which canonical route says the same.
type sayings struct {
	words  *Words
	names  []string // of classes, by index
	routes map[saying]string
	withID map[saying]string // those with an {id}
	all    []said            // in their order
}

// within reports whether other says all that s says.
func (s saying) within(other saying) bool {
	for i, class := range s {
		if class != 0 && class != other[i] {
			return false
		}
	}
	return true
}

// builtInSayings is made once.
var builtInSayings = sync.OnceValue(func() *sayings {
	words, err := ParseWords(BuiltInWords)
	if err != nil {
		panic(fmt.Sprintf("the built-in words of routes: %v", err))
	}
	names := append([]string{""}, words.Classes()...)
	s := &sayings{words: words, names: names, routes: map[saying]string{}, withID: map[saying]string{}}
	for _, route := range strings.Fields(canonicalRoutes) {
		m, says := s.routes, s.of(route)
		if strings.Contains(route, "{id}") {
			m = s.withID
		}
		if other := m[says]; other != "" || says == (saying{}) {
			panic(fmt.Sprintf("the canonical route %s says what %q says", route, other))
		}
		m[says] = route
		s.all = append(s.all, said{route, says})
	}
	return s
})

// of returns what the words of a route say.
func (s *sayings) of(route string) (says saying) {
	read, calls := s.words.meaning(route, false), s.words.meaning(route, true)
	if read.none && calls.none {
		return says
	}
	for i, method := range classMethods {
		m := &calls
		if method == "GET" {
			m = &read
		}
		if class := m.class(s.words, method); class != "" {
			says[i] = uint8(slices.Index(s.names, class))
		}
	}
	return says
}

// canonical returns the route that stands for a path, without prefix; "" if its words
// say no class, or those that derived says, too.
func (t *Table) canonical(path *event.Segments, derived []byte) string {
	s := builtInSayings()
	var buf [event.MaxSegments * (event.MaxLiteral + 1)]byte
	text, id, ok := s.read(buf[:0], path)
	if !ok {
		return ""
	}
	says := t.saying(s, text)
	if says == (saying{}) || says.within(t.saying(s, derived)) {
		return ""
	}
	if route := s.withID[says]; id && route != "" {
		return route
	}
	if route := s.routes[says]; route != "" {
		return route
	}
	return s.nearest(says)
}

// nearest returns the first canonical route that says as much of what is said as any.
// Procedures are called by POST alone, for example, and most routes say more.
func (s *sayings) nearest(says saying) string {
	best, most := "", 0
	for _, c := range s.all {
		n := 0
		for i, class := range says {
			if class != 0 && class == c.says[i] {
				n++
			}
		}
		if says[1] == c.says[1] { // POST is what counts
			n += len(says)
		}
		if n > most {
			best, most = c.text, n
		}
	}
	return best
}

// said is what the words of a text say.
type said struct {
	text string
	says saying
}

// saying returns what the words of a route say. It remembers frequent routes.
func (t *Table) saying(s *sayings, route []byte) saying {
	slot := &t.said[fnv32(route)%uint32(len(t.said))]
	if known := slot.Load(); known != nil && known.text == string(route) {
		return known.says
	}
	text := string(route)
	says := s.of(text)
	slot.Store(&said{text, says})
	return says
}

// read appends a path as a route: identifiers are {id}. It is not ok if the path has
// more segments than can be read. id reports whether it has an identifier.
func (s *sayings) read(text []byte, path *event.Segments) (_ []byte, id, ok bool) {
	if path.Len() > event.MaxSegments {
		return nil, false, false
	}
	for i := range path.Len() {
		segment := path.At(i)
		name, verb := segment, []byte(nil)
		if at := bytes.IndexByte(segment, ':'); at > 0 { // 4711:capture
			name, verb = segment[:at], segment[at:]
		}
		text = append(text, '/')
		if s.identifies(name) {
			text, id = append(text, "{id}"...), true
		} else {
			text = append(text, name...)
		}
		text = append(text, verb...)
	}
	return text, id, true
}

// identifies reports whether a segment is an identifier: neither like a word, nor made
// of known words, as 2fa and oauth2 are, nor a version or a name with dots.
func (s *sayings) identifies(segment []byte) bool {
	if segment == nil || IsParameter(string(segment)) && bytes.IndexByte(segment, '.') < 0 {
		return true
	}
	if wordLike(segment) || len(segment) == 1 && segment[0] >= 'a' && segment[0] <= 'z' || versionName(segment) != "" || bytes.IndexByte(segment, '.') >= 0 {
		return false
	}
	_, known := s.words.read(string(segment))
	return !known
}
