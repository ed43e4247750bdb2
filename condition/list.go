package condition

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"

	"github.com/weirdev/weir/event"
)

// ListKind is the kind of a list's items.
type ListKind uint8

const (
	Networks  ListKind = iota + 1 // CIDR prefixes and addresses, IPv4 and IPv6
	ASNs                          // autonomous system numbers
	Countries                     // ISO 3166-1 alpha-2
	JA4s                          // fingerprints of TLS clients
	Texts                         // anything
)

var listKinds = [...]string{Networks: "network", ASNs: "asn", Countries: "country", JA4s: "ja4", Texts: "text"}

func (k ListKind) String() string { return listKinds[k] }

// ListKinds names the kinds.
func ListKinds() []string { return listKinds[Networks:] }

// ParseListKind finds a kind by its name.
func ParseListKind(name string) (ListKind, bool) {
	i := slices.Index(listKinds[:], name)
	return ListKind(max(i, 0)), i > 0
}

// Item is one entry of a list.
type Item struct {
	Value   string
	Expires int64 // event time from which on it is not in the list, Unix ms; 0: it stays
}

// ItemFault is the error of one entry.
type ItemFault struct {
	Item     int // its place
	What, Do string
}

// List is a set of values that conditions use by name. It never changes. The time
// of the event decides whether an entry has expired, so the answer does not depend
// on when it is asked.
type List struct {
	Name string
	Kind ListKind

	texts    map[string]int64 // until when, Unix ms
	nums     map[int64]int64
	networks networks

	expires bool         // some entry does
	longest netip.Prefix // the IPv6 prefix that is the longest; zero where there is none
	digest  string       // names the content
}

// forever is the expiry of entries without one.
const forever = math.MaxInt64

// NewList creates a list. If entries are wrong or duplicate, the list is nil.
func NewList(name string, kind ListKind, items []Item) (*List, []ItemFault) {
	l := &List{Name: name, Kind: kind, texts: map[string]int64{}, nums: map[int64]int64{}}
	var faults []ItemFault
	var prefixes []span
	var content []string
	first := map[string]int{}
	for i, it := range items {
		key, what, do := l.read(it.Value)
		if what == "" {
			if n, taken := first[key]; taken {
				what, do = fmt.Sprintf("%s stands twice", it.Value), fmt.Sprintf("remove one of the two; the first is number %d of the list", n+1)
			}
		}
		if what != "" {
			faults = append(faults, ItemFault{i, what, do})
			continue
		}
		first[key] = i
		until := int64(forever)
		if it.Expires > 0 {
			until, l.expires = it.Expires, true
		}
		switch kind {
		case Networks:
			prefixes = append(prefixes, spanOf(netip.MustParsePrefix(key), until))
		case ASNs:
			n, _ := strconv.ParseInt(key, 10, 64)
			l.nums[n] = until
		default:
			l.texts[key] = until
		}
		content = append(content, strconv.Quote(key)+" "+strconv.FormatInt(until, 10))
	}
	if len(faults) > 0 {
		return nil, faults
	}
	l.networks = newNetworks(prefixes)
	slices.Sort(content)
	sum := sha256.Sum256([]byte(strings.Join(content, "\n")))
	l.digest = hex.EncodeToString(sum[:8])
	return l, nil
}

var (
	countryPattern = regexp.MustCompile(`^[A-Z]{2}$`)
	ja4Pattern     = regexp.MustCompile(`^[tqd](?:[0-9]{2}|[sd][1-3])[di][0-9]{4}[0-9A-Za-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}$`)
)

const maxItemBytes = 1024

// read returns the normal form of an entry, or describes its error.
func (l *List) read(v string) (key, what, do string) {
	switch l.Kind {
	case Networks:
		p, what, do := readNetwork(v)
		if what == "" && p.Addr().Is6() && (!l.longest.IsValid() || p.Bits() > l.longest.Bits()) {
			l.longest = p
		}
		return p.String(), what, do
	case ASNs:
		n, err := strconv.ParseUint(strings.TrimPrefix(v, "AS"), 10, 32)
		if err != nil || n == 0 {
			return "", fmt.Sprintf("%q is no number of an autonomous system", v), "write it like 64500 or AS64500"
		}
		return strconv.FormatUint(n, 10), "", ""
	case Countries:
		if !countryPattern.MatchString(v) {
			return "", fmt.Sprintf("%q is no country", v), "write its two letters of ISO 3166-1, in capitals"
		}
	case JA4s:
		if !ja4Pattern.MatchString(v) {
			return "", fmt.Sprintf("%q is no JA4 fingerprint", v), "write it whole, like t13d1516h2_8daaf6152771_e5627efa2ab1"
		}
	default:
		if v == "" || len(v) > maxItemBytes || !utf8.ValidString(v) {
			return "", "this is no text of 1 to 1024 bytes", "write one, or remove the entry: an absent value is in no list"
		}
	}
	return v, "", ""
}

