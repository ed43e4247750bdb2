package rules_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

// TestABundleIsLoadedOnce, while somebody uses it, also from sets that were opened.
func TestABundleIsLoadedOnce(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(compared)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := set.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*rules.Set, 4)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i], _ = set.Open(bundle) })
	}
	wg.Wait()
	again, err := all[0].Open(bytes.Clone(bundle))
	if err != nil || again == nil || again == set || again.Version != set.Version {
		t.Fatalf("%v, %v", again, err)
	}
	for _, one := range all {
		if one != again {
			t.Error("it was loaded twice")
		}
	}
	for range 2 {
		if _, err := set.Open(bundle[:9]); !errors.Is(err, rules.ErrBundle) {
			t.Errorf("half of it: %v", err)
		}
	}
}

func TestABundleHoldsTheRulesAsTheyAre(t *testing.T) {
	files := fstest.MapFS{"b.yaml": {Data: []byte(small("b"))}, "sub/a.yaml": {Data: []byte(small("a"))}, "README.md": {Data: []byte("no rule")}}
	set, err := rules.Load(files, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := set.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := set.Bundle(); err != nil || !bytes.Equal(again, bundle) {
		t.Errorf("packed twice, the same rules differ, %v", err)
	}
	opened, err := set.Open(bundle)
	if err != nil || opened.Version != set.Version || len(opened.Rules) != 2 || opened.Rules[0].File != "sub/a.yaml" {
		t.Errorf("opened: %+v, %v", opened, err)
	}
	for name, b := range map[string][]byte{"nothing": nil, "garbage": []byte("PK garbage"), "half": bundle[:len(bundle)/2], "too much": make([]byte, rules.MaxBundle+1)} {
		if _, err := set.Open(b); !errors.Is(err, rules.ErrBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bundle says which routes are a login, whatever the program that opens it thinks.
func TestABundleHoldsTheBuiltInRoutes(t *testing.T) {
	files := fstest.MapFS{"a.yaml": {Data: []byte(asking(`route_class == "login"`))}, ".weir/routes.yaml": {Data: []byte("routes: [{class: login, routes: [POST /enter]}]")}}
	set, err := rules.Load(files, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := set.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := set.Open(bundle)
	if err != nil || opened.Version != set.Version {
		t.Fatalf("opened: %+v, %v", opened, err)
	}
	if when := opened.Rules[0].When; !when(request("POST", "/enter", "192.0.2.1", 1)) || when(request("POST", "/login", "192.0.2.1", 1)) {
		t.Error("the program's own routes hold in a bundle")
	}
}

// So does it for words of routes: a bundle of a program without them has none.
func TestABundleHoldsTheWordsOfRoutes(t *testing.T) {
	const routes, words = "routes: [{class: login, routes: [POST /enter]}]", "-: api\nenter: enter come\n\nlogin POST: enter |"
	for text, logins := range map[string][2]bool{"": {false, false}, words: {true, false}} {
		files := fstest.MapFS{"a.yaml": {Data: []byte(asking(`route_class == "login"`))}, ".weir/routes.yaml": {Data: []byte(routes)}}
		if text != "" {
			files[".weir/words.txt"] = &fstest.MapFile{Data: []byte(text)}
		}
		set, err := rules.Load(files, testrules.Kinds())
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := set.Bundle()
		if err != nil {
			t.Fatal(err)
		}
		opened, err := set.Open(bundle)
		if err != nil || opened.Version != set.Version {
			t.Fatalf("opened: %+v, %v", opened, err)
		}
		for i, route := range []string{"/come", "/identity/sessions"} {
			if got := opened.Rules[0].When(request("POST", route, "192.0.2.1", 1)); got != logins[i] {
				t.Errorf("words %q: %s is a sign-in: %v", text, route, got)
			}
		}
	}
	if _, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(small("a"))}, ".weir/routes.yaml": {Data: []byte(routes)}, ".weir/words.txt": {Data: []byte("a: b\n\nx")}}, testrules.Kinds()); err == nil {
		t.Error("words that cannot be read are taken")
	}
}

// FuzzOpen feeds arbitrary bundles: opening ends, with rules or an error.
func FuzzOpen(f *testing.F) {
	set, err := loadText(f, map[string]string{"a.yaml": small("a")})
	if err != nil {
		f.Fatal(err)
	}
	bundle, err := set.Bundle()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundle)
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, b []byte) {
		opened, err := set.Open(b)
		if (opened == nil) == (err == nil) {
			t.Errorf("%v, %v", opened, err)
		}
	})
}
