package gate

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

func listed(list []facet.Entity) string {
	var b strings.Builder
	for i, e := range list {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%s=%s", e.Kind, e.Key)
	}
	return b.String()
}

func TestQuestions(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"entities come in order of kinds", `{"entities":{"device":"d","account":"a"}}`, "account=a device=d"},
		{"an address brings its networks along", `{"entities":{"ip":"203.0.113.9"}}`, "ip=203.0.113.9 net=203.0.113.0/24 net16=203.0.0.0/16"},
		{"IPv6 is counted by its /64", `{"entities":{"ip":"2001:db8:1:2:3::4"}}`, "ip=2001:db8:1:2::/64 net=2001:db8:1::/48 net16=2001:db8::/32"},
		{"the /64 itself is taken as well", `{"entities":{"ip":"2001:db8:1:2::/64"}}`, "ip=2001:db8:1:2::/64 net=2001:db8:1::/48 net16=2001:db8::/32"},
		{"IPv4 written as IPv6 is IPv4", `{"entities":{"ip":"::ffff:203.0.113.9"}}`, "ip=203.0.113.9 net=203.0.113.0/24 net16=203.0.0.0/16"},
		{"a port is not part of the address", `{"entities":{"ip":"203.0.113.9:4711"}}`, "ip=203.0.113.9 net=203.0.113.0/24 net16=203.0.0.0/16"},
		{"a network that is given stays", `{"entities":{"ip":"203.0.113.9","net":"198.51.100.0/24"}}`, "ip=203.0.113.9 net=198.51.100.0/24 net16=203.0.0.0/16"},
		{"so does a wider one", `{"entities":{"net16":"198.51.0.0/16","ip":"203.0.113.9"}}`, "ip=203.0.113.9 net=203.0.113.0/24 net16=198.51.0.0/16"},
		{"a country", `{"entities":{"country":"DE"}}`, "country=DE"},
		{"a network may be named by an address in it", `{"entities":{"net":"198.51.100.7"}}`, "net=198.51.100.0/24"},
		{"numbers of networks lose leading zeros", `{"entities":{"asn":"0064500"}}`, "asn=64500"},
		{"an empty entity is not given", `{"entities":{"account":"","device":"d"}}`, "device=d"},
		{"no entities at all", `{"tenant":"t","route":"/x"}`, ""},
		{"the tenant itself", `{"tenant":"t","entities":{"tenant":"t"}}`, "tenant=t"},
		{"blanks between", " {\n\"entities\" : { \"account\" : \"a\" } } \n", "account=a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := ParseRequest([]byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if got := listed(req.Entities); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			for _, e := range req.Entities {
				if e.Tenant != req.Tenant {
					t.Errorf("%s is of tenant %q", e.Kind, e.Tenant)
				}
			}
		})
	}
}

func TestAGatewayMaySayThatSomethingIsMissing(t *testing.T) {
	for body, want := range map[string]bool{`{"incomplete":true}`: true, `{"incomplete": false }`: false, `{}`: false, `{"entities":{"account":"a"},"incomplete":true}`: true} {
		if req, err := ParseRequest([]byte(body)); err != nil || req.Missing != want {
			t.Errorf("%s: %v, %v", body, req.Missing, err)
		}
	}
}

