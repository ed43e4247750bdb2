package canary

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/weirdev/weir/notices"
)

// Alarm turns ends of attacks into notices: one when a detector misses [MissesInARow]
// attacks one after the other, and one when it finds again. Create it with [NewAlarm].
type Alarm struct {
	stream string
	within time.Duration
	say    func(notices.Notice)

	file string // see [Alarm.Keep]; "": a restart forgets
	log  *slog.Logger

	mu     sync.Mutex
	missed map[string]*missing // by detector; none where the last attack was found
}

// missing is a detector that misses attacks.
type missing struct {
	Attacks int    `json:"attacks"`
	Rule    string `json:"rule"`            // the one that was attacked first
	Group   string `json:"group,omitempty"` // id of the open group; "" while nobody is told
	Told    bool   `json:"told,omitempty"`  // the group's first notice was passed on
}

// MissesInARow is how many attacks on a detector must be missed one after the other
// before people are told. A single one may have met a worker that was restarted.
const MissesInARow = 2

// NewAlarm returns the alarm of a stream, which passes notices to say.
func NewAlarm(stream string, within time.Duration, say func(notices.Notice)) *Alarm {
	return &Alarm{stream: stream, within: within, say: say, missed: map[string]*missing{}}
}

// Told takes the end of an attack; see [Config.Told].
func (a *Alarm) Told(o Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.missed[o.Attack.Detector]
	if o.Caught {
		a.found(o, m)
		return
	}
	if m == nil {
		m = &missing{Rule: o.Attack.Rule}
		a.missed[o.Attack.Detector] = m
	}
	m.Attacks = min(m.Attacks+1, MissesInARow)
	if m.Told {
		return
	}
	if m.Attacks == MissesInARow && m.Group == "" {
		m.Group = "canary-" + strings.ToLower(rand.Text()[:12])
	}
	a.save() // the group first, so that a notice which is sent again has the same id
	if m.Group == "" {
		return
	}
	n := a.notice(m.Group+"-1", m.Group, notices.Firing, o.Attack.Rule)
	n.Tenant = o.Tenant
	n.Title = fmt.Sprintf("The canary's attacks on detector %s are not found within %v.", o.Attack.Detector, a.within)
	if o.Err != nil {
		n.Title = fmt.Sprintf("The canary's attacks on detector %s cannot be played: %v.", o.Attack.Detector, o.Err)
	}
	a.say(n)
	m.Told = true
	a.save()
}

// found takes an attack that was found on a detector that missed m before; m may be
// nil.
func (a *Alarm) found(o Outcome, m *missing) {
	if m == nil {
		return
	}
	if m.Group != "" {
		n := a.notice(m.Group+"-2", m.Group, notices.Resolved, o.Attack.Rule)
		n.Tenant = o.Tenant
		n.Title = fmt.Sprintf("The canary's attack on detector %s is found again.", o.Attack.Detector)
		a.say(n)
	}
	delete(a.missed, o.Attack.Detector)
	a.save()
}

func (a *Alarm) notice(id, group string, status notices.Status, rule string) notices.Notice {
	now := time.Now().UTC()
	return notices.Notice{
		ID: id, GroupID: group, Status: status, Stream: a.stream, Rules: []string{rule},
		Categories: []string{}, Findings: []notices.Finding{}, First: now, Last: now,
	}
}
