package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
)

type empty struct{}

func (empty) Look(_ context.Context, _ []facet.Entity, _ time.Time, _ time.Duration, _ bool) lookup.Answer {
	return lookup.Answer{}
}
func (empty) Ready(context.Context) error { return nil }

// nowhere is a Kafka that nothing is written to.
type nowhere struct{ emit.Log }

// TestExamplesWorkAsPrinted: the examples in the help and the documentation work
// when copied.
func TestExamplesWorkAsPrinted(t *testing.T) {
	words, err := app.LoadRules("")
	if err != nil {
		t.Fatal(err)
	}
	policies, err := policy.Load("", words)
	if err != nil {
		t.Fatal(err)
	}
	emitter, err := emit.New(emit.Defaults(), emit.Topics{Events: "weir.events", Controls: "weir.controls"}, emit.Dependencies{Log: nowhere{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(gate.Defaults(), gate.Dependencies{Risk: empty{}, Policies: policies, Shares: policy.NewHashed([16]byte{}), Emitter: emitter})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"weir-gate -h": command().Example, "README.md": file(t, "../../README.md"), "docs/gate.md": file(t, "../../docs/gate.md")} {
		t.Run(name, func(t *testing.T) {
			examples := curls(text)
			if len(examples) == 0 {
				t.Fatal("it shows no way to ask")
			}
			for _, words := range examples {
				rec := httptest.NewRecorder()
				r, want := request(t, words), http.StatusOK
				if r.URL.Path == "/v1/outcome" || r.URL.Path == "/v1/passed" {
					want = http.StatusAccepted
				}
				g.Handler().ServeHTTP(rec, r)
				if rec.Code != want {
					t.Errorf("%q: %d %s", words, rec.Code, rec.Body)
				}
			}
		})
	}
}

func file(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// word matches a word of a shell command: unquoted, or in single quotes.
var word = regexp.MustCompile(`'[^']*'|[^\s'\\]+`)

// curls finds the commands that call the gate, split into words.
func curls(text string) (all [][]string) {
	for _, m := range regexp.MustCompile(`(?m)^ *curl ((?:'[^']*'|\\\n|[^'\n])*)$`).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(m[1], "/v1/") {
			continue
		}
		var words []string
		for _, w := range word.FindAllString(m[1], -1) {
			words = append(words, strings.Trim(w, "'"))
		}
		all = append(all, words)
	}
	return all
}

// request returns the request that curl would send.
func request(t *testing.T, words []string) *http.Request {
	t.Helper()
	method, target, body, header := http.MethodGet, "", "", http.Header{}
	for i := 0; i < len(words); i++ {
		switch w := words[i]; w {
		case "-s":
		case "-d":
			i++
			method, body = http.MethodPost, words[i]
			if header.Get("Content-Type") == "" {
				header.Set("Content-Type", "application/x-www-form-urlencoded") // curl's default
			}
		case "-H":
			i++
			name, value, _ := strings.Cut(words[i], ": ")
			header.Set(name, value)
		default:
			if strings.HasPrefix(w, "-") || target != "" {
				t.Fatalf("the test does not know %q of %q", w, words)
			}
			target = "http://" + strings.TrimPrefix(w, "http://")
		}
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header = header
	return r
}
