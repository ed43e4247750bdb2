package policy

import (
	"crypto/sha256"
	_ "embed" // for the built-in file
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/problem"
	"github.com/weirdev/weir/rules"
)

//go:embed default.yaml
var builtIn []byte

const docs = "docs/policy.md"

// Read returns the content of a policy file; if path is "", that of the built-in
// one.
func Read(path string) ([]byte, error) {
	if path == "" {
		return builtIn, nil
	}
	info, err := os.Stat(path) // before opening: opening a named pipe would wait for its writer
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, rules.MaxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	return data, nil
}

// Load reads and checks a policy file; if path is "", the built-in one. Conditions
// use the lists and route classes of words. If the file is wrong, the error is a
// [*problem.Problems] with all mistakes.
func Load(path string, words *rules.Set) (*Set, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = "built-in policies"
	}
	return Parse(path, data, words)
}

// Parse is [Load] for the content of a file.
func Parse(name string, data []byte, words *rules.Set) (*Set, error) {
	file := words.Document(name, data, grammar(), docs)
	sum := sha256.Sum256(data)
	l := loader{set: &Set{Version: hex.EncodeToString(sum[:8])}, lines: map[string]int{}, limits: map[string]int{}, tests: map[string]int{}}
	list := file.List("policies")
	for i, p := range list {
		l.policy(p, i == len(list)-1)
	}
	for _, one := range file.List("limits") {
		l.limit(one)
	}
	for _, t := range file.List("tests") {
		l.test(t)
	}
	if err := file.Err(); err != nil {
		return nil, err
	}
	return l.set, nil
}

type loader struct {
	set    *Set
	lines  map[string]int // by id
	limits map[string]int // by id
	tests  map[string]int // by name
	all    string         // id of a policy that matches every request; later ones match none
}

func (l *loader) policy(in *rules.Params, last bool) {
	p := Policy{ID: in.Text("id"), Title: in.Text("title"), Line: in.Line(), Phase: rules.Enforce}
	if c := in.Condition("when"); c != nil {
		p.When = c.Holds
	}
	if in.Has("share") {
		of := in.Object("share")
		p.Share.Percent = of.Int("percent")
		p.Share.Of, _ = facet.ParseKind(of.Text("of")) // checked by the grammar
	}
	l.order(in, &p, last)
	if in.Has("phase") {
		p.Phase, _ = rules.ParsePhase(in.Text("phase")) // checked by the grammar
	}
	p.Score = thresholds(in.Object("score"))
	for _, c := range rules.Categories() {
		if of := in.Object("categories"); of.Has(c) {
			p.Categories = append(p.Categories, CategoryThresholds{c, thresholds(of.Object(c))})
		}
	}
	p.Always = action(in, "always", Allow)
	failure(in, &p)
	p.Budget, p.RetryAfter = in.DurationOr("budget", defaultBudget), in.DurationOr("retry_after", defaultRetry)
	if p.RetryAfter%time.Second != 0 {
		in.Problem("retry_after", "clients are told whole seconds", "leave the milliseconds out")
	}
	l.set.Policies = append(l.set.Policies, p)
}

// order checks conditions that depend on a policy's position.
func (l *loader) order(in *rules.Params, p *Policy, last bool) {
	if first, taken := l.lines[p.ID]; taken {
		in.Problem("id", fmt.Sprintf("another policy has the id %q", p.ID), fmt.Sprintf("rename one of the two; the first is in line %d", first))
	}
	if p.ID != "" {
		l.lines[p.ID] = in.LineOf("id")
	}
	every := !in.Has("when") && !in.Has("share")
	switch {
	case l.all != "":
		in.Problem("id", "no request gets as far as this policy", fmt.Sprintf("put it before %q, which is for every request", l.all))
	case last && !every:
		in.Problem("id", "the last policy is not for every request", "add one without when and share behind it, which says what happens to all others")
	case every && !last:
		l.all = p.ID
	}
}

