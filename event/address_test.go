package event

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCanonicalGivesOneFormToOneAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":                 "192.0.2.1",
		"::ffff:192.0.2.1":          "192.0.2.1",
		"::ffff:c000:201":           "192.0.2.1",
		"64:ff9b::192.0.2.1":        "192.0.2.1",
		"64:ff9b::c000:201":         "192.0.2.1",
		"64:ff9b:1::192.0.2.1":      "64:ff9b:1::c000:201", // local use: not a promise about IPv4
		"fe80::1%eth0":              "fe80::1",
		"2001:DB8::1":               "2001:db8::1",
		"2001:db8:0:0:0:0:0:1%zone": "2001:db8::1",
	} {
		t.Run(in, func(t *testing.T) {
			if got := Canonical(netip.MustParseAddr(in)); got.String() != want {
				t.Errorf("got %v, want %s", got, want)
			}
		})
	}
	if Canonical(netip.Addr{}).IsValid() {
		t.Error("the zero address became an address")
	}
}

func TestKeysOfAddresses(t *testing.T) {
	for _, c := range []struct{ in, client, net string }{
		{"192.0.2.129", "192.0.2.129", "192.0.2.0/24"},
		{"::ffff:192.0.2.129", "192.0.2.129", "192.0.2.0/24"},
		{"64:ff9b::192.0.2.129", "192.0.2.129", "192.0.2.0/24"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"2001:db8:1:2::", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"fe80::1%eth0", "fe80::/64", "fe80::/48"},
		{"::1", "::/64", "::/48"},
	} {
		t.Run(c.in, func(t *testing.T) {
			a := netip.MustParseAddr(c.in)
			if got := ClientKey(a); got != c.client {
				t.Errorf("client key %q, want %q", got, c.client)
			}
			if got := NetKey(a); got != c.net {
				t.Errorf("net key %q, want %q", got, c.net)
			}
		})
	}
	if ClientKey(netip.Addr{}) != "" || NetKey(netip.Addr{}) != "" {
		t.Error("the zero address has a key")
	}
}

func TestKeysAreAppendedWithoutAllocating(t *testing.T) {
	buf := make([]byte, 0, 128)
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	allocs := testing.AllocsPerRun(100, func() {
		b := AppendClientKey(buf[:0], four)
		b = AppendNetKey(b, four)
		b = AppendClientKey(b, six)
		AppendNetKey(b, six)
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":                           "192.0.2.1",
		"\t 192.0.2.1 ":                       "192.0.2.1",
		"192.0.2.1:443":                       "192.0.2.1",
		`"192.0.2.1:443"`:                     "192.0.2.1",
		"2001:db8::1":                         "2001:db8::1",
		"[2001:db8::1]":                       "2001:db8::1",
		"[2001:db8::1]:443":                   "2001:db8::1",
		`"[2001:db8::1]:443"`:                 "2001:db8::1",
		"::ffff:192.0.2.1":                    "192.0.2.1",
		"[::ffff:192.0.2.1]:443":              "192.0.2.1",
		"64:ff9b::192.0.2.1":                  "192.0.2.1",
		"fe80::1%eth0":                        "fe80::1",
		"[fe80::1%25eth0]:443":                "fe80::1",
		"fe80::1%" + strings.Repeat("z", 120): "fe80::1",
		"":                                    "",
		" ":                                   "",
		`"`:                                   "",
		`""`:                                  "",
		"-":                                   "",
		"unknown":                             "",
		"_hidden":                             "",
		"unix:":                               "",
		"localhost":                           "",
		"proxy.example:80":                    "",
		"192.0.2":                             "",
		"192.0.2.256":                         "",
		"192.0.2.01":                          "",
		"0xc0000201":                          "",
		"3221225985":                          "",
		"192.0.2.1.":                          "",
		"192.0.2.1:":                          "",
		"192.0.2.1:65536":                     "",
		"192.0.2.1:http":                      "",
		"192.0.2.1 192.0.2.2":                 "",
		"192.0.2.1%eth0":                      "",
		"fe80::1%" + strings.Repeat("z", 121): "", // 129 bytes
		"::ffff:192.0.2.1%eth0":               "",
		"192.0.2.1/24":                        "",
		"[192.0.2.1]:80":                      "",
		"[2001:db8::1":                        "",
		"2001:db8::1]":                        "",
		"[2001:db8::1]443":                    "",
		"[2001:db8::1]:":                      "",
		"[]":                                  "",
		"2001:db8::1::":                       "",
		"2001:db8:1:2:3:4:5:6:7":              "",
		"0.0.0.0":                             "",
		"::":                                  "",
		"224.0.0.1":                           "",
		"ff02::1":                             "",
		"for=192.0.2.1":                       "",
		"192.0.2.1\x00":                       "",
		"192.0.2.1\n":                         "",
		"\uff1192.0.2.1":                      "",
	} {
		t.Run(in, func(t *testing.T) {
			got, ok := ParseAddress(in)
			if ok != (want != "") || ok && got.String() != want {
				t.Errorf("got %v, %v, want %q", got, ok, want)
			}
		})
	}
}