// One odd entity does not void the answer for the others. It becomes the same as in
// ingest, or is left out.
func TestQuestionsWithOddEntities(t *testing.T) {
	long := strings.Repeat("d", 257)
	for _, tc := range []struct {
		name, entity, want string // one entity of the request
		missing, shortened bool
	}{
		{"a device that is U+FFFD", `"device":"\ufffd"`, `device=\xef\xbf\xbd~83d544ccc223c057d2bf80d3f2a32982`, false, true},
		{"a device of 257 bytes", `"device":"` + long + `"`, "device=" + long[:223] + "~6c9fda2a3bde1a5c60d1d989510b7fae", false, true},
		{"an account with a NUL", `"account":"a\u0000b"`, "", false, true},
		{"half a character", `"session":"\ud800"`, "", false, true},
		{"bytes that are not UTF-8", "\"device\":\"\xff\"", "", false, true},
		{"a raw control character", "\"device\":\"a\nb\"", "", false, true},
		{"a build of which a part is too long", `"build":"4.2|` + strings.Repeat("x", 300) + `"`, "", false, true},
		{"a route that is too long", `"route":"/` + strings.Repeat("x", 600) + `"`, "", false, true},
		{"an empty one", `"device":""`, "", false, false},
		{"a build that is no pair", `"build":"4.2"`, "", true, false},
		{"a network that is not counted", `"net":"203.0.0.0/16"`, "", true, false},
		{"a wider network with bits of hosts", `"net16":"203.0.113.0/16"`, "", true, false},
		{"a country that is none", `"country":"DEU"`, "", true, false},
		{"a network with bits of hosts", `"net":"203.0.113.9/24"`, "", true, false},
		{"a number that is none", `"asn":"AS64500"`, "", true, false},
		{"a number beyond 32 bits", `"asn":"4294967296"`, "", true, false},
		{"another tenant", `"tenant":"u"`, "", true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := ParseRequest([]byte(`{"tenant":"t","entities":{"ip":"10.0.0.5",` + tc.entity + `}}`))
			if err != nil {
				t.Fatal(err)
			}
			if req.Missing != tc.missing || req.Shortened != tc.shortened {
				t.Errorf("missing %v, shortened %v", req.Missing, req.Shortened)
			}
			got := listed(req.Entities)
			if !strings.Contains(got, "ip=10.0.0.5") || !strings.Contains(got, tc.want) {
				t.Errorf("got %s, want %s among them", got, tc.want)
			}
			if tc.shortened && len(req.Entities) != 4 {
				t.Errorf("got %s", got)
			}
		})
	}
	for _, address := range []string{"unknown", "localhost", "", "2001:db8::/56", strings.Repeat("1", 300)} {
		req, err := ParseRequest([]byte(`{"entities":{"ip":"` + address + `","device":"d"}}`))
		if err != nil || listed(req.Entities) != "device=d" || req.Missing != (address != "") {
			t.Errorf("%q: %+v, %v", address, req, err)
		}
	}
}

func TestQuestionsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"nothing":                         {``, "malformed"},
		"a list":                          {`[]`, "not an object"},
		"cut short":                       {`{"tenant":"t"`, "malformed"},
		"cut short in an entity":          {`{"entities":{"account":"a`, "malformed"},
		"something behind it":             {`{}{}`, "follows"},
		"garbage behind it":               {`{} x`, "follows"},
		"an unknown member":               {`{"tenent":"t"}`, "unknown member"},
		"another case":                    {`{"Tenant":"t"}`, "unknown member"},
		"a member twice":                  {`{"tenant":"a","tenant":"b"}`, "twice"},
		"an entity twice":                 {`{"entities":{"account":"victim","account":"attacker"}}`, "twice"},
		"an entity twice, by escapes":     {`{"entities":{"account":"victim","acc\u006funt":"attacker"}}`, "twice"},
		"an unknown kind":                 {`{"entities":{"planet":"x"}}`, "no kind"},
		"another case of a kind":          {`{"entities":{"Account":"x"}}`, "no kind"},
		"a number for a text":             {`{"entities":{"account":5}}`, "not a text"},
		"incomplete by a text":            {`{"incomplete":"true"}`, "neither true nor false"},
		"incomplete by null":              {`{"incomplete":null}`, "neither true nor false"},
		"null":                            {`{"entities":{"account":null}}`, "not a text"},
		"an object for a text":            {`{"tenant":{"a":"b"}}`, "not a text"},
		"entities that are a list":        {`{"entities":["a"]}`, "not an object"},
		"deep nesting":                    {`{"entities":` + strings.Repeat(`{"account":`, 5000), "not a text"},
		"an endless tenant":               {`{"tenant":"` + strings.Repeat("t", 65) + `"}`, "too_long"},
		"a zero byte in a tenant":         {`{"tenant":"a\u0000b"}`, "control_character"},
		"bytes that are not UTF-8":        {"{\"tenant\":\"\xff\"}", "invalid_utf8"},
		"a name that is not closed":       {`{"tenant`, "malformed"},
		"a comma too many":                {`{"tenant":"t",}`, "malformed"},
		"a control character in a tenant": {"{\"tenant\":\"a\nb\"}", "control_character"},
		"half a surrogate in a tenant":    {`{"tenant":"\ud800"}`, "invalid_utf8"},
		"a member in bytes of its own":    {"{\"\xff\":1}", "unknown member"},
		"an entity that is null":          {`{"entities":{"account":null}}`, "not a text"},
		"a field that is none":            {`{"request":{"metod":"POST"}}`, "no field"},
		"a field twice":                   {`{"request":{"method":"GET","method":"POST"}}`, "twice"},
		"a field of entities":             {`{"request":{"account":"a"}}`, "said by"},
		"a decision of its own":           {`{"request":{"decision_action":"deny"}}`, "no field"},
		"a time":                          {`{"request":{"time":5}}`, "no field"},
		"a field of another type":         {`{"request":{"method":5}}`, "wrong_type"},
		"a verdict that is none":          {`{"request":{"attestation_level":"best"}}`, "malformed"},
		"a request that is a list":        {`{"request":[]}`, "not an object"},
		"an odd entity twice":             {`{"entities":{"device":"\ud800","device":"d"}}`, "given twice"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := ParseRequest([]byte(tc.body))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v, %v; want %q", req, err, tc.want)
			}
		})
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"tenant":"shop","route":"/login","entities":{"account":"alice","ip":"203.0.113.9","asn":"64500"}}`,
		`{"route":"/x","request":{"method":"POST","rooted":true,"request_bytes":1e400,"status":-0,"os":"\ud800"},"entities":{"build":"1|","asn":"0"}}`,
		`{"entities":{"ip":"2001:db8:1:2::/64","net":"198.51.100.0/24"}}`,
		`{"entities":{"account":"\ud83d\ude00"}}`, `{"entities":{"device":"\ud83d","build":"4|\u0000"}}`, "{\"entities\":{\"account\":\"\xff\n\"}}", `{"tenant":"a","tenant":"b"}`, `{}`, `[`, `{"entities":{"ip":"[::1%eth0]:80"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := ParseRequest(body)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("an error that cannot be sent: %q", err)
			}
			return
		}
		seen := map[facet.Kind]bool{}
		for _, e := range req.Entities {
			if e.Key == "" || e.Tenant != req.Tenant || seen[e.Kind] || len(e.Key) > 512 || !utf8.ValidString(e.Key) {
				t.Fatalf("%q gives %+v", body, req.Entities)
			}
			seen[e.Kind] = true
			again, whole, ok := Resolve(e.Kind, e.Tenant, e.Key)
			if !ok || !whole || again != e {
				t.Fatalf("%+v is resolved to %+v, %v", e, again, ok)
			}
		}
	})
}

