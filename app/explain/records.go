package explain

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
)

// MostBytes limits the records that are held in memory, in bytes. Those after them are
// in a temporary file.
const MostBytes = 64 << 20

// records keeps all records, to show some of them and to read all of them again.
type records struct {
	most   int // bytes in memory
	bytes  int
	memory [][]byte

	file *os.File // of the records that memory has no room for; nil: none yet
	to   *bufio.Writer
	ends []int64 // in the file, behind each of its records
}

func (r *records) len() int { return len(r.memory) + len(r.ends) }

// add appends a copy of a record.
func (r *records) add(record []byte) error {
	if r.file == nil && r.bytes+len(record) <= r.most {
		r.bytes += len(record)
		r.memory = append(r.memory, bytes.Clone(record))
		return nil
	}
	if err := r.open(); err != nil {
		return err
	}
	end := int64(len(record))
	if n := len(r.ends); n > 0 {
		end += r.ends[n-1]
	}
	r.ends = append(r.ends, end)
	if _, err := r.to.Write(record); err != nil {
		return noRoom(err)
	}
	return nil
}

// open creates the file, without a name where the system allows that, so that nothing
// is left of a process that is killed.
func (r *records) open() (err error) {
	if r.file != nil {
		return nil
	}
	if r.file, err = os.CreateTemp("", "weir-explain-*"); err != nil {
		return noRoom(err)
	}
	_ = os.Remove(r.file.Name()) // close removes it where this may not
	r.to = bufio.NewWriterSize(r.file, 1<<20)
	return nil
}

// noRoom explains an error of the temporary file.
func noRoom(err error) error {
	return fmt.Errorf("records are kept in a temporary file, which takes as much room as they do: %w; name a directory with room in TMPDIR", err)
}

// at returns the record with a number, from 0. It is valid until records are added.
func (r *records) at(n int) ([]byte, error) {
	if n < len(r.memory) {
		return r.memory[n], nil
	}
	if err := r.to.Flush(); err != nil {
		return nil, noRoom(err)
	}
	n -= len(r.memory)
	start := int64(0)
	if n > 0 {
		start = r.ends[n-1]
	}
	record := make([]byte, r.ends[n]-start)
	if _, err := r.file.ReadAt(record, start); err != nil {
		return nil, fmt.Errorf("the temporary file of records: %w", err)
	}
	return record, nil
}

// close deletes the file.
func (r *records) close() {
	if r.file != nil {
		r.file.Close()
		_ = os.Remove(r.file.Name()) // where it could not be removed while it was open
	}
}
