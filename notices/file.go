package notices

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// File is what a file of notices says: what is told, to whom. It does not change.
type File struct {
	Version  string // of the content, 16 hexadecimal digits
	Phase    rules.Phase
	Weight   int
	By       []string
	Wait     time.Duration
	Interval time.Duration
	Repeat   time.Duration
	Resolve  time.Duration
	Channels []*Channel
	Silences []Silence
}

// Channel is a way to tell people.
type Channel struct {
	ID        string
	Only      Match
	Phase     rules.Phase
	Weight    int
	Resolved  bool // it also wants notices of groups that are closed
	PerMinute int
	GiveUp    time.Duration

	sender sender
}

// Silence says which signals nobody is told about.
type Silence struct {
	Match         Match
	Owner, Reason string
	Expires       int64 // Unix ms
}

// Match selects signals: those that have one of the values of each list that is not
// empty. A value may end with *, for any rest.
type Match struct{ Rules, Categories, Tenants, Entities []string }

// empty reports whether m selects every signal.
func (m *Match) empty() bool {
	return len(m.Rules)+len(m.Categories)+len(m.Tenants)+len(m.Entities) == 0
}

func (m *Match) holds(s *score.Signal) bool {
	return one(m.Rules, s.Rule) && one(m.Categories, s.Category) && one(m.Tenants, s.Entity.Tenant) &&
		(one(m.Entities, named(s.Entity)) || s.Group.Kind != 0 && one(m.Entities, named(s.Group)))
}

func named(e facet.Entity) string { return e.Kind.String() + ":" + e.Key }

// one reports whether text is one of the values; it is if there are none.
func one(values []string, text string) bool {
	return len(values) == 0 || slices.ContainsFunc(values, func(v string) bool {
		start, open := strings.CutSuffix(v, "*")
		return v == text || open && strings.HasPrefix(text, start)
	})
}

func (f *File) silences(s *score.Signal, now int64) bool {
	return slices.ContainsFunc(f.Silences, func(q Silence) bool { return now < q.Expires && q.Match.holds(s) })
}

// reaches reports whether a signal has the least phase and weight, or asks for people.
func reaches(s *score.Signal, phase rules.Phase, weight int) bool {
	return s.Asks&rules.Notify != 0 || s.Phase >= phase && int(s.Weight) >= weight
}

// channelsFor returns the ids of the channels that ask for a signal.
func (f *File) channelsFor(s *score.Signal) (all []string) {
	for _, c := range f.Channels {
		if reaches(s, c.Phase, c.Weight) && c.Only.holds(s) {
			all = append(all, c.ID)
		}
	}
	return all
}

