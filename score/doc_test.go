package score

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// block is the first block of a language in docs/redis.md.
func block(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "\n```"+language+"\n")
	code, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatalf("docs/redis.md has no block of %s", language)
	}
	return code
}

func TestTheReadersInTheDocumentationAgree(t *testing.T) {
	text := string(mustAppend(t, example()))
	page, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "\n"+text+"\n") {
		t.Error("the value in docs/redis.md is not as it is written")
	}
	list := example().Contributions
	key := Key(testSecret, "weir:risk", facet.Entity{Kind: facet.IP, Tenant: "shop", Key: "203.0.113.9"})
	// Moments at which no total is near half a point.
	var nows, want []string
	for _, after := range []int64{-5000, 0, 2000, 600_000, 1_800_000, 7_200_000} {
		now := list[0].Time + after
		acting := AtLeast(rules.Soft, list, now)
		nows = append(nows, fmt.Sprint(now))
		want = append(want, fmt.Sprint(acting.Total.Points()))
	}
	expected := key + " " + strings.Join(want, " ")
	for _, tc := range []struct{ name, program, language, option, harness string }{
		{"Python", "python3", "python", "-c", `
import sys
k = key(sys.argv[1].encode(), "ip", "203.0.113.9", "shop")
print(k, *[score(k, sys.argv[2], now=int(n)) for n in sys.argv[3:]])
`},
		{"Node", "node", "js", "-e", `
const [secret, value, ...nows] = process.argv.slice(1);
const k = key(secret, "ip", "203.0.113.9", "shop");
console.log(k, ...nows.map(n => score(k, value, undefined, Number(n))));
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := exec.LookPath(tc.program); err != nil {
				t.Skipf("%s is not installed: %v", tc.program, err)
			}
			args := append([]string{tc.option, block(t, tc.language) + "\n" + tc.harness, string(testSecret), text}, nows...)
			out, err := exec.CommandContext(t.Context(), tc.program, args...).CombinedOutput()
			if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != expected {
				t.Errorf("%v\ngot  %s\nwant %s", err, got, expected)
			}
		})
	}
}
