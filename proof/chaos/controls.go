package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// saidPrefix starts the accounts that control records are about, which fail to sign
// in all the time. Their addresses are in lateNet. When a control is read matters to
// them, so their findings may differ from run to run.
const saidPrefix = "said-"

const (
	saidAccounts = 3
	saidEvery    = 100 // one in this many events is followed by one of such an account
	orderEvery   = 150 // ms between control records
)

// said returns a failed sign-in of an account that control records are about.
func (g *generator) saidEvent(at int64) record {
	g.extra++
	e := &g.late
	e.Reset()
	e.SetText(event.ID, g.tenant+"-said-"+strconv.FormatInt(g.extra, 10))
	e.SetNum(event.Time, at)
	e.SetText(event.Tenant, g.tenant)
	e.SetText(event.Account, saidPrefix+strconv.Itoa(g.rng.IntN(saidAccounts)))
	e.SetText(event.IP, lateNet+strconv.Itoa(201+g.rng.IntN(2)))
	e.SetText(event.Method, "POST")
	e.SetText(event.Path, "/v1/login")
	e.SetText(event.Route, "/v1/login")
	e.SetNum(event.Status, 401)
	e.SetText(event.Auth, "failure")
	return record{at: at, key: []byte(e.Text(event.ID)), value: e.AppendJSON(nil)}
}

// orders creates the control records of a load, which follow from its seed.
type orders struct {
	rng        *rand.Rand
	partitions int
	at         int64 // Unix ms of the next
	made       int
	last       control.Record
}

func (p plan) orders() *orders {
	return &orders{rng: rand.New(rand.NewPCG(p.Seed, 1<<32)), partitions: p.Partitions, at: p.Start}
}

// until calls emit for every control record that is due before t (Unix ms). Some say
// something else under an id that was used, and some are none.
func (o *orders) until(t int64, emit func(kafka.Outgoing)) {
	for ; o.at < t; o.at += orderEvery {
		o.made++
		r := control.Record{ID: fmt.Sprint("c-", o.made), Time: o.at, Tenant: fmt.Sprint("t", o.rng.IntN(o.partitions)), Who: "chaos", Reason: fmt.Sprint("case ", o.made)}
		all := facet.Actions()
		action := all[o.rng.IntN(len(all))]
		r.Action = action.String()
		r.Kind, r.Key = facet.Account.String(), saidPrefix+strconv.Itoa(1+o.rng.IntN(saidAccounts-1))
		if o.rng.IntN(4) == 0 {
			r.Kind, r.Key = facet.IP.String(), lateNet+strconv.Itoa(201+o.rng.IntN(2))
		}
		if action == facet.FalsePositive {
			r.Expires = r.Time + []int64{1_000, 5_000, 60_000}[o.rng.IntN(3)]
		}
		if o.made <= o.partitions { // an early label in every partition, on an account about which nothing else is said: it holds signals back however late others are read
			r.Tenant, r.Action, r.Expires = fmt.Sprint("t", o.made-1), facet.FalsePositive.String(), r.Time+time.Hour.Milliseconds()
			r.Kind, r.Key, r.Rule = facet.Account.String(), saidPrefix+"0", "login-brute-force-account" // none that has fired already
		}
		switch o.rng.IntN(20) {
		case 0:
			r.Action = "garbage"
		case 1:
			r.ID = o.last.ID
		}
		if r.ID == "" {
			r.ID = "c-0"
		}
		o.last = r
		value, _ := r.Encode() // cannot fail: plain numbers and texts
		emit(kafka.Outgoing{Key: []byte(r.ID), Value: value})
	}
}

// ordered is what must have become of the control records, by offset.
type ordered struct {
	audit, labels, facets map[int64]string
	garbage               map[int64][]byte
	records               int64
}

