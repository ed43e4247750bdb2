package facet

import (
	"encoding/binary"
	"fmt"

	"github.com/weirdev/weir/event"
)

// A frame of verdicts is a loop-back frame by which one facet partition tells all
// of them its rules' verdicts on a cohort. It is in the same chain as frames of
// findings, and has in their place:
//
//	verdicts uvarint, each:
//	  slot u32 · level u8 · field u8 · time varint · tenant text · value text
const flagVerdicts = 2

// Verdict is a rule's verdict on a cohort in one facet partition.
type Verdict struct {
	Slot   uint32 // of the rule
	Level  uint8  // 0: none
	By     event.Field
	Time   int64 // event time, Unix ms
	Tenant string
	Value  string // of the field; a number is decimal
}

// VerdictWriter builds frames of verdicts.
type VerdictWriter struct {
	body     []byte
	verdicts uint64
}

// Add appends a verdict.
func (w *VerdictWriter) Add(v *Verdict) {
	b := binary.LittleEndian.AppendUint32(w.body, v.Slot)
	b = append(b, v.Level, byte(v.By))
	b = binary.AppendVarint(b, v.Time)
	b = appendText(b, v.Tenant)
	w.body = appendText(b, v.Value)
	w.verdicts++
}

// Len returns the number of bytes of verdicts gathered so far; 0 if there are none.
func (w *VerdictWriter) Len() int { return len(w.body) }

// Frame returns the frame for one destination, in memory of its own. It is its
// writer's first frame until [Chain] is called.
func (w *VerdictWriter) Frame(from int32, step Step, incarnation uint64) []byte {
	return loopFrame(flagVerdicts, from, step, incarnation, w.verdicts, w.body)
}

// Reset empties w.
func (w *VerdictWriter) Reset() { w.body, w.verdicts = w.body[:0], 0 }

// Verdict reads the next verdict of a frame of verdicts into v; ok is false after
// the last. Its texts alias the frame.
func (r *LoopbackReader) Verdict(v *Verdict) (ok bool, err error) {
	if !r.Verdicts || r.findings == 0 {
		if r.Verdicts && len(r.b) != 0 {
			return false, fmt.Errorf("%w: %d bytes too many", ErrFrame, len(r.b))
		}
		return false, nil
	}
	r.findings--
	if len(r.b) < 6 {
		return false, errCut
	}
	v.Slot, v.Level, v.By = binary.LittleEndian.Uint32(r.b), r.b[4], event.Field(r.b[5])
	r.b = r.b[6:]
	if v.By.Kind() == 0 {
		return false, fmt.Errorf("%w: unknown field %d", ErrFrame, v.By)
	}
	if v.Time, err = r.varint(); err != nil {
		return false, err
	}
	if v.Tenant, err = r.text(); err != nil {
		return false, err
	}
	v.Value, err = r.text()
	return err == nil, err
}
