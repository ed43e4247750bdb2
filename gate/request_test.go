package gate

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

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
		{"an address brings its network along", `{"entities":{"ip":"203.0.113.9"}}`, "ip=203.0.113.9 net=203.0.113.0/24"},
		{"IPv6 is counted by its /64", `{"entities":{"ip":"2001:db8:1:2:3::4"}}`, "ip=2001:db8:1:2::/64 net=2001:db8:1::/48"},
		{"the /64 itself is taken as well", `{"entities":{"ip":"2001:db8:1:2::/64"}}`, "ip=2001:db8:1:2::/64 net=2001:db8:1::/48"},
		{"IPv4 written as IPv6 is IPv4", `{"entities":{"ip":"::ffff:203.0.113.9"}}`, "ip=203.0.113.9 net=203.0.113.0/24"},
		{"a port is not part of the address", `{"entities":{"ip":"203.0.113.9:4711"}}`, "ip=203.0.113.9 net=203.0.113.0/24"},
		{"a network that is given stays", `{"entities":{"ip":"203.0.113.9","net":"198.51.100.0/24"}}`, "ip=203.0.113.9 net=198.51.100.0/24"},
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

func TestQuestionsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"nothing":                       {``, "not an object"},
		"a list":                        {`[]`, "not an object"},
		"cut short":                     {`{"tenant":"t"`, "malformed"},
		"cut short in an entity":        {`{"entities":{"account":"a`, "malformed"},
		"something behind it":           {`{}{}`, "follows"},
		"garbage behind it":             {`{} x`, "follows"},
		"an unknown member":             {`{"tenent":"t"}`, "unknown member"},
		"another case":                  {`{"Tenant":"t"}`, "unknown member"},
		"a member twice":                {`{"tenant":"a","tenant":"b"}`, "twice"},
		"an entity twice":               {`{"entities":{"account":"victim","account":"attacker"}}`, "twice"},
		"an entity twice, by escapes":   {`{"entities":{"account":"victim","acc\u006funt":"attacker"}}`, "twice"},
		"an unknown kind":               {`{"entities":{"planet":"x"}}`, "no kind"},
		"another case of a kind":        {`{"entities":{"Account":"x"}}`, "no kind"},
		"a number for a text":           {`{"entities":{"account":5}}`, "not a text"},
		"null":                          {`{"entities":{"account":null}}`, "not a text"},
		"an object for a text":          {`{"tenant":{"a":"b"}}`, "not a text"},
		"entities that are a list":      {`{"entities":["a"]}`, "not an object"},
		"deep nesting":                  {`{"entities":` + strings.Repeat(`{"account":`, 5000), "not a text"},
		"no address":                    {`{"entities":{"ip":"localhost"}}`, "no such entity"},
		"a part of a network":           {`{"entities":{"ip":"2001:db8::/56"}}`, "no such entity"},
		"a network that is not counted": {`{"entities":{"net":"203.0.0.0/16"}}`, "no such entity"},
		"a network with bits of hosts":  {`{"entities":{"net":"203.0.113.9/24"}}`, "no such entity"},
		"a number that is none":         {`{"entities":{"asn":"AS64500"}}`, "no such entity"},
		"a number beyond 32 bits":       {`{"entities":{"asn":"4294967296"}}`, "no such entity"},
		"another tenant":                {`{"tenant":"t","entities":{"tenant":"u"}}`, "no such entity"},
		"an endless tenant":             {`{"tenant":"` + strings.Repeat("t", 65) + `"}`, "more than 64"},
		"an endless account":            {`{"entities":{"account":"` + strings.Repeat("a", 257) + `"}}`, "more than 256"},
		"half a surrogate pair":         {`{"entities":{"account":"\ud800"}}`, "surrogate"},
		"a zero byte in a tenant":       {`{"tenant":"a\u0000b"}`, "zero byte"},
		"bytes that are not UTF-8":      {"{\"tenant\":\"\xff\"}", "UTF-8"},
		"a name that is not closed":     {`{"tenant`, "malformed"},
		"a comma too many":              {`{"tenant":"t",}`, "malformed"},
		"a control character in a text": {"{\"tenant\":\"a\nb\"}", "malformed"},
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
		`{"entities":{"ip":"2001:db8:1:2::/64","net":"198.51.100.0/24"}}`,
		`{"entities":{"account":"\ud83d\ude00"}}`, `{"tenant":"a","tenant":"b"}`, `{}`, `[`, `{"entities":{"ip":"[::1%eth0]:80"}}`,
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
			if e.Key == "" || e.Tenant != req.Tenant || seen[e.Kind] || len(e.Key) > 8192 {
				t.Fatalf("%q gives %+v", body, req.Entities)
			}
			seen[e.Kind] = true
			again, err := Resolve(e.Kind, e.Tenant, e.Key)
			if err != nil || again != e {
				t.Fatalf("%+v is resolved to %+v, %v", e, again, err)
			}
		}
	})
}
