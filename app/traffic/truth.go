package traffic

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/internal/facet"
)

// Role is the relation of an entity to abuse.
type Role string

// The roles. A signal about an attacker or a victim is right during the campaign.
const (
	Attacker Role = "attacker" // used only by the attacker
	Victim   Role = "victim"   // belongs to a person who is attacked, or was tried
	Shared   Role = "shared"   // used by an attacker and by innocent people
	Group    Role = "group"    // a network, a fingerprint or a route that many people use, including the attacker
	Incident Role = "incident" // affected by an incident, which is not abuse
	Innocent Role = "innocent" // looks odd, but is innocent
)

func roles() []Role { return []Role{Attacker, Victim, Shared, Group, Incident, Innocent} }

// Row is the truth about one entity: it took part in a campaign or an incident, or
// it is innocent although it looks odd.
type Row struct {
	Campaign string // name of the campaign; "" if there is none
	Kind     string // kind of the campaign or incident, or why an innocent entity looks odd
	Variant  string // of the campaign
	Role     Role
	Entity   facet.Entity
	From, To int64 // Unix ms of the first and the last event; a victim's token stays stolen to the end
	Stays    bool  // the entity stays in its role after To, for ever
	Events   int   // events of the campaign with this entity
}

// Campaign is one attack.
type Campaign struct {
	Name, Kind, Variant string
	From, To            int64 // Unix ms of the first and the last event
	Events              int   // 0: it never began, or the file has no number
}

// Began reports whether the campaign has an event. Some planned campaigns never
// start.
func (c *Campaign) Began() bool { return c.Events > 0 || c.To > 0 }

// Truth is the truth about a simulation.
type Truth struct {
	Campaigns []Campaign // in the order of their numbers
	Rows      []Row
}

// truth collects the truth of all campaigns.
func (w *world) truth() *Truth {
	t := &Truth{}
	for _, c := range w.campaigns {
		t.Campaigns = append(t.Campaigns, c.Campaign)
		for _, r := range c.rows {
			row := *r
			if k := r.Entity.Kind; r.Role == Victim && (k == facet.Token || k == facet.Session) {
				row.To = w.end // stolen tokens stay stolen
			}
			t.Rows = append(t.Rows, row)
		}
	}
	t.Rows = append(append(t.Rows, w.incidentRows()...), w.bystander...)
	return t
}