func thresholds(in *rules.Params) Thresholds {
	t := Thresholds{never, never, never, never, never}
	before, least := "", 1
	for _, of := range []struct {
		action Action
		into   *int
	}{{Tag, &t.Tag}, {Throttle, &t.Throttle}, {Challenge, &t.Challenge}, {StepUp, &t.StepUp}, {Deny, &t.Deny}} {
		name := of.action.String()
		points := in.IntOr(name, never)
		if points == 0 || points == never {
			continue // absent, or already reported
		}
		if points < least {
			in.Problem(name, fmt.Sprintf("%s would follow from %d points, and %s only from %d", name, points, before, least), "let the thresholds rise with the strictness of actions, or leave the milder one out")
			continue
		}
		*of.into, before, least = points, name, points
	}
	return t
}

func failure(in *rules.Params, p *Policy) {
	for f, name := range failureNames {
		if name == in.Text("failure") {
			p.Failure = Failure(f)
		}
	}
	absent := Allow
	if p.Failure == Closed {
		absent = Deny
	}
	p.FailureAction = action(in, "failure_action", absent)
	if !in.Has("failure_action") {
		return
	}
	switch {
	case p.Failure == Open && in.Has("failure"):
		in.Problem("failure_action", "a policy that is open on failure has no action of its own", "leave it out, or write failure: closed")
	case p.Failure == Closed && p.FailureAction < Throttle:
		in.Problem("failure_action", fmt.Sprintf("%s lets requests pass", p.FailureAction), "write throttle, challenge, step_up or deny, or failure: open")
	}
}

func action(in *rules.Params, name string, absent Action) Action {
	if a, err := ParseAction(in.Text(name)); err == nil {
		return a
	}
	return absent
}

func (l *loader) test(in *rules.Params) {
	t := Test{Name: in.Text("name"), Line: in.Line(), Request: in.Event("request"), Known: in.Text("known"), Outside: in.Texts("outside")}
	if first, taken := l.tests[t.Name]; taken && t.Name != "" {
		in.Problem("name", "another test has the same name", "name it after what is different; the first is in line "+strconv.Itoa(first))
	}
	l.tests[t.Name] = in.Line()
	locate(t.Request)
	if t.Known == "" {
		t.Known = knownAll
	}
	for i, s := range in.List("risk") {
		t.Risk = append(t.Risk, signal(s, i))
	}
	if t.Known == knownNothing && len(t.Risk) > 0 {
		in.Problem("risk", "there is no risk where nothing is known", "leave it out, or write known: earlier")
	}
	l.known(in, "outside", t.Outside)
	t.Exceeded = in.Texts("exceeded")
	l.knownLimits(in, "exceeded", t.Exceeded)
	x := in.Object("expect")
	t.Action, t.Policy, t.Would = action(x, "action", Allow), x.Text("policy"), action(x, "would", Allow)
	t.looksAtWould = x.Has("would")
	if t.Policy != "" {
		l.known(x, "policy", []string{t.Policy})
	}
	t.Limits, t.looksAtLimits = x.Texts("limits"), x.Has("limits")
	l.knownLimits(x, "limits", t.Limits)
	if t.LimitedBy = x.Text("limited_by"); t.LimitedBy != "" {
		l.knownLimits(x, "limited_by", []string{t.LimitedBy})
	}
	l.set.Tests = append(l.set.Tests, t)
}

// known reports ids without a policy.
func (l *loader) known(in *rules.Params, key string, ids []string) {
	report(in, key, "policy", ids, l.lines)
}

// knownLimits reports ids without a limit.
func (l *loader) knownLimits(in *rules.Params, key string, ids []string) {
	report(in, key, "limit", ids, l.limits)
}

func report(in *rules.Params, key, what string, ids []string, known map[string]int) {
	for _, id := range ids {
		if _, ok := known[id]; !ok {
			in.Problem(key, fmt.Sprintf("there is no %s %q", what, id), problem.DidYouMean(id, slices.Sorted(maps.Keys(known))))
		}
	}
}
