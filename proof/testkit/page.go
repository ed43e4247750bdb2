package testkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Page is a page of the documentation.
type Page struct {
	path string
	Text string
}

// ReadPage reads a page by its path from the root of the module, such as
// docs/rules.md.
func ReadPage(t testing.TB, path string) Page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return Page{path, string(text)}
}

// root returns the root directory of the test's module.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("there is no go.mod above the test")
		}
		dir = up
	}
}

// Blocks returns the fenced blocks of a language in order; "" selects those without
// a language. There must be at least one.
func (p Page) Blocks(t testing.TB, language string) (all []string) {
	t.Helper()
	for i, part := range p.parts() {
		if first, text, _ := strings.Cut(part, "\n"); i%2 == 1 && first == language {
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no block of %q", p.path, language)
	}
	return all
}

// Block returns the first fenced block, of any language, that contains what.
func (p Page) Block(t testing.TB, what string) string {
	t.Helper()
	for i, part := range p.parts() {
		if _, text, _ := strings.Cut(part, "\n"); i%2 == 1 && strings.Contains(part, what) {
			return text
		}
	}
	t.Fatalf("%s has no block with %q", p.path, what)
	return ""
}

// parts returns text at even indices and fenced blocks at odd ones. Each block
// begins with its language.
func (p Page) parts() []string { return strings.Split(p.Text, "```") }