// Policies see the same fields in a question as in an event of that request.
func TestWhatAQuestionSaysOfTheRequest(t *testing.T) {
	req, err := ParseRequest([]byte(`{"tenant":"shop","route":"/login",
		"request":{"method":"POST","attestation_level":"basic","os":"ios","rooted":true,"status":0,"request_bytes":12,"app_version":"4.2","emulator":"perhaps"},
		"entities":{"account":"alice","ip":"203.0.113.9","asn":"64500","token":"t1","build":"4.1|Pixel 9","country":"DE","key":"k1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	e := req.Event
	for f, want := range map[event.Field]string{
		event.Tenant: "shop", event.Route: "/login", event.Method: "POST", event.AttestationLevel: "basic", event.OS: "ios", event.Account: "alice",
		event.ClientIP: "203.0.113.9", event.Net: "203.0.113.0/24", event.Token: "t1", event.Build: "4.1|Pixel 9", event.AppVersion: "4.2",
		event.DeviceModel: "Pixel 9", event.Country: "DE", event.KeyID: "k1",
	} {
		if got := e.Text(f); got != want {
			t.Errorf("%s is %q, want %q", f.Spec().Name, got, want)
		}
	}
	if e.Num(event.Rooted) != 1 || e.Num(event.ASN) != 64500 || e.Num(event.RequestBytes) != 12 || e.Has(event.Emulator) {
		t.Errorf("rooted %d, asn %d, bytes %d, emulator %v", e.Num(event.Rooted), e.Num(event.ASN), e.Num(event.RequestBytes), e.Has(event.Emulator))
	}
	for _, k := range []facet.Kind{facet.Account, facet.IP, facet.ASN, facet.Net16, facet.Build, facet.Attestation} {
		for _, one := range req.Entities {
			if got, ok := facet.EntityOf(k, e, nil); one.Kind == k && (!ok || got != one) {
				t.Errorf("%s: %+v, %v, want %+v", k, got, ok, one)
			}
		}
	}
}