// rowLine is the stored form of a row.
type rowLine struct {
	Campaign string    `json:"campaign,omitempty"`
	Kind     string    `json:"kind"`
	Variant  string    `json:"variant,omitempty"`
	Role     Role      `json:"role"`
	Entity   string    `json:"entity"`
	Tenant   string    `json:"tenant,omitempty"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Stays    bool      `json:"stays,omitempty"`
	Events   int       `json:"events,omitempty"`
}

// Write writes the truth as one JSON object per line.
func (t *Truth) Write(to io.Writer) error {
	out := bufio.NewWriter(to)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for i := range t.Rows {
		r := &t.Rows[i]
		l := rowLine{
			Campaign: r.Campaign, Kind: r.Kind, Variant: r.Variant, Role: r.Role, Entity: r.Entity.Kind.String() + ":" + r.Entity.Key,
			Tenant: r.Entity.Tenant, From: time.UnixMilli(r.From).UTC(), To: time.UnixMilli(r.To).UTC(), Stays: r.Stays, Events: r.Events,
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return out.Flush()
}

// ErrTruth means that a file of truth is malformed.
var ErrTruth = errors.New("the truth does not read")

// ReadTruth reads the output of [Truth.Write], or other files in this format. A
// campaign begins with its first row, and ends with the last row that is not about
// a victim. Errors name the line.
func ReadTruth(from io.Reader) (*Truth, error) {
	t := &Truth{}
	places := map[string]int{}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		if n++; strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		r, err := readRow(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrTruth, n, err)
		}
		t.Rows = append(t.Rows, r)
		if r.Campaign == "" {
			continue
		}
		i, known := places[r.Campaign]
		if !known {
			i = len(t.Campaigns)
			places[r.Campaign] = i
			t.Campaigns = append(t.Campaigns, Campaign{Name: r.Campaign, Kind: r.Kind, Variant: r.Variant, From: r.From, To: r.To})
		}
		c := &t.Campaigns[i]
		if c.Kind != r.Kind || c.Variant != r.Variant {
			return nil, fmt.Errorf("%w: line %d: campaign %s is %s %s here and %s %s above", ErrTruth, n, c.Name, r.Kind, r.Variant, c.Kind, c.Variant)
		}
		c.From = min(c.From, r.From)
		if r.Role != Victim {
			c.To = max(c.To, r.To)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: line %d: %w", ErrTruth, n+1, err)
	}
	for campaign, events := range t.events() {
		t.Campaigns[places[campaign]].Events = events
	}
	return t, nil
}

// events returns the number of events of each campaign, as far as its rows tell it. An
// event has one entity of a kind at most, so the rows of a kind add up, and the kind
// with the most tells it best. Tokens do not add up: a truth may have a token and its
// family.
func (t *Truth) events() map[string]int {
	type part struct {
		campaign string
		kind     facet.Kind
	}
	type of struct {
		campaign string
		entity   facet.Entity
	}
	rows, parts, most := map[of]int{}, map[part]int{}, map[string]int{}
	for i := range t.Rows {
		r := &t.Rows[i]
		before, at := rows[of{r.Campaign, r.Entity}], part{r.Campaign, r.Entity.Kind}
		if r.Campaign == "" || r.Events <= before { // rows of one entity, in two roles
			continue
		}
		rows[of{r.Campaign, r.Entity}] = r.Events
		if at.kind == facet.Token {
			parts[at] = max(parts[at], r.Events)
		} else {
			parts[at] += r.Events - before
		}
		most[r.Campaign] = max(most[r.Campaign], parts[at])
	}
	return most
}

func readRow(text []byte) (Row, error) {
	var l rowLine
	if err := json.Unmarshal(text, &l); err != nil {
		return Row{}, err
	}
	k, key, err := readEntity(l.Entity)
	if err != nil {
		return Row{}, err
	}
	if k == facet.Tenant {
		l.Tenant = key // as in the campaign's events
	}
	switch {
	case !slices.Contains(roles(), l.Role):
		return Row{}, fmt.Errorf("role %q is none of %v", l.Role, roles())
	case l.From.IsZero() || l.To.Before(l.From):
		return Row{}, errors.New("from and to are times, and to is not before from")
	case l.Kind == "":
		return Row{}, errors.New("kind is empty: name what kind of campaign it is")
	case l.Campaign == "" && (l.Role == Attacker || l.Role == Victim || l.Role == Shared || l.Role == Group):
		return Row{}, fmt.Errorf("role %s belongs to a campaign: name it", l.Role)
	}
	if l.Role == Innocent || l.Role == Incident {
		l.Campaign = "" // nobody attacks: there is nothing to catch
	}
	return Row{
		Campaign: l.Campaign, Kind: l.Kind, Variant: l.Variant, Role: l.Role, Entity: facet.Entity{Kind: k, Tenant: l.Tenant, Key: key},
		From: l.From.UnixMilli(), To: l.To.UnixMilli(), Stays: l.Stays, Events: l.Events,
	}, nil
}

// readEntity reads kind:key, with the key as events have it.
func readEntity(text string) (facet.Kind, string, error) {
	name, key, _ := strings.Cut(text, ":")
	k, ok := facet.ParseKind(name)
	if !ok {
		var kinds []string
		for _, k := range facet.Kinds() {
			kinds = append(kinds, k.String())
		}
		return 0, "", fmt.Errorf("entity %q: %q is no kind of entity; write KIND:KEY, such as account:ann or ip:203.0.113.9, with one of the kinds %s",
			text, name, strings.Join(kinds, ", "))
	}
	normal, _, ok := facet.KeyOf(k, spelled(k, key))
	if !ok {
		return 0, "", fmt.Errorf("entity %q: %q is no key of kind %s; write it as events have it%s", text, key, k, like(k))
	}
	return k, normal, nil
}

// spelled returns a key in the spelling that [facet.KeyOf] reads, if people spell it
// otherwise, too.
func spelled(k facet.Kind, key string) string {
	switch k {
	case facet.IP, facet.Net, facet.Net16:
		p, err := netip.ParsePrefix(key)
		switch {
		case err != nil:
		case p.IsSingleIP() && k == facet.IP:
			return p.Addr().String()
		default:
			return p.Masked().String()
		}
	case facet.ASN:
		if len(key) > 2 && strings.EqualFold(key[:2], "as") {
			return key[2:]
		}
	case facet.Country:
		return strings.ToUpper(key)
	}
	return key
}

// like returns an example of a key that has a form; "" if it has none.
func like(k facet.Kind) string {
	switch k {
	case facet.IP:
		return ", such as 203.0.113.9 or 2001:db8:1:2::/64"
	case facet.Net:
		return ", such as 203.0.113.0/24 or 2001:db8:1::/48"
	case facet.Net16:
		return ", such as 203.0.0.0/16 or 2001:db8::/32"
	case facet.ASN:
		return ", such as 64500"
	case facet.Build:
		return ", app version and device model, such as 4.2.0|Pixel 9"
	}
	return ""
}
