package console

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirdev/weir/score"
)

// Sizes of charts, in units of their drawing.
const (
	chartWidth  = 960
	chartHeight = 180
	chartLeft   = 44
	chartBottom = 24
	chartTop    = 8
	chartRight  = 8
)

// chart is a drawing. Label says the same in words, for those who do not see it.
type chart struct {
	Width, Height int
	Label         string
	Lines         []chartLine
	Bars          []chartBar
	Marks         []chartMark
	Across        []chartTick // horizontal lines
	Down          []chartTick // moments
	Keys          []chartKey
}

type chartLine struct{ Class, Points string }

type chartBar struct {
	Class      string
	X, Y, W, H string
	Title      string
}

type chartMark struct{ X, Y, Title string }

type chartTick struct{ X, Y, Text string }

type chartKey struct{ Class, Text string }

// Right and Base are the ends of the lines across and down.
func (c *chart) Right() int { return c.Width - chartRight }

// Base is the lowest place of the drawing.
func (c *chart) Base() int { return c.Height - chartBottom }

// Left is where the drawing begins.
func (c *chart) Left() int { return chartLeft }

func px(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

func newChart(height int) *chart { return &chart{Width: chartWidth, Height: height} }

// x places a moment within a span.
func (c *chart) x(of span, t time.Time) float64 {
	part := float64(t.Sub(of.From)) / float64(of.To.Sub(of.From))
	return chartLeft + part*float64(c.Width-chartLeft-chartRight)
}

// y places a value below the highest.
func (c *chart) y(v, highest float64) float64 {
	return float64(c.Base()) - v/highest*float64(c.Base()-chartTop)
}

// moments writes some moments below the drawing.
func (c *chart) moments(of span) {
	form := "15:04"
	if of.To.Sub(of.From) > 36*time.Hour {
		form = "01-02 15:04"
	}
	const ticks = 6
	for i := range ticks + 1 {
		t := of.From.Add(of.To.Sub(of.From) * time.Duration(i) / ticks)
		c.Down = append(c.Down, chartTick{X: px(c.x(of, t)), Text: t.UTC().Format(form)})
	}
}

const (
	samples   = 240 // points of a line
	mostMarks = 200 // of the newest signals
)

// scoreChart draws the score of an entity over time: what its signals add up to, and
// how it decays. signals are in order of time, and begin early enough for all that
// still counts at the beginning of the span; said are the control records about it, in
// order of time.
func scoreChart(of span, signals []signal, said []spokenRow) *chart {
	c := newChart(chartHeight)
	c.moments(of)
	for _, v := range []int{0, 25, 50, 75, 100} {
		c.Across = append(c.Across, chartTick{Y: px(c.y(float64(v), 100)), Text: fmt.Sprint(v)})
	}
	var list []score.Contribution
	var total, acting strings.Builder
	highest, highestAt, last, shown := 0, of.From, 0, 0
	point := func(t time.Time) {
		all, soft := scoresAt(list, t.UnixMilli())
		x := px(c.x(of, t))
		fmt.Fprintf(&total, "%s,%s ", x, px(c.y(all, 100)))
		fmt.Fprintf(&acting, "%s,%s ", x, px(c.y(soft, 100)))
		last = int(all + 0.5)
		if last > highest {
			highest, highestAt = last, t
		}
	}
	change := func(t time.Time, how func()) {
		inside := !t.Before(of.From)
		if inside {
			point(t)
		}
		how()
		if inside {
			point(t)
		}
	}
	apply := func(until time.Time) {
		for {
			isSaid := len(said) > 0 && !said[0].Time.After(until)
			isSignal := len(signals) > 0 && !signals[0].Time.After(until)
			switch {
			case isSaid && (!isSignal || said[0].Time.Before(signals[0].Time)):
				change(said[0].Time, func() { list = said[0].applyTo(list) })
				said = said[1:]
			case isSignal:
				s := &signals[0]
				change(s.Time, func() { list = s.applyTo(list) })
				found := !s.Time.Before(of.From) && s.Clears == 0
				if found {
					shown++
				}
				if found && len(signals) <= mostMarks {
					c.Marks = append(c.Marks, chartMark{X: px(c.x(of, s.Time)), Y: px(c.y(float64(last), 100)), Title: fmt.Sprintf("%s, %s: weight %d", s.Time.UTC().Format("15:04:05"), s.Rule, s.Weight)})
				}
				signals = signals[1:]
			default:
				return
			}
		}
	}
	for i := range samples + 1 {
		t := of.From.Add(of.To.Sub(of.From) * time.Duration(i) / samples)
		apply(t)
		point(t)
	}
	c.Lines = []chartLine{{"observed", total.String()}, {"acting", acting.String()}}
	c.Keys = []chartKey{{"acting", "score that acts (rules in phase soft or enforce)"}, {"observed", "score of all rules"}}
	c.Label = fmt.Sprintf("Score over time, %s: highest %d at %s, %d at the end; %d signals", of.Title(), highest, highestAt.UTC().Format("2006-01-02 15:04:05 UTC"), last, shown)
	return c
}

// scoresAt returns the score of all rules and that of those that act, in points.
func scoresAt(list []score.Contribution, now int64) (all, acting float64) {
	a, b := observedAndActing(list, now)
	return float64(a) / float64(score.Point), float64(b) / float64(score.Point)
}

// bucket is a stretch of a count over time.
type bucket struct {
	Start  time.Time `ch:"start"`
	Events uint64    `ch:"events"`
}

// step returns the length of the bars of a span, in seconds: whole minutes.
func (s span) step() int64 {
	const bars = 60
	want := int64(s.To.Sub(s.From)/time.Second) / bars
	for _, nice := range []int64{60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200} {
		if nice >= want {
			return nice
		}
	}
	return 86_400
}

// barChart draws counts over time.
func barChart(of span, height int, what, class string, list []bucket) *chart {
	c := newChart(height)
	c.moments(of)
	var highest, sum uint64
	for _, b := range list {
		highest, sum = max(highest, b.Events), sum+b.Events
	}
	top := float64(max(highest, 1))
	for _, v := range []uint64{0, highest} {
		c.Across = append(c.Across, chartTick{Y: px(c.y(float64(v), top)), Text: short(v)})
		if highest == 0 {
			break
		}
	}
	step := time.Duration(of.step()) * time.Second
	for _, b := range list {
		from, to := max(c.x(of, b.Start), chartLeft), min(c.x(of, b.Start.Add(step)), float64(c.Right()))
		if to <= from {
			continue
		}
		y := c.y(float64(b.Events), top)
		c.Bars = append(c.Bars, chartBar{
			Class: class, X: px(from), Y: px(y), W: px(max(to-from-1, 0.5)), H: px(float64(c.Base()) - y),
			Title: fmt.Sprintf("%s: %d %s", b.Start.UTC().Format("2006-01-02 15:04 UTC"), b.Events, what),
		})
	}
	c.Label = fmt.Sprintf("%s over time, %s: %d in all, at most %d in %s", what, of.Title(), sum, highest, lasts(step))
	return c
}

// short writes a large number in few characters.
func short(n uint64) string {
	switch {
	case n >= 10_000_000:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n >= 10_000:
		return fmt.Sprintf("%d k", n/1000)
	}
	return fmt.Sprint(n)
}
