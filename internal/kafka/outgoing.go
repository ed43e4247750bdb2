package kafka

import (
	"bytes"
	"io"

	"github.com/segmentio/kafka-go/protocol"
)

// outgoingReader passes records to the library's encoder. One record and two
// readers serve all of them, because the encoder has finished with each before it
// asks for the next.
type outgoingReader struct {
	records    []Outgoing
	record     protocol.Record
	key, value lender
}

func newOutgoingReader(records []Outgoing) *outgoingReader { return &outgoingReader{records: records} }

// ReadRecord returns the next record; io.EOF after the last.
func (r *outgoingReader) ReadRecord() (*protocol.Record, error) {
	if len(r.records) == 0 {
		return nil, io.EOF
	}
	o := &r.records[0]
	r.records = r.records[1:]
	r.record = protocol.Record{Key: r.key.lend(o.Key), Value: r.value.lend(o.Value), Headers: r.record.Headers[:0]}
	for _, h := range o.Headers {
		r.record.Headers = append(r.record.Headers, protocol.Header(h))
	}
	return &r.record, nil
}

// lender presents bytes as the encoder reads them.
type lender struct{ bytes.Reader }

func (l *lender) lend(b []byte) protocol.Bytes {
	if b == nil {
		return nil
	}
	l.Reset(b)
	return l
}

// Close does nothing.
func (l *lender) Close() error { return nil }