// readNetwork reads a prefix, or an address as a prefix with only that address.
// IPv4 that is written as IPv6 becomes IPv4, as in the addresses of events.
func readNetwork(v string) (p netip.Prefix, what, do string) {
	const like = "write it like 203.0.113.0/24, 203.0.113.7 or 2001:db8::/32"
	if a, err := netip.ParseAddr(v); err == nil && a.Zone() == "" {
		a = event.Canonical(a)
		return netip.PrefixFrom(a, a.BitLen()), "", ""
	}
	p, err := netip.ParsePrefix(v)
	switch {
	case err != nil:
		return p, fmt.Sprintf("%q is no network", v), like
	case p.Addr().Is4In6() && p.Bits() >= 96:
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	case p.Addr().Is4In6():
		return p, fmt.Sprintf("%q is neither IPv4 nor IPv6", v), like
	}
	if p.Masked() != p {
		return p, fmt.Sprintf("%s names an address inside the network", v), "write the network, " + p.Masked().String() + ", or the address alone"
	}
	return p, "", ""
}

// cel returns the type of the list in conditions.
func (l *List) cel() *cel.Type {
	if l.Kind == ASNs {
		return cel.ListType(cel.IntType)
	}
	return cel.ListType(cel.StringType)
}

// hasText looks up a text; it allocates nothing.
func (l *List) hasText(v string, now int64) bool {
	if l.Kind == Networks {
		return l.networks.has(v, now)
	}
	return now < l.texts[v]
}

// member tests whether x is in the list.
func (l *List) member(x *expr) Predicate {
	switch {
	case x.sort == Number:
		v, nums := numbers(x), l.nums
		return func(e *event.Event) bool { return e.Num(event.Time) < nums[v(e)] }
	default:
		v := texts(x)
		return func(e *event.Event) bool { return l.hasText(v(e), e.Num(event.Time)) }
	}
}

// networks holds the addresses of prefixes, as ascending ranges that do not
// overlap: of IPv4 and of IPv6.
type networks struct{ v4, v6 []addresses }

// addresses is a range of addresses as numbers, both ends included.
type addresses struct {
	from, to number128
	until    int64
}

type number128 struct{ high, low uint64 }

func numberOfAddress(a netip.Addr) number128 {
	b := a.As16()
	return number128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n number128) less(m number128) bool {
	return n.high < m.high || n.high == m.high && n.low < m.low
}

// span is a range of addresses, both ends included, with an expiry.
type span struct {
	from, to netip.Addr
	until    int64
}

func spanOf(p netip.Prefix, until int64) span {
	from := p.Addr()
	if from.Is4() {
		b := from.As4()
		for i := p.Bits(); i < 32; i++ {
			b[i/8] |= 0x80 >> (i % 8)
		}
		return span{from, netip.AddrFrom4(b), until}
	}
	b := from.As16()
	for i := p.Bits(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return span{from, netip.AddrFrom16(b), until}
}

func newNetworks(prefixes []span) (n networks) {
	for _, s := range flat(prefixes) {
		of := &n.v6
		if s.from.Is4() {
			of = &n.v4
		}
		*of = append(*of, addresses{numberOfAddress(s.from), numberOfAddress(s.to), s.until})
	}
	return n
}

// flat cuts prefixes, of which any two are disjoint or nested, into ranges. If
// several contain an address, the one with the latest expiry counts.
func flat(prefixes []span) []span {
	slices.SortFunc(prefixes, func(a, b span) int {
		return cmp.Or(a.from.Compare(b.from), b.to.Compare(a.to))
	})
	var all []span
	var open []span       // prefixes around the cursor, the widest first
	var cursor netip.Addr // what lies before is cut; invalid behind the last address
	cut := func(to netip.Addr, until int64) {
		if cursor.IsValid() && cursor.Compare(to) <= 0 {
			all = append(all, span{cursor, to, until})
			cursor = to.Next()
		}
	}
	shut := func() {
		top := open[len(open)-1]
		open = open[:len(open)-1]
		cut(top.to, top.until)
	}
	for _, p := range prefixes {
		for len(open) > 0 && open[len(open)-1].to.Less(p.from) {
			shut()
		}
		if n := len(open); n > 0 {
			if cursor.IsValid() && cursor.Less(p.from) {
				cut(p.from.Prev(), open[n-1].until)
			}
			p.until = max(p.until, open[n-1].until)
		}
		cursor = p.from
		open = append(open, p)
	}
	for len(open) > 0 {
		shut()
	}
	return all
}

// has reports whether an address, or the /64 that stands for one, is in an
// unexpired range.
func (n *networks) has(v string, now int64) bool {
	v, _, _ = strings.Cut(v, "/")
	a, ok := event.ParseAddress(v)
	if !ok {
		return false
	}
	ranges := n.v6
	if a.Is4() {
		ranges = n.v4
	}
	x := numberOfAddress(a)
	low, high := 0, len(ranges) // the range that begins last at or before x is before high
	for low < high {
		mid := int(uint(low+high) / 2)
		if x.less(ranges[mid].from) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low > 0 && !ranges[low-1].to.less(x) && now < ranges[low-1].until
}
