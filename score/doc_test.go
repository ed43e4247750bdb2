package score

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
)

// reader is a program in docs/redis.md, which is run with arguments: the secret,
// the value, a forged one, and moments. It prints the key of the example, a word
// for the forged value, and the score at each moment.
type reader struct {
	name, program, language string
	run                     func(t *testing.T, code string, args []string) *exec.Cmd
}

func readers() []reader {
	script := func(program, option, harness string) func(*testing.T, string, []string) *exec.Cmd {
		return func(t *testing.T, code string, args []string) *exec.Cmd {
			return exec.CommandContext(t.Context(), program, append([]string{option, code + "\n" + harness}, args...)...)
		}
	}
	return []reader{
		{"Python", "python3", "python", script("python3", "-c", `
import sys
secret, value, forged, *nows = [a.encode() for a in sys.argv[1:]]
k = key(secret, "ip", "203.0.113.9", "shop")
assert score(secret, k, None) == 0
print(k, score(secret, k, forged), *[score(secret, k, value, now=int(n)) for n in nows])
`)},
		{"Node", "node", "js", script("node", "-e", `
const [secret, value, forged, ...nows] = process.argv.slice(1);
const k = key(secret, "ip", "203.0.113.9", "shop");
if (score(secret, k, null) !== 0) throw new Error("a missing key");
console.log(k, score(secret, k, forged), ...nows.map(n => score(secret, k, value, Number(n))));
`)},
		{"Go", "go", "go", goProgram},
	}
}

// goProgram puts the harness into a file of its own, since Go wants imports first.
func goProgram(t *testing.T, code string, args []string) *exec.Cmd {
	dir := t.TempDir()
	for name, text := range map[string]string{"risk.go": code, "main.go": `package main

import (
	"fmt"
	"os"
	"strconv"
)

func main() {
	secret, value, forged := []byte(os.Args[1]), os.Args[2], os.Args[3]
	key := Key(secret, "weir:risk", "ip", "203.0.113.9", "shop")
	_, ok := Score(secret, key, forged, 0)
	fmt.Print(key, " ", ok)
	for _, text := range os.Args[4:] {
		now, _ := strconv.ParseInt(text, 10, 64)
		points, _ := Score(secret, key, value, now)
		fmt.Print(" ", points)
	}
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{"run", filepath.Join(dir, "risk.go"), filepath.Join(dir, "main.go")}
	return exec.CommandContext(t.Context(), "go", append(files, args...)...)
}

func TestTheReadersInTheDocumentationAgree(t *testing.T) {
	text := string(mustAppend(t, example()))
	page, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "\n"+text+"\n") {
		t.Errorf("the value in docs/redis.md is not as it is written:\n%s", text)
	}
	list := example().Contributions
	forged := strings.Replace(text, `"w":80`, `"w":10`, 1)
	// Moments at which no total is near half a point; the last is behind its expiry.
	args, want := []string{string(testSecret), text, forged}, []string{}
	for _, after := range []int64{-5000, 0, 2000, 600_000, 1_800_000, 7_200_000, 20_000_000} {
		now := list[0].Time + after
		acting, enforced := AtLeast(rules.Soft, list, now), AtLeast(rules.Enforce, list, now)
		args = append(args, fmt.Sprint(now))
		want = append(want, fmt.Sprint(max(acting.Total, enforced.Total).Points()))
	}
	for _, r := range readers() {
		t.Run(r.name, func(t *testing.T) {
			if _, err := exec.LookPath(r.program); err != nil {
				t.Skipf("%s is not installed: %v", r.program, err)
			}
			none := map[string]string{"Python": "None", "Node": "null", "Go": "false"}[r.name]
			expected := exampleKey + " " + none + " " + strings.Join(want, " ")
			out, err := r.run(t, testkit.ReadPage(t, "docs/redis.md").Blocks(t, r.language)[0], args).CombinedOutput()
			if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != expected {
				t.Errorf("%v\ngot  %s\nwant %s", err, got, expected)
			}
		})
	}
}
