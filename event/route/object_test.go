package route

import (
	"strings"
	"testing"
)

func TestTheObjectOfARequest(t *testing.T) {
	table, err := New([]string{
		"/api/v2/patients/{pid}/lab-results", "/users/{userId}/orders/{orderId}", "/{locale}/shops/{shop}", "/Bills/{id}/pages/{version}",
		"/docs/{doc}/*", "/{org}/{repo}/tree", "/api/v7/{thing}", "/images/{name}", "/people/{id}", "/caf%c3%a9/{id}",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, id, kind string }{
		{"a template", "/api/v2/patients/301000/lab-results?full=1", "301000", "patients"},
		{"a template in another spelling", "/API//v2/./pat%69ents/301000;v=1/LAB-results/", "301000", "patients"},
		{"a template, in absolute form", "https://api.example/api/v2/patients/301000/lab-results", "301000", "patients"},
		{"the last parameter", "/users/17/orders/A%2F-9", "A%2F-9", "orders"},
		{"letters keep their case", "/people/dQw4w9WgXcQ", "dQw4w9WgXcQ", "people"},
		{"a language before it", "/de/shops/7", "7", "shops"},
		{"a version behind it", "/bills/7/pages/2", "7", "Bills"},
		{"a template with a tail", "/docs/7/a/b/c", "7", "docs"},
		{"no literal before it", "/weirdev/weir-2/tree", "weir-2", ""},
		{"a version is no kind", "/api/v7/17", "17", ""},
		{"a picture", "/images/17", "", ""},
		{"the own one", "/people/me", "", ""},
		{"escapes in a template", "/caf%C3%A9/3", "3", "caf%c3%a9"},

		{"the fallback", "/v1/orders/1899", "1899", "orders"},
		{"the fallback, with what follows", "/v1/orders/1899/cancel", "1899", "orders"},
		{"the fallback, with what it does not know", "/api/v2/documents/301000/pages/4", "301000", "documents"},
		{"the fallback, two ids", "/v1/users/17/orders/1899", "1899", "orders"},
		{"a slug", "/v1/products/blue-shirt", "blue-shirt", "products"},
		{"part of a name", "/wp-content/plugins/forms/readme.txt", "", ""},
		{"part of a name, escaped", "/wp-content/pl%55gins/forms/readme.txt", "", ""},
		{"an unknown word has no kind", "/api/v4/gizmos/17", "17", ""},
		{"an id alone", "/4f6a1c", "4f6a1c", ""},
		{"a language and an app are no objects", "/de/v1/feed", "", ""},
		{"an unusual version", "/v11/orders/5", "5", "orders"},
		{"a usual route", "/v1/checkouts/c-81/pay", "c-81", "checkouts"},
		{"a script", "/v1/files/main.4f1.JS", "", ""},
		{"assets", "/static/7/8", "", ""},
		{"a procedure", "/rpc/wallet.sendmoney", "", ""},
		{"no id", "/v1/orders", "", ""},
		{"the root", "/", "", ""},
		{"no path", "*", "", ""},
		{"dots", "/v1/orders/17/..", "", ""},
		{"very many segments", "/v1/orders" + strings.Repeat("/17", 40), "17", "orders"},
	} {
		t.Run(c.name, func(t *testing.T) {
			route := table.Route("GET", c.path)
			if id, kind := Object(route, c.path); id != c.id || kind != c.kind {
				t.Errorf("%s of %s is %q of kind %q; want %q of %q", c.path, route, id, kind, c.id, c.kind)
			}
		})
	}
}

func TestTheObjectOfARouteThatAGatewayNames(t *testing.T) {
	for _, c := range []struct{ name, route, path, id, kind string }{
		{"it fits", "/shop/{what}", "/shop/Shoes-9", "Shoes-9", "shop"},
		{"below a prefix that the gateway removed", "/shop/{what}", "/gw/shop/shoes", "", ""},
		{"shorter", "/shop/{what}/{size}", "/shop/shoes", "", ""},
		{"longer", "/shop/{what}", "/shop/shoes/9", "", ""},
		{"another literal", "/shop/{what}", "/store/shoes", "", ""},
		{"the start of a literal", "/shop/{what}", "/sho/shoes", "", ""},
		{"another kind of template", "/shop/:what", "/shop/shoes", "", ""},
		{"an operation", "getShoes {x}", "/shop/shoes", "", ""},
		{"hardly a template", "/{/{}", "/a/b", "", ""},
		{"no path", "/shop/{what}", "*", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if id, kind := Object(c.route, c.path); id != c.id || kind != c.kind {
				t.Errorf("%q of kind %q, want %q of %q", id, kind, c.id, c.kind)
			}
		})
	}
}

func TestAnObjectCostsNoAllocation(t *testing.T) {
	var id string
	if n := testing.AllocsPerRun(100, func() { id, _ = Object("/v1/users/{id}/orders/{order}", "/v1/users/17/orders/1899?x=1") }); n != 0 || id != "1899" {
		t.Errorf("%q takes %v allocations", id, n)
	}
}

// FuzzObject: an object is part of its path, and what is a kind stands in the route.
func FuzzObject(f *testing.F) {
	f.Add("/shop/{what}", "/shop/shoes;a=1")
	f.Add("/v{n}/~0f/{id}/…", "/v9/gizmos/17/x/y")
	f.Add("/{a}/*", "/a/b/../..//%2e%2e/c")
	f.Fuzz(func(t *testing.T, route, path string) {
		id, kind := Object(route, path)
		if !strings.Contains(path, id) || !strings.Contains(route, kind) || strings.Contains(id, "/") || id == "" && kind != "" {
			t.Errorf("%q of kind %q", id, kind)
		}
		if again, _ := Object(route, path); again != id {
			t.Error("another object than before")
		}
	})
}
