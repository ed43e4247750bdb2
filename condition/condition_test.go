package condition

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
)

func testLanguage(t testing.TB) *Language {
	t.Helper()
	l, err := NewLanguage(Vocabulary{Words: append(Fields(), initial()), Lists: testLists(t)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// initial is a word that is computed: the first byte of the account.
func initial() Word {
	return Word{Name: "initial", Sort: Text, Version: "1", Reads: []event.Field{event.Account},
		Values: []string{"a", "b"}, MaxBytes: 1,
		Compute: func(e *event.Event) string {
			account := e.Text(event.Account)
			return account[:min(len(account), 1)]
		}}
}

// listItems are lists of every kind. Some entries expire at 6 ms.
var listItems = []struct {
	name  string
	kind  ListKind
	items []Item
}{
	{"office", Networks, []Item{{Value: "203.0.113.0/24"}, {Value: "198.51.100.7", Expires: 6}, {Value: "2001:db8::/32"}}},
	{"networks", Networks, []Item{{"10.0.0.0/8", 6}, {"10.1.0.0/16", 0}, {"10.1.2.0/24", 3}, {"0.0.0.0/1", 2}}},
	{"hosting", ASNs, []Item{{"AS3", 0}, {"5", 6}}},
	{"far", Countries, []Item{{Value: "NO"}, {Value: "SE"}}},
	{"tools", JA4s, []Item{{Value: "t13d1516h2_8daaf6152771_e5627efa2ab1"}}},
	{"crew", Texts, []Item{{"ab", 6}, {"ba", 0}, {"é", 0}, {"failure", 0}}},
}

func testLists(t testing.TB) []*List {
	t.Helper()
	var all []*List
	for _, l := range listItems {
		list, faults := NewList(l.name, l.kind, l.items)
		if len(faults) > 0 {
			t.Fatalf("%s: %+v", l.name, faults)
		}
		all = append(all, list)
	}
	return all
}

func compiled(t testing.TB, l *Language, source string) *Condition {
	t.Helper()
	c, faults := l.Compile(source)
	if len(faults) > 0 {
		t.Fatalf("%s: %+v", source, faults)
	}
	return c
}

func signIn() *event.Event {
	e := new(event.Event)
	e.SetText(event.Auth, "failure")
	e.SetText(event.Account, "ann")
	e.SetText(event.Path, "/v1/login?Ünïcode")
	e.SetText(event.ClientIP, "203.0.113.9")
	e.SetNum(event.Status, 401)
	e.SetNum(event.Time, 1_767_225_600_000)
	e.SetNum(event.Rooted, 1)
	return e
}

func TestConditions(t *testing.T) {
	l := testLanguage(t)
	for _, c := range []struct {
		source string
		want   bool
	}{
		{`true`, true},
		{`false`, false},
		{`auth == "failure"`, true},
		{`"failure" == auth`, true},
		{`auth != "failure"`, false},
		{`status == 401`, true},
		{`401 != status`, false},
		{`status < 401`, false},
		{`status <= 401 && status >= 401`, true},
		{`400 < status`, true},
		{`401 <= status`, true},
		{`402 > status`, true},
		{`402 >= status && !(400 >= status)`, true},
		{`status > -1`, true},
		{`time > 1767225599999`, true},
		{`rooted`, true},
		{`!rooted`, false},
		{`emulator`, false},
		{`rooted == true && emulator != true`, true},
		{`rooted == emulator`, false},
		{`rooted != emulator`, true},
		{`auth == "failure" && status == 401`, true},
		{`status == 401 && auth == "failure"`, true},
		{`status == 401 && latency_us == 0`, true},
		{`auth == "failure" && account == "bob"`, false},
		{`auth == "failure" && account == "ann" && status == 401`, true},
		{`auth == "failure" && account == "ann" && status == 401 && rooted && !emulator`, true},
		{`auth == "success" || status == 401`, true},
		{`auth == "success" || status == 403 || emulator`, false},
		{`auth in ["success", "failure"]`, true},
		{`status in [400, 403, 404]`, false},
		{`status in [1, 2, 3, 4, 5, 6, 7, 8, 9, 401]`, true},
		{`account in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "ann"]`, true},
		{`path.startsWith("/v1/")`, true},
		{`path.endsWith("code")`, true},
		{`path.contains(account)`, false},
		{`path.contains("login")`, true},
		{`path.matches("^/v[12]/log")`, true},
		{`path.matches("^/v2/")`, false},
		{`size(path) == 17`, true},
		{`path.size() > 17`, false},
		{`account < auth`, true},
		{`account <= auth && auth > account && auth >= account`, true},
		{`account == auth`, false},
		{`account != auth`, true},
		{`(rooted ? status : latency_us) == 401`, true},
		{`(rooted ? account : auth) == "ann"`, true},
		{`emulator ? true : status == 401`, true},
		{`rooted ? emulator : true`, false},
		{`size(device) == 0 && device == "" && token_issued == 0`, true},
		{`status == latency_us`, false},
		{`status != latency_us && status > latency_us && status >= latency_us && !(status < latency_us) && !(status <= latency_us)`, true},
		{`client_ip == '203.0.113.9'`, true},
		{`account == r"ann"`, true},
		{`status + 1 == 402`, true},
		{`-status == -401 && 0 - status < 0`, true},
		{`status * 2 - 2 == 800 && status / 100 == 4 && status % 100 == 1`, true},
		{`-status / 100 == -4 && -status % 100 == -1`, true},
		{`time - token_issued > 24 * 3600 * 1000`, true},
		{`token_expires - time > 0`, false},
		{`(rooted ? status : 1) + size(account) == 404`, true},
		{`time + 9223372036854775807 == 9223372036854775807`, true},
		{`-9223372036854775807 - 1 - time == -9223372036854775807 - 1`, true},
		{`time * 9223372036854775807 == 9223372036854775807 && time * -9223372036854775807 < -9223372036854775807`, true},
		{`has(account) && has(rooted) && has(status) && !has(device) && !has(emulator) && !has(latency_us)`, true},
		{`has(initial)`, true},
		{`initial == "a" && initial != "b" && initial in ["a"]`, true},
		{`client_ip in cidr("203.0.113.0/24")`, true},
		{`client_ip in cidr(["10.0.0.0/8", "203.0.113.9"])`, true},
		{`client_ip in cidr("::ffff:203.0.113.0/120")`, true},
		{`client_ip in cidr("203.0.113.10") || ip in cidr("0.0.0.0/0")`, false},
		{`client_ip in lists.office`, true},
		{`!(client_ip in lists.networks) && !(asn in lists.hosting) && !(country in lists.far) && !(ja4 in lists.tools)`, true},
		{`auth in lists.crew && !(account in lists.crew)`, true},
	} {
		if got := compiled(t, l, c.source).Holds(signIn()); got != c.want {
			t.Errorf("%s is %v, want %v", c.source, got, c.want)
		}
	}
}

func TestConditionsThatAreRefused(t *testing.T) {
	l := testLanguage(t)
	for _, c := range []struct{ source, at, what string }{
		{`statuss == 401`, "1:0", `no field "statuss"`},
		{`status == "401"`, "1:7", "== is not defined for a number and a text"},
		{`status`, "1:0", "this is a number, not a condition"},
		{`status == `, "1:10", "the end of the condition"},
		{`auth = "failure"`, "1:5", "= compares nothing"},
		{`status == 401 and rooted`, "1:14", `"and" is no operator`},
		{`status == 401 OR rooted`, "1:14", `"OR" is no operator`},
		{`account + auth == "x"`, "1:8", "+ is not defined for a text"},
		{`status + account == 1`, "1:7", "+ is not defined for a number and a text"},
		{`status / asn == 1`, "1:9", "this can be 0"},
		{`status % (1 - 1) == 1`, "1:12", "this can be 0"},
		{`has(auth == "failure")`, "1:3", "has is asked of a field"},
		{`has("x")`, "1:3", "has is asked of a field"},
		{`has(statuss)`, "1:4", `no field "statuss"`},
		{`hass(status)`, "1:4", `no function "hass"`},
		{`has() && rooted`, "1:3", `no function "has"`},
		{`initial == "c"`, "1:11", `initial is never "c"`},
		{`client_ip in lists.ofice`, "1:18", `no list "ofice"`},
		{`client_ip in lists`, "1:13", `no field "lists"`},
		{`client_ip in office`, "1:13", `no field "office"`},
		{`asn in lists.office`, "1:4", "in is not defined for a number and a list of texts"},
		{`account in lists.office`, "1:0", "account is never in a list of the type network"},
		{`client_ip in lists.far`, "1:0", "client_ip is never in a list of the type country"},
		{`size(account) in lists.hosting`, "1:4", "this is never in a list of the type asn"},
		{`lists.office == lists.networks`, "1:5", "a list can stand only to the right of in"},
		{`client_ip in cidr("10.0.0.1/8")`, "1:18", "names an address inside the network"},
		{`client_ip in cidr("ten")`, "1:18", "no network"},
		{`client_ip in cidr(["10.0.0.0/8", "10.0.0.0/8"])`, "1:33", "stands twice"},
		{`client_ip in cidr([])`, "1:10", "never true"},
		{`client_ip in cidr(account)`, "1:18", "must stand in the condition"},
		{`net in cidr("10.0.0.0/8")`, "1:0", "net is never in a list of the type network"},
		{`client_ip in cidr("2001:db8::1")`, "1:0", "client_ip is the /64, which is never within 2001:db8::1/128"},
		{`cidr("10.0.0.0/8") == cidr("10.0.0.0/8")`, "1:4", "cidr can stand only to the right of in"},
		{`[1].exists(x, x == 1)`, "1:10", `no function "exists"`},
		{`auth.kind == "x"`, "1:4", "fields have no members"},
		{`auth == failure`, "1:8", `no field "failure"`},
		{`status == 401.0`, "1:7", "a number and double"},
		{`1.0 == 2.0`, "1:0", "double"},
		{`status in []`, "1:7", "never true"},
		{`status in [401, "x"]`, "1:16", "values of the same type"},
		{`status in [latency_us]`, "1:11", "values of the same type"},
		{`rooted in [true]`, "1:11", "values of the same type"},
		{`size([1]) == 1`, "1:5", "a list can stand only"},
		{`[1] == [1]`, "1:0", "a list can stand only"},
		{`{"a": 1} == {"a": 1}`, "1:0", "no maps"},
		{`rooted < emulator`, "1:7", "flags have no order"},
		{`path.matches("(")`, "1:13", "missing closing"},
		{`path.matches(account)`, "1:13", "must stand in the rule"},
		{`path.matches("(a{1,30}){1,30}")`, "1:13", "steps"},
		{`path.matches("` + strings.Repeat("a", 1025) + `")`, "1:13", "too long"},
		{`attrs == "x"`, "1:0", `conditions cannot read the field "attrs"`},
		{`decision == "" && auth == "failure"`, "1:9", `decision == "" holds for no event of a gateway that asks the gate`},
		{`decision_action == "denied"`, "1:19", `decision_action is never "denied"`},
		{`auth == "failed"`, "1:8", `auth is never "failed"`},
		{`"valid" != signature && signature in ["invald"]`, "1:34", `signature is never "invald"`},
		{`status == 1000`, "1:10", "status is never 1000"},
		{`status in [1000]`, "1:7", "status is never 1000"},
		{`country == "DEU"`, "1:11", "never that long"},
		{``, "1:0", "empty"},
		{strings.Repeat(" ", 4097) + "true", "1:0", "too long"},
		{"status == 401 &&\n  autth == \"x\"", "2:2", `no field "autth"`},
		{`status in [` + strings.Repeat("1, ", 1000) + `1]`, "1:", "too many parts"},
		{strings.Repeat("!(", 60) + "rooted == false" + strings.Repeat(")", 60), "1:", "nested too deeply"},
		{strings.Repeat("(", 400) + "rooted" + strings.Repeat(")", 400), "", "nested too deeply"},
		{`b"x" == b"x"`, "1:0", "bytes"},
		{`null == null`, "1:0", "null"},
		{`size(status) == 3`, "1:4", "size is not defined for a number"},
		{`string(status) == "401"`, "1:6", "string is not offered"},
	} {
		cond, faults := l.Compile(c.source)
		if cond != nil || len(faults) == 0 {
			t.Errorf("%s is accepted", c.source)
			continue
		}
		f := faults[0]
		i := slices.IndexFunc(faults, func(f Fault) bool {
			return strings.Contains(f.What, c.what) && strings.HasPrefix(fmt.Sprintf("%d:%d", f.Line, f.Column), c.at)
		})
		if i < 0 {
			t.Errorf("%.60s: at %d:%d %q, want at %s something with %q", c.source, f.Line, f.Column, f.What, c.at, c.what)
		}
		for _, f := range faults {
			if f.Do == "" {
				t.Errorf("%.60s: %q does not say what to do", c.source, f.What)
			}
		}
	}
}

func TestConditionsThatDifferInFormOnlyAreTheSame(t *testing.T) {
	l := testLanguage(t)
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{`auth == "failure"`, `  auth=='failure' `, true},
		{`rooted && (emulator && status == 1)`, `rooted && emulator && status == 1`, true},
		{`rooted && emulator`, `rooted || emulator`, false},
		{`status in [1, 2]`, `status in [1, 3]`, false},
		{`account in ["a b"]`, `account in ["a", "b"]`, false},
		{`account == "status"`, `account == route`, false},
		{`path.matches("a")`, `path.matches("b")`, false},
		{`status == 1`, `status == 2`, false},
		{`true`, `false`, false},
		{`status > 60 * 60`, `status > 3600`, true},
		{`status + asn > 1`, `status - asn > 1`, false},
		{`status / 2 > 1`, `status / 3 > 1`, false},
		{`has(status)`, `has(asn)`, false},
		{`client_ip in cidr("10.0.0.0/8")`, `client_ip in cidr(["10.0.0.0/8"])`, true},
		{`client_ip in cidr(["10.0.0.0/8", "10.0.0.1"])`, `client_ip in cidr(["10.0.0.1", "10.0.0.0/8"])`, true},
		{`client_ip in cidr("10.0.0.0/8")`, `client_ip in cidr("10.0.0.0/9")`, false},
		{`account in lists.crew`, `account in ["ab", "ba", "é", "failure"]`, false},
	} {
		if same := compiled(t, l, c.a).Canonical == compiled(t, l, c.b).Canonical; same != c.same {
			t.Errorf("%s and %s: same %v, want %v", c.a, c.b, same, c.same)
		}
	}
}

func TestTheFieldsThatAConditionReadsAreListedInOrder(t *testing.T) {
	c := compiled(t, testLanguage(t), `path.startsWith("/x") && (asn == 3 ? rooted : size(account) > 3) && !(status in [1]) && asn != 7`)
	if want := []event.Field{event.Account, event.Path, event.Status, event.Rooted, event.ASN}; !slices.Equal(c.Fields, want) {
		t.Errorf("fields %v, want %v", c.Fields, want)
	}
}

func TestConditionsAllocateNothing(t *testing.T) {
	l := testLanguage(t)
	e := signIn()
	for _, source := range []string{
		`auth == "failure" && status == 401`,
		`path.matches("^/v[0-9]+/(login|token)") || path.contains("x")`,
		`size(path) > 3 && account in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "ann"]`,
		`(rooted ? account : auth) != "x" && account < auth`,
		`status + 1 > 3 && time - token_issued > 5 * 3600 && asn * 3 / 2 == 0 && status % 7 > 0`,
		`client_ip in lists.office && client_ip in cidr("203.0.0.0/8") && !(client_ip in lists.networks)`,
		`!(ip in lists.office) && !(asn in lists.hosting) && !(account in lists.crew) && initial == "a" && has(account)`,
	} {
		p := compiled(t, l, source).Holds
		if n := testing.AllocsPerRun(100, func() { p(e) }); n != 0 {
			t.Errorf("%s: %v allocations", source, n)
		}
	}
}

func TestConditionsReadWhatTheirWordsAreComputedFrom(t *testing.T) {
	c := compiled(t, testLanguage(t), `initial == "a" && client_ip in lists.office && has(status)`)
	if want := []event.Field{event.Account, event.Status, event.ClientIP}; !slices.Equal(c.Fields, want) {
		t.Errorf("fields %v, want %v", c.Fields, want)
	}
}

func TestArithmeticEndsAtTheBounds(t *testing.T) {
	values := []int64{0, 1, -1, 2, -2, 3, 1 << 31, -1 << 31, 1 << 62, -1 << 62, math.MaxInt64 - 1, math.MaxInt64, math.MinInt64 + 1, math.MinInt64}
	for _, a := range values {
		for _, b := range values {
			x, y := big.NewInt(a), big.NewInt(b)
			for what, c := range map[string]struct {
				got  int64
				want *big.Int
			}{
				"+": {add(a, b), new(big.Int).Add(x, y)},
				"-": {subtract(a, b), new(big.Int).Sub(x, y)},
				"*": {multiply(a, b), new(big.Int).Mul(x, y)},
			} {
				if want := bounded(c.want); c.got != want {
					t.Errorf("%d %s %d is %d, want %d", a, what, b, c.got, want)
				}
			}
			if b != 0 {
				if got, want := divide(a, b), bounded(new(big.Int).Quo(x, y)); got != want {
					t.Errorf("%d / %d is %d, want %d", a, b, got, want)
				}
			}
		}
	}
}

// bounded is the nearest number of 64 bits.
func bounded(n *big.Int) int64 {
	switch {
	case n.IsInt64():
		return n.Int64()
	case n.Sign() < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

// docs/event.md says so: what rules see has a field.
func TestNoConditionReadsAttrs(t *testing.T) {
	for _, w := range Fields() {
		if w.Field == event.Attrs {
			t.Errorf("conditions read %s as %s", event.Attrs.Spec().Name, w.Name)
		}
	}
}
