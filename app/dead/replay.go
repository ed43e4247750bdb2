package dead

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// Topics are the topics of one stream.
type Topics struct{ Events, Dead, Replays string }

// Replay configures a replay.
type Replay struct {
	Topics Topics
	Filter Filter
	Do     bool // if false, only report what would be done
	Resume bool // first finish an earlier replay that was interrupted
	Now    func() time.Time
}

// Report is the outcome for the selected letters.
type Report struct {
	PutBack int            `json:"put_back"` // or the number that would be put back
	Left    map[string]int `json:"left"`     // the other letters, by reason
	Done    bool           `json:"done"`     // false: nothing was put back
}

// Reasons why a letter is not put back.
const (
	leftAlready  = "was put back before"
	leftCut      = "holds only the beginning of its record"
	leftRange    = "stands for records that could not be read at all"
	leftElse     = "is of another topic"
	leftMoved    = "is of a partition that its topic does not have any more"
	leftKeyless  = "does not know its record's key, and the record itself is gone"
	leftPosition = "has no position of a record"
)

// Limits of letters, and of their bytes, per batch.
const (
	batchLetters = 500
	batchBytes   = 4 << 20
)

// ErrOpen means that an earlier replay has not ended.
type ErrOpen struct{ At string }

func (e *ErrOpen) Error() string {
	return fmt.Sprintf("a replay that began at %s has not ended: if it still runs, wait for it; if it was interrupted, -resume finds out what it had put back, and goes on", e.At)
}

// Run puts the selected records back, each into its original partition with its own
// key and bytes; or it reports what it would do. It reports its progress to
// progress.
func (p *Replay) Run(ctx context.Context, log Log, progress io.Writer) (Report, error) {
	report := Report{Left: map[string]int{}, Done: p.Do}
	j := &journal{log: log, topic: p.Topics.Replays, raw: p.Topics.Events}
	if err := j.read(ctx); err != nil {
		return report, err
	}
	if len(j.open) > 0 && !p.Resume {
		return report, &ErrOpen{At: j.open[0].At}
	}
	if p.Do {
		if err := p.prepare(ctx, j); err != nil {
			return report, err
		}
	}
	chosen, err := p.choose(ctx, log, j, report.Left)
	if err != nil {
		return report, err
	}
	if !p.Do {
		report.PutBack = len(chosen)
		return report, nil
	}
	for len(chosen) > 0 {
		n := batch(chosen)
		if err := p.putBack(ctx, j, chosen[:n]); err != nil {
			return report, err
		}
		report.PutBack, chosen = report.PutBack+n, chosen[n:]
		fmt.Fprintf(progress, "put back %d, %d to go\n", report.PutBack, len(chosen))
	}
	return report, nil
}

func (p *Replay) prepare(ctx context.Context, j *journal) error {
	if err := j.create(ctx, p.Topics.Dead); err != nil {
		return err
	}
	return j.close(ctx, p.Now())
}

// batch returns the number of letters in the next batch.
func batch(letters []Letter) (n int) {
	for size := 0; n < len(letters) && n < batchLetters; n++ {
		if size += len(letters[n].Value); size > batchBytes && n > 0 {
			break
		}
	}
	return n
}

// choose returns the letters to put back, and counts the others by reason.
func (p *Replay) choose(ctx context.Context, log Log, j *journal, left map[string]int) (chosen []Letter, err error) {
	ends, err := log.Offsets(ctx, p.Topics.Events)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", p.Topics.Events, err)
	}
	err = each(ctx, log, p.Topics.Dead, p.Filter, func(l Letter) error {
		why := p.refuse(&l, j, ends)
		if why == "" && !l.KeyKnown {
			known, err := p.recall(ctx, log, &l, ends[l.Source.Partition])
			if err != nil {
				return err
			}
			if !known {
				why = leftKeyless
			}
		}
		if why != "" {
			left[why]++
			return nil
		}
		chosen = append(chosen, l)
		return nil
	})
	return chosen, err
}