// Channel returns a channel by its id; nil if there is none.
func (f *File) Channel(id string) *Channel {
	for _, c := range f.Channels {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// Ways to group signals.
const (
	byRule     = "rule"
	byCategory = "category"
	byTenant   = "tenant"
	byGroup    = "group"
	byEntity   = "entity"
)

const (
	docs         = "docs/notices.md"
	mostChannels = 50
	mostSilences = 500
	mostValues   = 200
)

// grammar describes the keys of the file.
func grammar() rules.Key {
	phases := []string{rules.Observe.String(), rules.Soft.String(), rules.Enforce.String()}
	least := func() []rules.Key {
		return []rules.Key{
			rules.ChoiceKey("phase", rules.Optional, phases, "the least phase of the rule"),
			rules.CountKey("weight", rules.Optional, 0, 100, "the least weight"),
		}
	}
	span := func(name string, from, to time.Duration, doc string) rules.Key {
		return rules.DurationKey(name, rules.Optional, from, to, doc)
	}
	ca := rules.TextKey("ca_file", rules.Optional, 1000, "file with the certificates that vouch for the server; default: those of the system")
	return rules.ObjectKey("the notices", rules.Required, "A file of Weir notices",
		rules.ListKey("channels", rules.Required, 1, mostChannels, "whom to tell", rules.ObjectKey("", rules.Required, "one channel", append([]rules.Key{
			rules.NamedKey("id", rules.NamePattern, "names the channel in metrics and the log"),
			rules.ObjectKey("webhook", rules.Optional, "a POST of the notice as JSON, signed",
				rules.TextKey("url", rules.Required, 2000, "where to"),
				rules.TextKey("secret_file", rules.Required, 1000, "file with the secret of the signature, at least 16 bytes"),
				ca),
			rules.ObjectKey("slack", rules.Optional, "an incoming webhook of Slack, or of what is compatible with it",
				rules.TextKey("url_file", rules.Required, 1000, "file with the address, which is a secret"),
				ca),
			rules.ObjectKey("email", rules.Optional, "an e-mail over SMTP",
				rules.TextKey("server", rules.Required, 260, "host:port"),
				rules.ChoiceKey("tls", rules.Optional, []string{tlsStart, tlsAlways, tlsNever}, "starttls (default), always (TLS from the start) or never"),
				ca,
				rules.TextKey("user", rules.Optional, 200, "to sign in with"),
				rules.TextKey("password_file", rules.Optional, 1000, "file with the password"),
				rules.TextKey("from", rules.Required, 320, "address of the sender"),
				rules.ListKey("to", rules.Required, 1, 50, "addresses of the receivers", rules.TextKey("", rules.Required, 320, "an address"))),
			matchKey("only", rules.Optional, "which signals the channel is for; default: all that are told"),
			rules.ChoiceKey("resolved", rules.Optional, []string{"send", "skip"}, "whether it is told that a group is closed; default: send"),
			rules.CountKey("per_minute", rules.Optional, 1, 600, "most notices a minute; default 30"),
			span("give_up_after", time.Minute, 24*time.Hour, "how long a notice is tried; default 1h"),
		}, least()...)...)),
		rules.ObjectKey("tell", rules.Optional, "which signals are told at all; by default those of rules in phase soft or enforce", least()...),
		rules.ObjectKey("group", rules.Optional, "which signals are one matter, and when it is told",
			rules.ListKey("by", rules.Optional, 1, 5, "what the signals of a group share; default: rule, tenant, group",
				rules.ChoiceKey("", rules.Required, []string{byRule, byCategory, byTenant, byGroup, byEntity}, "a property of signals")),
			span("wait", time.Second, time.Hour, "after the first signal, before the first notice; default 30s"),
			span("interval", time.Second, 24*time.Hour, "between notices, if there are new entities or a higher weight; default 5m"),
			span("repeat", time.Minute, 24*time.Hour, "between notices, if there is only more of the same; default 4h"),
			span("resolve", time.Second, 24*time.Hour, "without a signal, after which the group is closed; default 15m")),
		rules.ListKey("silences", rules.Optional, 0, mostSilences, "which signals nobody is told about, for a time", rules.ObjectKey("", rules.Required, "one silence",
			matchKey("match", rules.Required, "which signals"),
			rules.TextKey("owner", rules.Required, 200, "who is responsible for the silence"),
			rules.TextKey("reason", rules.Required, 1000, "why it is there"),
			rules.MomentKey("expires", rules.Required, "when it ends"))))
}

func matchKey(name string, need bool, doc string) rules.Key {
	values := func(name, doc string) rules.Key {
		return rules.ListKey(name, rules.Optional, 1, mostValues, doc+"; a value may end with *", rules.TextKey("", rules.Required, 500, "a value"))
	}
	return rules.ObjectKey(name, need, doc,
		values("rule", "ids of rules"), values("category", "categories"), values("tenant", "tenants"), values("entity", "kind:key of the entity, or of its group"))
}

// Read returns the content of a file of notices.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path) // before opening: opening a named pipe would wait for its writer
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the notices: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the notices: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, rules.MaxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read the notices: %w", err)
	}
	return data, nil
}

// Load reads and checks a file of notices, and the files with secrets that it names.
// Relative names of these begin at its folder. If the file is wrong, the error is a
// [*problem.Problems] with all mistakes.
func Load(path string, words *rules.Set) (*File, error) {
	data, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, words)
}

