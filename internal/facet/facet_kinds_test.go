package facet

import (
	"testing"

	"github.com/weirdev/weir/event"
)

func TestTheWiderNetworkOfAClient(t *testing.T) {
	scratch := make([]byte, 0, 32)
	for client, want := range map[string]string{
		"203.0.113.9": "203.0.0.0/16", "255.255.255.255": "255.255.0.0/16", "2001:db8:1:2::/64": "2001:db8::/32", "": "", "unknown": "",
	} {
		e := new(event.Event)
		e.SetText(event.ClientIP, client)
		got, ok := EntityOf(Net16, e, scratch)
		if got.Key != want || ok != (want != "") || Net16Of(client) != want {
			t.Errorf("%q is in %q, %v, want %q", client, got.Key, ok, want)
		}
		if key, whole, ok := KeyOf(Net16, want); want != "" && (key != want || !whole || !ok) {
			t.Errorf("%q is asked as %q, %v, %v", want, key, whole, ok)
		}
	}
	e := new(event.Event)
	e.SetText(event.ClientIP, "2001:db8:1:2::/64")
	if n := testing.AllocsPerRun(100, func() { EntityOf(Net16, e, scratch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKindsThatDoNotExist(t *testing.T) {
	e := new(event.Event)
	e.SetText(event.Account, "ann")
	for _, k := range []Kind{0, Attestation + 1, MaxKind - 1, MaxKind, 64, 255} {
		if _, ok := EntityOf(k, e, nil); ok || k.Exists() || Names(k) != nil || k.String() != "unknown" {
			t.Errorf("there is a kind %d", k)
		}
		if _, _, ok := KeyOf(k, "x"); ok {
			t.Errorf("kind %d has keys", k)
		}
	}
	if _, ok := ParseKind(""); ok {
		t.Error("a kind has no name")
	}
}
