package canary

import (
	"crypto/rand"
	"fmt"
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

	mu     sync.Mutex
	missed map[string]*missing // by detector; none where the last attack was found
}

// missing is a detector that misses attacks.
type missing struct {
	attacks int
	group   string // id of the open group; "" while nobody is told
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
	d := o.Attack.Detector
	now := time.Now().UTC()
	n := notices.Notice{
		Stream: a.stream, Rules: []string{o.Attack.Rule}, Tenant: o.Tenant, Categories: []string{}, Findings: []notices.Finding{}, First: now, Last: now,
	}
	m := a.missed[d]
	if o.Caught {
		delete(a.missed, d)
		if m == nil || m.group == "" {
			return
		}
		n.ID, n.GroupID, n.Status = m.group+"-2", m.group, notices.Resolved
		n.Title = fmt.Sprintf("The canary's attack on detector %s is found again.", d)
		a.say(n)
		return
	}
	if m == nil {
		m = &missing{}
		a.missed[d] = m
	}
	if m.attacks++; m.attacks < MissesInARow || m.group != "" {
		return
	}
	m.group = "canary-" + strings.ToLower(rand.Text()[:12])
	n.ID, n.GroupID, n.Status = m.group+"-1", m.group, notices.Firing
	n.Title = fmt.Sprintf("The canary's attacks on detector %s are not found within %v.", d, a.within)
	if o.Err != nil {
		n.Title = fmt.Sprintf("The canary's attacks on detector %s cannot be played: %v.", d, o.Err)
	}
	a.say(n)
}
