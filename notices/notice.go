package notices

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Status is what a notice says of its group.
type Status string

// The statuses, in the order in which a group has them.
const (
	Firing   Status = "firing"   // the first notice of a group
	Update   Status = "update"   // the group goes on
	Resolved Status = "resolved" // the group is closed
	Test     Status = "test"     // there is no group: somebody tries the channel
)

// Notice is what people are told of a group of signals. Its JSON is the body of a
// webhook. Texts in it are made visible, but not escaped for any channel.
type Notice struct {
	Version int      `json:"v"`        // 1
	ID      string   `json:"id"`       // the same whenever the notice is sent
	GroupID string   `json:"group_id"` // the same in all notices of a group
	Status  Status   `json:"status"`
	Ended   string   `json:"ended,omitempty"` // why the group is closed: quiet, or day
	Stream  string   `json:"stream"`
	Rules   []string `json:"rules"` // those that fired, up to MostNamed
	Title   string   `json:"title"` // of the first rule
	Tenant  string   `json:"tenant,omitempty"`
	Group   string   `json:"group,omitempty"` // kind:key that the entities are members of

	Phase      rules.Phase `json:"phase"`  // the furthest of the signals
	Weight     uint8       `json:"weight"` // the greatest of the signals
	Categories []string    `json:"categories"`
	Signals    int         `json:"signals"`
	Entities   int         `json:"entities"`           // that differ, up to MostEntities
	AtLeast    bool        `json:"at_least,omitempty"` // there are more entities
	First      time.Time   `json:"first"`              // when the first signal was written, UTC
	Last       time.Time   `json:"last"`
	Findings   []Finding   `json:"findings"` // the first about each of some entities
}

// Finding is one signal in a notice.
type Finding struct {
	ID       string   `json:"id"` // of the signal
	Rule     string   `json:"rule"`
	Kind     string   `json:"entity_kind"`
	Entity   string   `json:"entity"`
	Tenant   string   `json:"tenant,omitempty"`
	Reason   string   `json:"reason"`
	Weight   uint8    `json:"weight"`
	Evidence []string `json:"evidence,omitempty"` // name=value
	Time     int64    `json:"time"`               // of the event, Unix ms
}

// Bounds of a notice.
const (
	MostFindings = 5
	MostNamed    = 10
	MostEntities = 1000

	longestText = 200 // characters of a text that a client may have chosen
)

// finding takes from a signal what a notice shows.
func finding(s *score.Signal) Finding {
	f := Finding{
		ID: visible(s.ID()), Rule: visible(s.Rule), Kind: s.Entity.Kind.String(), Entity: visible(s.Entity.Key), Tenant: visible(s.Entity.Tenant),
		Reason: visible(s.Reason), Weight: s.Weight, Time: s.Time,
	}
	for _, e := range s.Evidence {
		switch e.Kind {
		case facet.NumberEvidence:
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s=%d", visible(e.Name), e.Values[0]))
		case facet.TextEvidence:
			f.Evidence = append(f.Evidence, visible(e.Name)+"="+visible(e.Text))
		}
	}
	return f
}

// visible makes a client's text safe to show: one line without control characters or
// invisible characters, not too long, and with nothing that a reader turns into a
// link.
func visible(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '\ufffd'
		}
		return r
	}, telemetry.Clean(s))
	return links.ReplaceAllStringFunc(cut(s), unlinked)
}

// cut shortens a long text.
func cut(s string) string {
	if utf8.RuneCountInString(s) <= longestText {
		return s
	}
	return string([]rune(s)[:longestText]) + "…"
}

// links are what mail programs and chats make clickable, however it is written.
var links = regexp.MustCompile(`(?i)https?://|://|www\.`)

func unlinked(link string) string {
	switch strings.ToLower(link) {
	case "http://":
		return "hxxp[:]//"
	case "https://":
		return "hxxps[:]//"
	case "://":
		return "[:]//"
	}
	return link[:len("www")] + "[.]"
}

// Subject is the notice in one line.
func (n *Notice) Subject() string {
	if n.Status == Test {
		return "[TEST] Weir can reach this channel"
	}
	if n.Signals == 0 { // not of signals
		return fmt.Sprintf("[%s] %s", strings.ToUpper(string(n.Status)), cut(n.Title))
	}
	what := strings.Join(n.Rules, ", ")
	if n.Tenant != "" {
		what += ", tenant " + n.Tenant
	}
	if n.Group != "" {
		what += ", " + n.Group
	}
	return fmt.Sprintf("[%s] %s: %s", strings.ToUpper(string(n.Status)), cut(what), n.amount())
}

func (n *Notice) amount() string {
	entities := plural(n.Entities, "entity", "entities")
	if n.AtLeast {
		entities = fmt.Sprintf("more than %d entities", n.Entities)
	}
	return plural(n.Signals, "signal", "signals") + " about " + entities
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

const moment = "2006-01-02 15:04:05"

// Text is the notice as plain text of several lines, without its subject.
func (n *Notice) Text() string {
	var b strings.Builder
	if n.Status == Test {
		fmt.Fprintf(&b, "This is a test of stream %s. Nothing was found.\nNotice %s.\n", n.Stream, n.ID)
		return b.String()
	}
	if n.Title != "" {
		b.WriteString(n.Title + "\n")
	}
	if n.Signals == 0 {
		fmt.Fprintf(&b, "Stream %s, rule %s, tenant %s, %s UTC.\nNotice %s.\n", n.Stream, strings.Join(n.Rules, ", "), n.Tenant, n.Last.Format(moment), n.ID)
		return b.String()
	}
	fmt.Fprintf(&b, "Stream %s, phase %v, greatest weight %d, %s to %s UTC.\n", n.Stream, n.Phase, n.Weight, n.First.Format(moment), n.Last.Format(moment))
	switch n.Ended {
	case endedQuiet:
		b.WriteString("It has been quiet since then.\n")
	case endedDay:
		b.WriteString("It has gone on for a day; what follows is told as new.\n")
	}
	for _, f := range n.Findings {
		fmt.Fprintf(&b, "- %s %s: %s, weight %d", f.Kind, f.Entity, f.Reason, f.Weight)
		if len(f.Evidence) > 0 {
			b.WriteString(" (" + strings.Join(f.Evidence, ", ") + ")")
		}
		b.WriteString("\n")
	}
	if left := n.Entities - len(n.Findings); left > 0 {
		fmt.Fprintf(&b, "- and %d more\n", left)
	}
	fmt.Fprintf(&b, "Notice %s.\n", n.ID)
	return b.String()
}

// Encode returns the notice as JSON.
func (n *Notice) Encode() ([]byte, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encode a notice: %w", err)
	}
	return b, nil
}