// Parse is [Load] for the content of a file.
func Parse(path string, data []byte, words *rules.Set) (*File, error) {
	in := words.Document(path, data, grammar(), docs)
	sum := sha256.Sum256(data)
	group := in.Object("group")
	f := &File{
		Version: hex.EncodeToString(sum[:8]), By: group.Texts("by"),
		Wait: group.DurationOr("wait", 30*time.Second), Interval: group.DurationOr("interval", 5*time.Minute),
		Repeat: group.DurationOr("repeat", 4*time.Hour), Resolve: group.DurationOr("resolve", 15*time.Minute),
	}
	if len(f.By) == 0 {
		f.By = []string{byRule, byTenant, byGroup}
	}
	f.Phase, f.Weight = least(in.Object("tell"), rules.Soft)
	l := loader{dir: filepath.Dir(path), words: words}
	seen := map[string]bool{}
	for _, c := range in.List("channels") {
		one := l.channel(c)
		if seen[one.ID] {
			c.Problem("id", "another channel is called "+one.ID, "give each its own name")
		}
		seen[one.ID] = true
		f.Channels = append(f.Channels, one)
	}
	for _, s := range in.List("silences") {
		q := Silence{Match: l.match(s, "match"), Owner: s.Text("owner"), Reason: s.Text("reason"), Expires: s.Moment("expires")}
		if s.Has("match") && q.Match.empty() {
			s.Problem("match", "it selects every signal", "name rules, categories, tenants or entities")
		}
		f.Silences = append(f.Silences, q)
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

// least reads the least phase and weight of signals.
func least(in *rules.Params, absent rules.Phase) (rules.Phase, int) {
	phase := absent
	if in.Has("phase") {
		phase, _ = rules.ParsePhase(in.Text("phase")) // checked by the grammar
	}
	return phase, in.Int("weight")
}

type loader struct {
	dir   string
	words *rules.Set
}

func (l *loader) channel(in *rules.Params) *Channel {
	c := &Channel{
		ID: in.Text("id"), Only: l.match(in, "only"), Resolved: in.Text("resolved") != "skip",
		PerMinute: in.IntOr("per_minute", 30), GiveUp: in.DurationOr("give_up_after", time.Hour),
	}
	c.Phase, c.Weight = least(in, rules.Observe)
	ways := 0
	for name, make := range map[string]func(*rules.Params) sender{"webhook": l.webhook, "slack": l.slack, "email": l.email} {
		if in.Has(name) {
			ways++
			c.sender = make(in.Object(name))
		}
	}
	if ways != 1 {
		in.Problem("", fmt.Sprintf("%d of webhook, slack and email are there", ways), "keep exactly one; a second way is a second channel")
	}
	return c
}

// match reads a matcher. A rule or category that does not exist is a mistake.
func (l *loader) match(in *rules.Params, name string) Match {
	of := in.Object(name)
	m := Match{of.Texts("rule"), of.Texts("category"), of.Texts("tenant"), of.Texts("entity")}
	for _, c := range m.Categories {
		if !slices.ContainsFunc(rules.Categories(), func(known string) bool { return one([]string{c}, known) }) {
			of.Problem("category", fmt.Sprintf("no category is called %q", c), "use some of "+strings.Join(rules.Categories(), ", "))
		}
	}
	for _, r := range m.Rules {
		if !slices.ContainsFunc(l.words.Rules, func(known *rules.Rule) bool { return one([]string{r}, known.ID) }) {
			of.Problem("rule", fmt.Sprintf("no rule is called %q", r), "use an id of a rule of the setting rules, or remove it; rules that were only pushed can be matched by their category")
		}
	}
	for _, e := range m.Entities {
		kind, _, ok := strings.Cut(e, ":")
		if _, known := facet.ParseKind(kind); !ok || !known {
			of.Problem("entity", fmt.Sprintf("%q is no entity", e), "write kind:key, such as ip:203.0.113.9 or account:*")
		}
	}
	return m
}

const longestSecret = 4096

// secret reads a file with a secret, which must be one line.
func (l *loader) secret(in *rules.Params, key string) string {
	name := in.Text(key)
	if name == "" {
		return "" // reported
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(l.dir, name)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		in.Problem(key, err.Error(), "name a file that is there and that this user may read")
		return ""
	case !info.Mode().IsRegular() || info.Size() > longestSecret:
		in.Problem(key, name+" is no file, or longer than 4 KiB", "name a file that holds the secret alone")
		return ""
	case info.Mode().Perm()&0o002 != 0:
		in.Problem(key, fmt.Sprintf("everybody on this machine may write %s", name), "mend it with `chmod 600 "+name+"`")
		return ""
	}
	text, err := os.ReadFile(name)
	if err != nil {
		in.Problem(key, err.Error(), "name a file that this user may read")
		return ""
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		in.Problem(key, name+" does not hold one line of text", "write the secret, and nothing else")
		return ""
	}
	return secret
}

// Try sends a test notice to a channel, once. id tells one test from another.
func (c *Channel) Try(ctx context.Context, stream, id string) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	now := time.Now().UTC()
	return c.sender.Send(ctx, &Notice{
		Version: 1, ID: id, GroupID: id, Status: Test, Stream: stream, Rules: []string{}, Categories: []string{}, Findings: []Finding{}, First: now, Last: now,
	})
}
