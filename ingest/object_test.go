package ingest_test

import (
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
)

func TestAnEventWithoutAnObjectHasThatOfItsPath(t *testing.T) {
	cfg := ingest.Defaults()
	cfg.Routes = []string{"/api/v2/patients/{pid}/lab-results"}
	for _, c := range []struct{ name, raw, object, kind string }{
		{"a template", `"path":"/api/v2/patients/301000/lab-results","account":"ann"`, "301000", "patients"},
		{"the fallback", `"path":"/v1/orders/1899"`, "1899", "orders"},
		{"the route of a gateway", `"path":"/shop/shoes","route":"/shop/{what}"`, "shoes", "shop"},
		{"one that the gateway names", `"path":"/v1/orders/1899","object":"o1"`, "o1", ""},
		{"one of a type that the gateway names", `"path":"/v1/orders/1899","object_type":"order"`, "1899", "order"},
		{"an escaped id is the same id", `"path":"/v1/orders/%31%38%39%39"`, "1899", "orders"},
		{"what must be escaped stays so", `"path":"/v1/orders/a%2Fb%20"`, "a%2Fb%20", "orders"},
		{"the own account", `"path":"/v1/users/Ann","account":"ann"`, "", ""},
		{"the own device", `"path":"/v1/devices/d%31","device":"d1"`, "", ""},
		{"the own session", `"path":"/v1/sessions/s1","session":"s1"`, "", ""},
		{"the own token", `"path":"/v1/tokens/t1/x","token":"t1"`, "", ""},
		{"somebody else", `"path":"/v1/users/ben","account":"ann"`, "ben", "users"},
		{"a sign-in", `"path":"/v1/shops/17/sessions/new","auth":"failure"`, "", ""},
		{"no path", `"route":"/v1/orders/{id}"`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := complete(t, cfg, geo.Nowhere{}, c.raw)
			if e.Text(event.Object) != c.object || e.Text(event.ObjectType) != c.kind {
				t.Errorf("%q of type %q, want %q of %q", e.Text(event.Object), e.Text(event.ObjectType), c.object, c.kind)
			}
		})
	}
}

// A derived object is the one that a gateway would have named.
func TestADerivedObjectIsCutLikeAGivenOne(t *testing.T) {
	id := strings.Repeat("7", 300)
	derived := complete(t, ingest.Defaults(), geo.Nowhere{}, `"path":"/v1/orders/`+id+`"`)
	given := complete(t, ingest.Defaults(), geo.Nowhere{}, `"object":"`+id+`"`)
	if got := derived.Text(event.Object); got != given.Text(event.Object) || len(got) != 256 {
		t.Errorf("%q, want %q", got, given.Text(event.Object))
	}
	if derived.Has(event.Clipped) {
		t.Error("an event is marked that has all of what the client wrote")
	}
	long := complete(t, ingest.Defaults(), geo.Nowhere{}, `"path":"/`+strings.Repeat("k", 80)+`/17","route":"/`+strings.Repeat("k", 80)+`/{id}"`)
	if got := long.Text(event.ObjectType); got != strings.Repeat("k", 64) || long.Text(event.Object) != "17" {
		t.Errorf("%q of type %q", long.Text(event.Object), got)
	}
}