// refuse returns why a letter is not put back.
func (p *Replay) refuse(l *Letter, j *journal, ends []kafka.OffsetRange) string {
	switch {
	case l.Until > 0:
		return leftRange
	case l.ID == "":
		return leftPosition
	case l.Topic != p.Topics.Events:
		return leftElse
	case int(l.Source.Partition) >= len(ends) || l.Source.Partition < 0:
		return leftMoved
	case l.Cut():
		return leftCut
	case j.done[l.ID]:
		return leftAlready
	}
	return ""
}

// recall reads the key of a letter from an older version from the original record.
func (p *Replay) recall(ctx context.Context, log Log, l *Letter, has kafka.OffsetRange) (known bool, err error) {
	if l.Source.Offset < has.Start || l.Source.Offset >= has.End {
		return false, nil
	}
	var b kafka.Batch
	err = log.Fetch(ctx, p.Topics.Events, l.Source.Partition, l.Source.Offset, &b)
	if errors.Is(err, kafka.ErrOffsetOutOfRange) || errors.Is(err, kafka.ErrUnreadable) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for i := range b.Records {
		if r := &b.Records[i]; r.Offset == l.Source.Offset && bytes.Equal(r.Value, l.Value) {
			l.Key, l.KeyKnown = bytes.Clone(r.Key), true
			return true, nil
		}
	}
	return false, nil
}

// putBack writes a batch, with a journal entry before and after it.
func (p *Replay) putBack(ctx context.Context, j *journal, letters []Letter) error {
	ranges, err := j.log.Offsets(ctx, p.Topics.Events)
	if err != nil {
		return err
	}
	e := entry{Run: rand.Text(), At: stamp(p.Now().UTC())}
	for _, r := range ranges {
		e.From = append(e.From, r.End)
	}
	for i := range letters {
		e.Letters = append(e.Letters, letters[i].ID)
	}
	if err := j.write(ctx, e); err != nil {
		return err
	}
	if err := p.alone(ctx, j, e); err != nil {
		return err
	}
	if err := j.log.Produce(ctx, p.Topics.Events, outgoing(letters)); err != nil {
		return fmt.Errorf("%w; some of %s may have been put back: run this again with -resume", err, plural(len(letters), "record"))
	}
	return j.write(ctx, entry{Run: e.Run, Done: true, At: stamp(p.Now().UTC()), Letters: e.Letters})
}

// alone makes sure that no other replay is running. If two start at once, the one
// with the first entry continues.
func (p *Replay) alone(ctx context.Context, j *journal, mine entry) error {
	if err := j.read(ctx); err != nil {
		return err
	}
	if j.first(mine.Run) && !slices.ContainsFunc(mine.Letters, func(id string) bool { return j.done[id] }) {
		return nil
	}
	if err := j.write(ctx, entry{Run: mine.Run, Done: true, At: mine.At}); err != nil {
		return err
	}
	return errors.New("somebody else puts dead letters of this stream back right now; run this again when they are done")
}

// outgoing returns the original records in order, each for its own partition.
func outgoing(letters []Letter) []kafka.Produce {
	by := map[int32][]kafka.Outgoing{}
	for i := range letters {
		l := &letters[i]
		key := l.Key
		if len(key) == 0 {
			key = nil
		}
		by[l.Source.Partition] = append(by[l.Source.Partition], kafka.Outgoing{
			Key: key, Value: l.Value, Headers: []kafka.Header{{Key: ingest.HeaderReplay, Value: []byte(l.ID)}},
		})
	}
	var all []kafka.Produce
	for _, partition := range slices.Sorted(maps.Keys(by)) {
		all = append(all, kafka.Produce{Partition: partition, Records: by[partition]})
	}
	return all
}

// Write reports what was done, or would be done.
func (r Report) Write(out io.Writer) {
	if r.Done {
		fmt.Fprintf(out, "%s put back\n", plural(r.PutBack, "record"))
	} else {
		fmt.Fprintf(out, "%s would be put back\n", plural(r.PutBack, "record"))
	}
	for _, why := range slices.Sorted(maps.Keys(r.Left)) {
		fmt.Fprintf(out, "%d left: it %s\n", r.Left[why], why)
	}
}
