package detectors

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// IDEnumeration holds the parameters of the id enumeration detector, which looks at
// the objects that an entity requests: their number, the order of their ids, and the
// success of the requests.
type IDEnumeration struct {
	Of       event.Field      // field that holds the objects' ids
	By       []event.Field    // fields that name the kind of an object; the first one present counts
	Window   time.Duration    // an object is forgotten this long after its last request
	Refused  *rules.Condition // events whose object was refused; nil: status 403 and 404
	Foreign  *rules.Condition // events whose object belongs to somebody else; nil: none
	Step     int64            // two ids no further apart than this are consecutive
	Exact    int              // number of objects remembered; beyond that, a sample
	Cooldown time.Duration    // event time until the same weight may fire again for the entity
	Tiers    []IDEnumerationTier
}

// IDEnumerationTier is one step of an answer: conditions on the objects of one kind.
// A condition that is 0 does not apply.
type IDEnumerationTier struct {
	Objects        int // different objects; at least 2
	Refused        int // objects that were refused and never granted
	RefusedPercent int // percent of all objects that were refused and never granted
	Foreign        int // objects that belong to somebody else
	Regular        int // percent of objects whose id follows another one regularly
	Even           int // how evenly ids are spread, in percent
	New            int // percent of requested objects that were requested for the first time
	Interval       time.Duration
	Accounts       int // number of accounts that requested them
	Weight         uint8
}

const (
	mostAsked   = 512
	mostKinds   = 8
	mostRuns    = 3  // runs of digits in an id that has a number
	mostDigits  = 15 // of a number
	ownDigits   = 4  // digits of a number that can name an owner
	mostLevel   = 31
	mostNumber  = 1_000_000_000_000_000
	leastEven   = 8 // minimum of ids for a statement about their spread
	mostDemands = 9 // conditions of a tier
)

// IDEnumerationKind describes the detector to the rules.
func IDEnumerationKind() rules.Kind {
	percent := func(name, doc string) rules.Key { return rules.CountKey(name, rules.Optional, 1, 100, doc) }
	count := func(name, doc string) rules.Key { return rules.CountKey(name, rules.Optional, 1, 10_000_000, doc) }
	return rules.Kind{
		Name: "id_enumeration",
		Doc:  "looks at which objects an entity asks for: how many, in what order of ids, and with what success",
		Keys: []rules.Key{
			rules.ChoiceKey("of", rules.Optional, []string{"object", "path"}, "the field that has the objects' ids; default object"),
			rules.ListKey("by", rules.Optional, 1, 2, "objects of different kinds are never compared: the kind is the value of the first of these fields that an event has; object_type and route where it is absent",
				rules.ChoiceKey("", rules.Required, []string{"object_type", "route", "method", "tenant"}, "a field")),
			rules.DurationKey("window", rules.Optional, time.Minute, longestStretch, "time after its last request at which an object is forgotten; default 24h"),
			rules.ConditionKey("refused", rules.Optional, "events that refuse an object; default: status in [403, 404]"),
			rules.ConditionKey("foreign", rules.Optional, "events that say that the object is somebody else's, such as object_type == \"account\" && object != account"),
			rules.CountKey("step", rules.Optional, 1, 1000, "largest difference between ids that follow one another; default 4"),
			rules.CountKey("exact", rules.Optional, 16, mostAsked, "number of objects that are remembered exactly; of more, a sample. Default 128"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestStretch, "time until the same weight may fire again for the entity; default 1h"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("objects", rules.Required, 2, 10_000_000, "so many different objects of a kind"),
				count("refused", "of these so many were refused, and never granted"),
				percent("refused_percent", "and they are so many percent of all"),
				count("foreign", "so many are somebody else's, as foreign says"),
				percent("regular_percent", "the ids of so many percent follow one another, or differ from the one before by what is most common"),
				percent("even_percent", "ids are spread over their range as evenly as this; 100 where each quarter is as wide as the others"),
				percent("new_percent", "so many percent of what was asked for was asked for the first time"),
				rules.DurationKey("interval", rules.Optional, time.Millisecond, hoursOfDay*time.Hour, "between one new object and the next there is as long, in the median"),
				rules.CountKey("accounts", rules.Optional, 2, mostAsked, "so many accounts asked"),
				rules.WeightKey("weight", "confidence of the signal, in percent"))),
		},
		Compile: compileIDEnumeration,
	}
}

