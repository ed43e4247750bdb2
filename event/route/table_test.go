package route

import (
	"fmt"
	"strings"
	"testing"
)

func testTable(t testing.TB, templates ...string) *Table {
	t.Helper()
	r, err := New(templates)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var shopTemplates = []string{
	"/",
	"/v1/users/{id}",
	"/v1/users/{id}/orders",
	"/v1/users/{user}/orders/{order}",
	"/v1/users/me",
	"GET /v1/users/{name}",
	"POST /v1/users/import",
	"/v1/{collection}/{id}/history",
	"/static/*",
	"/static/{version}/app.js",
	"DELETE /static/*",
	"/Shop/Cart",
	"/caf%C3%A9/{dish}",
}

func TestTemplatesMatchMostSpecificFirst(t *testing.T) {
	r := testTable(t, shopTemplates...)
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/", "/"},
		{"POST", "/v1/users/4711", "/v1/users/{id}"},
		{"GET", "/v1/users/4711", "/v1/users/{name}"},
		{"GET", "/v1/users/me", "/v1/users/me"},
		{"POST", "/v1/users/import", "/v1/users/import"},
		{"PUT", "/v1/users/import", "/v1/users/{id}"}, // the literal is for POST only
		{"", "/v1/users/import", "/v1/users/{id}"},
		{"GET", "/v1/users/4711/orders", "/v1/users/{id}/orders"},
		{"GET", "/v1/users/4711/orders/9", "/v1/users/{user}/orders/{order}"},
		{"GET", "/v1/users/4711/history", "/v1/{collection}/{id}/history"}, // back out of users
		{"GET", "/v1/things/4711/history", "/v1/{collection}/{id}/history"},
		{"GET", "/static/a/b/c", "/static/*"},
		{"GET", "/static/" + strings.Repeat("a/", 100), "/static/*"},
		{"DELETE", "/static/a", "/static/*"},
		{"GET", "/static/1.2/app.js", "/static/{version}/app.js"},
		{"GET", "/static", "/static"}, // * is one segment or more: this is the fallback
		{"GET", "/caf%c3%a9/soup", "/caf%C3%A9/{dish}"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			if got := r.Route(c.method, c.path); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestSpellingsOfAPathShareItsRoute(t *testing.T) {
	r := testTable(t, shopTemplates...)
	const want = "/v1/users/{id}/orders"
	for _, path := range []string{
		"/v1/users/4711/orders", "/v1/users/4711/orders/", "//v1///users/4711//orders", "/v1/users/4711/orders?page=2",
		"/v1/users/4711/orders#top", "/v1/users/4711/orders?a=/x/y", "/v1/./users/4711/orders/.", "/v1/x/../users/4711/orders",
		"/../../v1/users/4711/orders", "/v1/users/4711/orders/x/..", "/%76%31/users/4711/%6f%72%64%65%72%73",
		"/v1/%2e%2e/v1/users/4711/orders", "/v1/%2E/users/4711/orders", "/V1/Users/4711/ORDERS", "/v1/users/4711/orders;jsessionid=1",
		"/v1;a/users;b=c/4711;d/orders", "/v1/x/..;/users/4711/orders", "/;x/v1/users/4711/orders", "/v1/users/a%2Fb/orders",
		"/v1/users/" + strings.Repeat("9", 4000) + "/orders", "/v1/users/" + strings.Repeat("%39", 2000) + "/orders",
		"http://shop.example/v1/users/4711/orders", "HTTPS://user@shop.example:443/v1/users/4711/orders?x",
		strings.Repeat("/a", 100) + strings.Repeat("/..", 100) + "/v1/users/4711/orders",
	} {
		t.Run(fmt.Sprintf("%.60s", path), func(t *testing.T) {
			if got := r.Route("POST", path); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestWrongTemplatesAreAllNamed(t *testing.T) {
	_, err := New([]string{
		"users", "/users/{id", "/users/{}", "/users/a{id}", "/a/*/b", "/a?b", "/a b", "get /a", "/a//b", "/a/../b", "/a/./b",
		"/ä", "/a;b", "/" + strings.Repeat("a", 49), strings.Repeat("/a", 17), "/" + strings.Repeat("a/", 300),
		"/users/{id}", "/users/{name}", "/x/y", "/X/y/", "GET /z", "GET /z", "/{a}{b}", "", " /a",
	})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 22 {
		t.Errorf("%d errors, want 22:\n%v", len(lines), err)
	}
	for _, want := range []string{
		`route "users": a template starts with /`,
		`route "/users/{name}": matches the same paths as "/users/{id}"`,
		`route "/X/y/": matches the same paths as "/x/y"`,
		`route "GET /z": matches the same paths as "/z"`,
		`route "get /a": a method in capital letters`,
		`route "/a/../b": segment "..": empty and dot segments never remain`,
		`wholly a parameter such as {id}`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing says %s:\n%v", want, err)
		}
	}
}

func TestTooManyTemplatesAreRefused(t *testing.T) {
	if _, err := New(make([]string, maxTemplates+1)); err == nil {
		t.Error("no error")
	}
}

func TestTemplateHitsDoNotAllocate(t *testing.T) {
	r := testTable(t, shopTemplates...)
	if n := testing.AllocsPerRun(100, func() { r.Route("GET", "/v1/users/4711/orders/9?page=2") }); n != 0 {
		t.Errorf("template: %v allocations, want none", n)
	}
	if n := testing.AllocsPerRun(100, func() { r.Route("GET", "/v1/products/4711/reviews?page=2") }); n != 0 {
		t.Errorf("frequent fallback: %v allocations, want none", n)
	}
}

func TestRoutesDoNotAliasThePath(t *testing.T) {
	r := testTable(t)
	path := []byte("/v1/products/4711")
	route := r.Route("GET", string(path))
	for i := range path {
		path[i] = 'x'
	}
	if route != "/v1/products/{id}" {
		t.Errorf("got %s", route)
	}
}

func BenchmarkRoute(b *testing.B) {
	r := testTable(b, shopTemplates...)
	for _, path := range []string{"/v1/users/4711/orders/9?page=2", "/v1/products/4711/reviews?page=2", "/unheard/of"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Route("GET", path)
			}
		})
	}
}
