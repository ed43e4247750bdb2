package console

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

// editedRules is a directory with the built-in rules, which a test edits, and the book
// that follows it.
type editedRules struct {
	*RuleBook
	t    *testing.T
	file string
	said *bytes.Buffer
}

func newEditedRules(t *testing.T) *editedRules {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../rules/default")); err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(os.DirFS(dir), detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	e := &editedRules{t: t, file: filepath.Join(dir, "credential_stuffing.yaml"), said: &bytes.Buffer{}}
	if e.RuleBook, err = WatchRules(dir, set, detectors.All(), slog.New(slog.NewTextHandler(e.said, nil))); err != nil {
		t.Fatal(err)
	}
	return e
}

// replace edits the file, and looks until the change counts.
func (e *editedRules) replace(was, is string) {
	e.t.Helper()
	text, err := os.ReadFile(e.file)
	if err != nil || !strings.Contains(string(text), was) {
		e.t.Fatalf("%s is not in the file (%v)", was, err)
	}
	if err := os.WriteFile(e.file, []byte(strings.Replace(string(text), was, is, 1)), 0o600); err != nil {
		e.t.Fatal(err)
	}
	for range 3 { // a change counts when two looks agree
		e.look()
	}
}

// TestPagesFollowTheRules: a page shows the rules as they are in the directory. Rules with
// a mistake change nothing, and are told once.
func TestPagesFollowTheRules(t *testing.T) {
	s, e := newSite(t, nil), newEditedRules(t)
	s.console.deps.Rules = e.RuleBook
	b := s.signedIn(t, analystToken)
	shows := func(want string) {
		t.Helper()
		if res, body := b.get("/rule?id=credential-stuffing-ip"); res.StatusCode != http.StatusOK || !strings.Contains(text(body), want) {
			t.Errorf("%s, without %q:\n%s", res.Status, want, text(body))
		}
	}
	const title = "Many accounts tried from one address"
	before := e.Current().Version
	shows(title)
	e.replace("title: "+title, "title: A password list is tried")
	shows("A password list is tried")
	if e.Current().Version != before {
		t.Error("a title is no part of the version")
	}
	for range 2 {
		e.replace("sliding_window:", "sliding_windo:")
		shows("A password list is tried")
		if n := strings.Count(e.said.String(), "the rules are not used"); n != 1 || !strings.Contains(e.said.String(), "credential_stuffing.yaml") {
			t.Errorf("said %d times: %s", n, e.said)
		}
		e.replace("sliding_windo:", "sliding_window:")
		e.said.Reset()
	}
	if err := os.Rename(filepath.Dir(e.file), filepath.Dir(e.file)+".gone"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		e.look()
	}
	shows("A password list is tried")
	if n := strings.Count(e.said.String(), "the rules are not used"); n != 1 {
		t.Errorf("said %d times: %s", n, e.said)
	}
}
