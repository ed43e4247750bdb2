package event

// DeadLetter is a record that became no event, or no control record, and why.
type DeadLetter struct {
	Controls bool   // it is of the topic of control records
	Offset   int64  // in its partition
	Until    int64  // of a range that cannot be read: the offset after its last one; otherwise 0
	Time     int64  // of the record, Unix ms; 0 for a range
	Reason   string // from a closed set
	Detail   string
	Bytes    int // size of the record
	Key      []byte
	Value    []byte // or its beginning
}