// learnControls reads the topic of controls, and compares it with the seed.
func (r *run) learnControls(ctx context.Context, v *verdict) (*ordered, error) {
	o := &ordered{audit: map[int64]string{}, labels: map[int64]string{}, facets: map[int64]string{}, garbage: map[int64][]byte{}}
	made, found, ids := map[string]bool{}, map[string]bool{}, map[string]bool{}
	codec, err := r.codec()
	if err != nil {
		return nil, err
	}
	r.plan.orders().until(r.plan.Start+r.plan.For.Milliseconds()+sendTime.Milliseconds(), func(k kafka.Outgoing) { made[string(k.Value)] = true })
	err = eachRecord(ctx, r.cluster.stack, "controls", func(rec *kafka.Record) error {
		o.records++
		if !made[string(rec.Value)] {
			v.find("control record %d is not of this load", rec.Offset)
		}
		found[string(rec.Value)] = true
		c, err := control.Parse(rec.Value)
		switch {
		case err != nil:
			o.garbage[rec.Offset] = append([]byte(nil), rec.Value...)
			return nil
		case ids[c.ID]:
			return nil
		}
		ids[c.ID] = true
		e := c.Entity()
		o.facets[rec.Offset] = saidText(e, c.Time, c.Facet())
		digest := codec.Digest(e)
		if c.Action == facet.FalsePositive.String() || c.Action == facet.TruePositive.String() {
			o.labels[rec.Offset] = fmt.Sprint(c.ID, c.Action, c.Tenant, c.Kind, c.Key, c.Rule, c.Who, c.Reason, c.Time, c.Expires)
		} else if c.Action == facet.Erase.String() {
			c.Key = ""
		}
		o.audit[rec.Offset] = fmt.Sprint(c.ID, c.Action, c.Tenant, c.Kind, c.Key, c.Rule, c.Who, c.Reason, c.Time, c.Expires, c.Category, digest)
		return nil
	})
	if missing := r.sender.ordersAcked - int64(len(found)); missing > 0 {
		v.Lost += missing
		v.find("%d acknowledged control records are not in the log", missing)
	}
	return o, err
}

func saidText(e facet.Entity, t int64, c facet.Control) string {
	return fmt.Sprintf("%+v %d %+v", e, t, c)
}

// checkControls compares the tables of control records, and the facets in the log,
// with the topic.
func (r *run) checkControls(ctx context.Context, conn driver.Conn, o *ordered, re *replayed, v *verdict) error {
	v.Controls = int64(len(o.audit))
	v.sameTexts("facets of control records", re.said, o.facets)
	for _, t := range []struct {
		name, columns string
		want          map[int64]string
	}{
		{"audit", "[id, action, tenant, entity_kind, entity, rule, who, reason], [category, entity_digest]", o.audit},
		{"labels", "[id, label, tenant, entity_kind, entity, rule, who, reason], ['']", o.labels},
	} {
		rows, err := conn.Query(r.streamParameter(ctx), fmt.Sprintf("SELECT src_offset, %s, toUnixTimestamp64Milli(time), toUnixTimestamp64Milli(expires) FROM %s.%s FINAL WHERE stream = {stream:String}",
			t.columns, r.cluster.stack.Config.ClickHouse.Database, t.name))
		if err != nil {
			return fmt.Errorf("read %s: %w", t.name, err)
		}
		got := map[int64]string{}
		for rows.Next() {
			var offset uint64
			var texts, more []string
			var at, expires int64
			if err := rows.Scan(&offset, &texts, &more, &at, &expires); err != nil {
				return fmt.Errorf("read %s: %w", t.name, err)
			}
			var all []any
			for _, s := range texts {
				all = append(all, s)
			}
			all = append(all, at, expires)
			if t.name == "audit" {
				all = append(all, more[0], more[1])
			}
			got[int64(offset)] = fmt.Sprint(all...)
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read %s: %w", t.name, err)
		}
		v.sameTexts(t.name, got, t.want)
	}
	return nil
}

// sameTexts compares texts by offset of their control records.
func (v *verdict) sameTexts(what string, got, want map[int64]string) {
	for offset, text := range want {
		if got[offset] != text {
			v.find("%s: control record %d is %q, but should be %q", what, offset, got[offset], text)
		}
	}
	for offset, text := range got {
		if want[offset] == "" {
			v.find("%s: %q of control record %d should not be there", what, text, offset)
		}
	}
}