func compileIDEnumeration(p *rules.Params) rules.Spec {
	s := &IDEnumeration{
		Of: event.Object, By: []event.Field{event.ObjectType, event.Route},
		Window: p.DurationOr("window", hoursOfDay*time.Hour), Refused: p.Condition("refused"), Foreign: p.Condition("foreign"),
		Step: int64(p.IntOr("step", 4)), Exact: p.IntOr("exact", 128), Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	if p.Has("of") {
		s.Of = p.Field("of")
	}
	if p.Has("by") {
		s.By = fieldsOf(p.Texts("by"))
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "weight", "this tier can never be seen beside the one before it: it weighs no more", "order the tiers by weight, each with one of its own")
	for _, tier := range tiers {
		t := IDEnumerationTier{Objects: tier.Int("objects"), Interval: tier.Duration("interval"), Weight: tier.Weight("weight")}
		for _, of := range []struct {
			key string
			at  *int
		}{
			{"refused", &t.Refused},
			{"refused_percent", &t.RefusedPercent},
			{"foreign", &t.Foreign},
			{"regular_percent", &t.Regular},
			{"even_percent", &t.Even},
			{"new_percent", &t.New},
			{"accounts", &t.Accounts},
		} {
			*of.at = tier.IntOr(of.key, 0)
		}
		if t.Foreign > 0 && s.Foreign == nil {
			tier.Problem("foreign", "nothing says which objects are somebody else's", "say it with foreign, beside tiers")
		}
		for _, part := range []string{"refused", "foreign"} {
			if tier.Has(part) && tier.Int(part) > t.Objects {
				tier.Problem(part, "more objects are asked for here than by objects", "make objects at least as many")
			}
		}
		if t.Accounts > s.Exact {
			tier.Problem("accounts", "so few objects that are remembered never have so many accounts", "make exact greater, or ask for fewer accounts")
		}
		s.Tiers = append(s.Tiers, t)
	}
	return s
}

// Fields implements [rules.Spec].
func (s *IDEnumeration) Fields() []event.Field {
	all := append(slices.Clone(s.By), s.Of, event.Account, event.Status)
	for _, c := range []*rules.Condition{s.Refused, s.Foreign} {
		if c != nil {
			all = append(all, c.Fields...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (s *IDEnumeration) State() string { return fmt.Sprintf("ids %d by %d", s.Of, s.By) }

// Canonical implements [rules.Spec].
func (s *IDEnumeration) Canonical() string {
	text := fmt.Sprintf("of %d by %d window %d step %d exact %d cooldown %d", s.Of, s.By, s.Window.Milliseconds(), s.Step, s.Exact, s.Cooldown.Milliseconds())
	if s.Refused != nil {
		text += fmt.Sprintf(" refused %q", s.Refused.Canonical)
	}
	if s.Foreign != nil {
		text += fmt.Sprintf(" foreign %q", s.Foreign.Canonical)
	}
	return text + fmt.Sprintf(" tiers %d", s.Tiers)
}

// Keeps implements [rules.Spec].
func (s *IDEnumeration) Keeps() rules.Keeps {
	return rules.Keeps{Reach: s.Window, After: s.Cooldown, Bytes: kindsAt + mostKinds*kindSize + (s.Exact+1)*askedSize}
}

// everyAsk reports whether some tier looks at all objects, refused or not.
func (s *IDEnumeration) everyAsk() bool {
	return slices.ContainsFunc(s.Tiers, func(t IDEnumerationTier) bool { return t.Refused+t.RefusedPercent+t.Foreign == 0 })
}

func (s *IDEnumeration) detector(e Environment) Detector {
	return &enumeration{
		rule: s, everyAsk: s.everyAsk(), window: s.Window.Milliseconds(), cooldown: s.Cooldown.Milliseconds(), hasher: e.Hasher,
	}
}

// enumeration remembers the objects that an entity requested, each once. Of a kind
// with too many objects it keeps a sample: the objects whose hash begins with a
// number of zero bits, the level of the kind.
//
// The payload is a header of 24 bytes, kinds of 16, and objects of 36:
//
//	0 fired at i64 · 8 latest i64 (Unix ms) · 16 weight fired u8 · 17 kinds u8 · 18 last requested kind u8 · 19 unused
//	kind: hash u32 · level u8 · 3 unused · last requested i64 (Unix ms)
//	object: hash u32 · form u32 · number u64 (plus one; 0: none) · first u48 · last u48 (Unix ms) · account u32 · times u16 · kind u8 · flags u8
//
// Hashes are 32 bits of the values' hashes under the stream's secret key. A form is
// an id without its number.
type enumeration struct {
	rule     *IDEnumeration
	everyAsk bool
	window   int64 // ms
	cooldown int64 // ms
	hasher   Hasher
	form     []byte

	ids       [mostAsked]idNumber
	gaps      [mostAsked]int64
	numbers   [mostAsked]int64
	intervals [mostAsked]int64
	accounts  [mostAsked]uint32
	asks      [mostDemands]Demand
}

const (
	kindsAt   = 24
	kindSize  = 16
	askedSize = 36
)

// Flags of an object.
const (
	grantedObject uint8 = 1 << iota
	refusedObject
	foreignObject
	objectFlags = 1<<iota - 1
)

// idNumber is the number in an id, and the hash of the text around it.
type idNumber struct {
	form   uint32
	number int64
}

// asked is a view of the payload.
type asked []byte

func (m asked) firedAt() int64     { return int64(le.Uint64(m)) }
func (m asked) latest() int64      { return int64(le.Uint64(m[8:])) }
func (m asked) firedWeight() uint8 { return m[16] }
func (m asked) kinds() int         { return int(m[17]) }
func (m asked) lastKind() int      { return int(m[18]) }
func (m asked) kind(i int) asked   { return m[kindsAt+i*kindSize:][:kindSize] }
func (m asked) name(i int) uint32  { return le.Uint32(m.kind(i)) }
func (m asked) level(i int) uint8  { return m.kind(i)[4] }
func (m asked) lastOf(i int) int64 { return int64(le.Uint64(m.kind(i)[8:])) }
func (m asked) objectsAt() int     { return kindsAt + m.kinds()*kindSize }
func (m asked) len() int           { return (len(m) - m.objectsAt()) / askedSize }
func (m asked) object(i int) asked { return m[m.objectsAt()+i*askedSize:][:askedSize] }

// Fields of one object.
func (o asked) hash() uint32    { return le.Uint32(o) }
func (o asked) form() uint32    { return le.Uint32(o[4:]) }
func (o asked) number() int64   { return int64(le.Uint64(o[8:])) - 1 }
func (o asked) first() int64    { return moment(o[16:]) }
func (o asked) last() int64     { return moment(o[22:]) }
func (o asked) account() uint32 { return le.Uint32(o[28:]) }
func (o asked) times() int64    { return int64(le.Uint16(o[32:])) }
func (o asked) of() int         { return int(o[34]) }
func (o asked) refused() bool   { return o[35]&(refusedObject|grantedObject) == refusedObject }
func (o asked) foreign() bool   { return o[35]&foreignObject != 0 }

func (m asked) fired(weight uint8, at int64) {
	le.PutUint64(m, uint64(at))
	m[16] = weight
}

// sampled reports whether an object belongs to the sample of a level.
func sampled(hash uint32, level uint8) bool { return hash>>(32-level) == 0 }

// keepOnly removes the objects for which keep is false, in place.
func (m asked) keepOnly(keep func(o asked) bool) asked {
	n := 0
	for i := range m.len() {
		if o := m.object(i); keep(o) {
			if n != i {
				copy(m.object(n), o)
			}
			n++
		}
	}
	return m[:m.objectsAt()+n*askedSize]
}

// withoutKind removes a kind with its objects.
func (m asked) withoutKind(gone int) asked {
	m = m.keepOnly(func(o asked) bool {
		if o.of() > gone {
			o[34]--
			return true
		}
		return o.of() < gone
	})
	copy(m[kindsAt+gone*kindSize:], m[kindsAt+(gone+1)*kindSize:])
	m[17]--
	if m.lastKind() >= gone && m[18] > 0 {
		m[18]--
	}
	return m[:len(m)-kindSize]
}

// withKind adds a kind. It returns nil if the record is full.
func (m asked) withKind(own Slot, name uint32, at int64) asked {
	if m = own.Resize(len(m) + kindSize); m == nil {
		return nil
	}
	objects := m.objectsAt()
	copy(m[objects+kindSize:], m[objects:len(m)-kindSize])
	m[17]++
	k := m.kind(m.kinds() - 1)
	clear(k)
	le.PutUint32(k, name)
	le.PutUint64(k[8:], uint64(at))
	return m
}

// forget removes objects that were last requested no later than until, and kinds
// that have no objects left.
func (m asked) forget(until int64) asked {
	m = m.keepOnly(func(o asked) bool { return o.last() > until })
	for i := m.kinds() - 1; i >= 0; i-- {
		if m.lastOf(i) <= until {
			m = m.withoutKind(i)
		}
	}
	return m
}

// thin raises the sampling level of the kind with most objects until no more than
// most are left.
func (m asked) thin(most int) asked {
	for m.len() > most {
		var n [mostKinds]int
		for i := range m.len() {
			n[m.object(i).of()]++
		}
		largest := 0
		for i := range n {
			if n[i] > n[largest] {
				largest = i
			}
		}
		level := m.level(largest) + 1
		if level > mostLevel {
			return m[:m.objectsAt()+most*askedSize]
		}
		m.kind(largest)[4] = level
		m = m.keepOnly(func(o asked) bool { return o.of() != largest || sampled(o.hash(), level) })
	}
	return m
}

// Apply implements Detector.
func (d *enumeration) Apply(c *Context, f *Firing) bool {
	id := c.Event.Text(d.rule.Of)
	if c.Late || id == "" {
		return false
	}
	begin, end := numberIn(id)
	if d.rule.Of == event.Path {
		if from, to := pageIn(id); from < to {
			begin, end = from, to
		}
	}
	if d.isOwn(c.Event, numeral(id[begin:end]), end-begin) {
		return false
	}
	flags := d.flagsOf(c.Event)
	c.Counts = d.everyAsk || flags&(refusedObject|foreignObject) != 0
	m := asked(c.Own.Payload())
	if m == nil {
		if m = c.Own.Resize(kindsAt); m == nil {
			return false
		}
	}
	if c.Time <= m.latest()-d.window {
		return false
	}
	if c.Time > m.latest() {
		le.PutUint64(m[8:], uint64(c.Time))
		m = c.Own.Resize(len(m.forget(c.Time - d.window)))
	}
	m, kind := d.kindOf(m, c)
	if m == nil {
		return false
	}
	hash := max(uint32(d.hasher.Text(id)), 1)
	if !sampled(hash, m.level(kind)) {
		return false
	}
	m, changed := d.remember(m, c, kind, hash, d.idOf(id, begin, end), flags)
	return changed && d.judge(m, kind, c, f)
}

// numberIn finds the number in an id: the longest run of digits, the last one among
// equals. It is empty if the id has too many runs, as random ids do, or if the run
// is too long.
func numberIn(id string) (begin, end int) {
	runs := 0
	for i := 0; i < len(id); i++ {
		from := i
		for i < len(id) && id[i] >= '0' && id[i] <= '9' {
			i++
		}
		if i == from {
			continue
		}
		if runs++; i-from >= end-begin {
			begin, end = from, i
		}
	}
	if runs > mostRuns || end-begin > mostDigits {
		return 0, 0
	}
	return begin, end
}

// pageIn finds the number of the page, or the place where it begins, in a path with a
// query: the value of the first parameter of a usual name that is a number. It is empty
// if there is none. Other parameters, such as the size of a page, are no number of it.
func pageIn(path string) (begin, end int) {
	begin = strings.IndexByte(path, '?') + 1
	for begin > 0 && begin < len(path) {
		parameter, _, _ := strings.Cut(path[begin:], "&")
		end := begin + len(parameter)
		name, value, _ := strings.Cut(parameter, "=")
		switch name {
		case "page", "offset", "start", "skip", "cursor", "p", "pg", "from":
			if value != "" && len(value) <= mostDigits && strings.Trim(value, "0123456789") == "" {
				return end - len(value), end
			}
		}
		begin = end + 1
	}
	return 0, 0
}

// numeral returns the value of digits; −1 if there are none.
func numeral(digits string) (n int64) {
	if digits == "" {
		return -1
	}
	for _, digit := range []byte(digits) {
		n = 10*n + int64(digit-'0')
	}
	return n
}

// isOwn reports whether the number in an id shows that it is the account's own.
func (d *enumeration) isOwn(e *event.Event, number int64, digits int) bool {
	account := e.Text(event.Account)
	begin, end := numberIn(account)
	return digits >= ownDigits && end-begin >= ownDigits && numeral(account[begin:end]) == number
}

// idOf returns the number in an id, and a hash of the text around it.
func (d *enumeration) idOf(id string, begin, end int) idNumber {
	if begin == end {
		return idNumber{0, -1}
	}
	d.form = append(append(append(d.form[:0], id[:begin]...), 0), id[end:]...)
	return idNumber{uint32(d.hasher.Text(unsafe.String(&d.form[0], len(d.form)))), numeral(id[begin:end])}
}

// flagsOf returns the flags that the event sets on its object.
func (d *enumeration) flagsOf(e *event.Event) (flags uint8) {
	status := e.Num(event.Status)
	if d.rule.Refused == nil && (status == 403 || status == 404) || d.rule.Refused != nil && d.rule.Refused.Holds(e) {
		flags = refusedObject
	} else if status >= 200 && status < 300 {
		flags = grantedObject
	}
	if d.rule.Foreign != nil && d.rule.Foreign.Holds(e) {
		flags |= foreignObject
	}
	return flags
}

// kindOf finds the kind of the event's object, or creates it. Beyond mostKinds, the
// least recently requested kind is evicted. It returns nil if the record is full.
func (d *enumeration) kindOf(m asked, c *Context) (asked, int) {
	name := max(uint32(d.hasher.Text(d.kindName(c.Event))), 1)
	at := 0
	for at < m.kinds() && m.name(at) != name {
		at++
	}
	if at == mostKinds {
		oldest := 0
		for i := range mostKinds {
			if m.lastOf(i) < m.lastOf(oldest) {
				oldest = i
			}
		}
		m = c.Own.Resize(len(m.withoutKind(oldest)))
		at = mostKinds - 1
	}
	if at == m.kinds() {
		if m = m.withKind(c.Own, name, c.Time); m == nil {
			return nil, 0
		}
	}
	k := m.kind(at)
	le.PutUint64(k[8:], uint64(max(m.lastOf(at), c.Time)))
	m[18] = uint8(at)
	return m, at
}

// kindName returns the event's name for the kind of its object.
func (d *enumeration) kindName(e *event.Event) string {
	for _, by := range d.rule.By {
		if name := e.Text(by); name != "" {
			return name
		}
	}
	return ""
}

// remember adds a requested object. It reports whether anything changed that could
// matter to a tier.
func (d *enumeration) remember(m asked, c *Context, kind int, hash uint32, id idNumber, flags uint8) (kept asked, changed bool) {
	at := 0
	for at < m.len() && (m.object(at).hash() != hash || m.object(at).of() != kind) {
		at++
	}
	if at == m.len() {
		if m = c.Own.Resize(len(m) + askedSize); m == nil {
			return c.Own.Payload(), false
		}
		o := m.object(at)
		le.PutUint32(o, hash)
		le.PutUint32(o[4:], id.form)
		le.PutUint64(o[8:], uint64(id.number+1))
		setMoment(o[16:], c.Time)
		setMoment(o[22:], c.Time)
		o[34] = uint8(kind)
		changed = true
	}
	o := m.object(at)
	changed = changed || o[35]|flags != o[35]
	setMoment(o[16:], min(o.first(), c.Time))
	setMoment(o[22:], max(o.last(), c.Time))
	le.PutUint16(o[32:], uint16(min(o.times()+1, math.MaxUint16)))
	o[35] |= flags
	if account := c.Event.Text(event.Account); account != "" {
		le.PutUint32(o[28:], max(uint32(d.hasher.Text(account)), 1))
	}
	if m.len() > d.rule.Exact {
		m = c.Own.Resize(len(m.thin(d.rule.Exact)))
	}
	return m, changed
}

// walk summarises the objects of a kind.
type walk struct {
	n                         int   // number remembered
	level                     uint8 // of the sample; above 0, objects, refused and foreign are estimates
	objects, refused, foreign int64
	asks                      int64 // requests for the remembered objects
	accounts                  int64
	first, last               int64 // Unix ms

	measured        bool // whether the following fields are set
	regular, even   int64
	interval        int64 // ms
	lowest, highest int64 // numbers of ids; −1: none
}

func (w *walk) fresh() int64 { return 100 * int64(w.n) / max(w.asks, 1) }
func (w *walk) refusedPercent() int64 {
	return 100 * w.refused / max(w.objects, 1)
}

// deviation returns the standard deviation of an estimate, in percent, rounded up:
// 100 divided by the square root of n, for n objects in a sample. It is 0 for an
// exact count.
func (w *walk) deviation() (percent int64) {
	if w.level == 0 {
		return 0
	}
	for percent = 1; percent < 100 && percent*percent*int64(w.n) < 10_000; {
		percent++
	}
	return percent
}

// count counts the objects of a kind.
func (d *enumeration) count(m asked, kind int) (w walk) {
	if m.kinds() == 0 {
		return w
	}
	w.level = m.level(kind)
	for i := range m.len() {
		o := m.object(i)
		if o.of() != kind {
			continue
		}
		if w.n == 0 {
			w.first, w.last = o.first(), o.last()
		}
		w.first, w.last = min(w.first, o.first()), max(w.last, o.last())
		d.accounts[w.n] = o.account()
		w.n++
		w.asks += o.times()
		if o.refused() {
			w.refused++
		}
		if o.foreign() {
			w.foreign++
		}
	}
	accounts := d.accounts[:w.n]
	slices.Sort(accounts)
	for i, a := range accounts {
		if a != 0 && (i == 0 || a != accounts[i-1]) {
			w.accounts++
		}
	}
	w.objects, w.refused, w.foreign = int64(w.n)<<w.level, w.refused<<w.level, w.foreign<<w.level
	return w
}

// measure computes the spread of the ids, and the interval between requests.
func (d *enumeration) measure(m asked, kind int, w *walk) {
	w.measured, w.lowest, w.highest = true, -1, -1
	n, all := 0, 0
	for i := range m.len() {
		o := m.object(i)
		if o.of() != kind {
			continue
		}
		d.intervals[all] = o.first()
		all++
		if o.number() >= 0 {
			d.ids[n] = idNumber{o.form(), o.number()}
			d.numbers[n] = o.number()
			n++
		}
	}
	w.interval = medianInterval(d.intervals[:all]) >> w.level
	w.regular = d.regular(d.ids[:n], w)
	numbers := d.numbers[:n]
	slices.Sort(numbers)
	if n > 0 {
		w.lowest, w.highest = numbers[0], numbers[n-1]
	}
	w.even = evenness(numbers)
}

// medianInterval returns the median of the differences between times, the lower one
// for an even number. It overwrites the times.
func medianInterval(times []int64) int64 {
	if len(times) < 2 {
		return 0
	}
	slices.Sort(times)
	intervals := times[:len(times)-1]
	for i := range intervals {
		intervals[i] = times[i+1] - times[i]
	}
	slices.Sort(intervals)
	return intervals[(len(intervals)-1)/2]
}

// regular returns the percentage of objects that follow another one: their ids have
// the same form, and differ by at most a step, or by the most common difference.
func (d *enumeration) regular(ids []idNumber, w *walk) int64 {
	slices.SortFunc(ids, func(a, b idNumber) int {
		return cmp.Or(cmp.Compare(a.form, b.form), cmp.Compare(a.number, b.number))
	})
	gaps := d.gaps[:0]
	near, most, run := 0, 0, 0
	for i := 1; i < len(ids); i++ {
		gap := ids[i].number - ids[i-1].number
		if ids[i].form != ids[i-1].form || gap == 0 {
			continue
		}
		if gap <= d.rule.Step<<w.level {
			near++
		}
		gaps = append(gaps, gap)
	}
	if w.level == 0 { // a sample has lost most of the objects in between
		slices.Sort(gaps)
		for i := range gaps {
			if run++; i > 0 && gaps[i] != gaps[i-1] {
				run = 1
			}
			most = max(most, run)
		}
	}
	return int64(100 * max(near, most) / max(w.n-1, 1))
}

// evenness returns how evenly sorted numbers are spread, in percent. It cuts off the
// first and the last tenth, and compares the width of the narrowest quarter with a
// quarter of the total width.
func evenness(numbers []int64) int64 {
	n := len(numbers)
	if n < leastEven {
		return 0
	}
	from, to := n/10, n-1-n/10
	all := numbers[to] - numbers[from]
	narrowest := all
	for k := range 4 {
		narrowest = min(narrowest, numbers[from+(to-from)*(k+1)/4]-numbers[from+(to-from)*k/4])
	}
	return 400 * narrowest / max(all, 1)
}

// demands adds a tier's conditions with the current values. Without measure it
// includes only those that need no more than counting.
func (d *enumeration) demands(t *IDEnumerationTier, w *walk, list []Demand) []Demand {
	add := func(what string, have, need int64) {
		if need > 0 {
			list = append(list, Demand{Weight: t.Weight, What: what, Have: have, Need: need})
		}
	}
	add("objects", w.objects, int64(t.Objects))
	add("refused", w.refused, int64(t.Refused))
	add("refused_percent", w.refusedPercent(), int64(t.RefusedPercent))
	add("foreign", w.foreign, int64(t.Foreign))
	add("new_percent", w.fresh(), int64(t.New))
	add("accounts", w.accounts, int64(t.Accounts))
	if w.measured {
		add("regular_percent", w.regular, int64(t.Regular))
		add("even_percent", w.even, int64(t.Even))
		add("interval_ms", w.interval, t.Interval.Milliseconds())
	}
	return list
}

// holds reports whether all conditions of a tier are met.
func (d *enumeration) holds(t *IDEnumerationTier, w *walk) bool {
	return !slices.ContainsFunc(d.demands(t, w, d.asks[:0]), func(x Demand) bool { return !x.Met() })
}

// judge fires for the heaviest tier that holds.
func (d *enumeration) judge(m asked, kind int, c *Context, f *Firing) bool {
	w := d.count(m, kind)
	for i := len(d.rule.Tiers) - 1; i >= 0; i-- {
		t := &d.rule.Tiers[i]
		if t.Weight <= m.firedWeight() && c.Time-m.firedAt() < d.cooldown {
			return false
		}
		if !d.holds(t, &w) {
			continue
		}
		if !w.measured {
			d.measure(m, kind, &w)
		}
		if d.holds(t, &w) {
			m.fired(t.Weight, c.Time)
			f.Tier, f.Weight = i, t.Weight
			f.Evidence = d.held(append(f.Evidence[:0], facet.Text("kind", d.kindName(c.Event))), &w)
			return true
		}
	}
	return false
}

// held describes the objects of a kind as evidence.
func (d *enumeration) held(list []facet.Evidence, w *walk) []facet.Evidence {
	list = append(list, facet.Number("objects", w.objects), facet.Number("refused", w.refused))
	if d.rule.Foreign != nil {
		list = append(list, facet.Number("foreign", w.foreign))
	}
	list = append(list,
		facet.Number("regular_percent", w.regular),
		facet.Number("even_percent", w.even),
		facet.Number("new_percent", w.fresh()),
		facet.Number("interval_ms", w.interval),
		facet.Number("accounts", w.accounts))
	if w.level > 0 {
		list = append(list, facet.Number("deviation_percent", w.deviation()))
	}
	if w.lowest >= 0 {
		list = append(list, facet.Number("lowest", w.lowest), facet.Number("highest", w.highest))
	}
	return append(list, facet.Number("first_ms", w.first), facet.Number("last_ms", w.last))
}

// Fit implements Detector. If former settings allowed more objects, a sample of them
// is kept.
func (d *enumeration) Fit(payload []byte) ([]byte, bool) {
	m := asked(payload)
	if len(m) < kindsAt || m.kinds() > mostKinds || len(m) < m.objectsAt() || (len(m)-m.objectsAt())%askedSize != 0 || m.len() > mostAsked ||
		m.lastKind() >= max(m.kinds(), 1) || !near1970(m.latest()) {
		return nil, false
	}
	for i := range m.kinds() {
		if m.level(i) > mostLevel || !near1970(m.lastOf(i)) {
			return nil, false
		}
	}
	for i := range m.len() {
		o := m.object(i)
		if o.of() >= m.kinds() || !sampled(o.hash(), m.level(o.of())) || o.number() < -1 || o.number() >= mostNumber || o[35]&^objectFlags != 0 {
			return nil, false
		}
	}
	return m.thin(d.rule.Exact), true
}

// near1970 reports whether a time is plausible for an event.
func near1970(t int64) bool { return t >= -farTime && t <= farTime }

// Explain implements Detector. It covers the last requested kind of objects.
func (d *enumeration) Explain(payload []byte, at int64) (x Explanation) {
	m := asked(payload)
	if m == nil {
		m = make(asked, kindsAt)
	}
	x.Last = x.First - 1
	w := d.count(m, m.lastKind())
	d.measure(m, m.lastKind(), &w)
	if w.n > 0 {
		x.First, x.Last = w.first, w.last
		x.Held = d.held(nil, &w)
	}
	for i := range d.rule.Tiers {
		t := &d.rule.Tiers[i]
		from := len(x.Demands)
		x.Demands = d.demands(t, &w, x.Demands)
		for j := range x.Demands[from:] {
			x.Demands[from+j].Tier = i
		}
		if d.holds(t, &w) && t.Weight <= m.firedWeight() && at-m.firedAt() < d.cooldown {
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "cooldown", Until: m.firedAt() + d.cooldown})
		}
	}
	return x
}
