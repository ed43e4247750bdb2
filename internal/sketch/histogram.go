package sketch

import "math/bits"

// Histogram is a summary of a distribution: the number of values in each bucket. It
// is an ascending list of the non-empty buckets, bucket u16 · values u32.
//
// Values below 16 have their own buckets; above, there are 16 to each power of two,
// so that a bucket's least value is less than 1/16 below any of its values.
type Histogram []byte

const (
	// Buckets is the number of buckets.
	Buckets = 16 * (mostValueBits - 3)
	// BucketBytes is the size of a non-empty bucket.
	BucketBytes = 6

	mostValueBits = 53
)

// Bucket returns the bucket of a value. A negative value counts as 0; one of 2⁵³ or
// more as the greatest below that.
func Bucket(v int64) int {
	u := uint64(min(max(v, 0), 1<<mostValueBits-1))
	if u < 16 {
		return int(u)
	}
	power := bits.Len64(u) - 1
	return 16*(power-3) + int(u>>(power-4)&15)
}

// Least returns the least value of a bucket.
func Least(bucket int) int64 {
	if bucket < 16 {
		return int64(bucket)
	}
	return int64(16+bucket%16) << (bucket/16 - 1)
}

// Room returns the bytes that the summary needs to count a value of a bucket.
func (h Histogram) Room(bucket int) int {
	if _, there := h.find(bucket); there {
		return len(h)
	}
	return len(h) + BucketBytes
}

// Add counts a value of a bucket. The summary must have the size that Room
// returned, and had used bytes before.
func (h Histogram) Add(used, bucket int) {
	at, there := h[:used].find(bucket)
	if !there {
		copy(h[at+BucketBytes:], h[at:used])
		le.PutUint16(h[at:], uint16(bucket))
		le.PutUint32(h[at+2:], 0)
	}
	le.PutUint32(h[at+2:], saturated(le.Uint32(h[at+2:]), 1))
}

// Merge appends to b the sum of h and other, and returns it.
func (h Histogram) Merge(b []byte, other Histogram) []byte {
	for len(h) > 0 || len(other) > 0 {
		switch {
		case len(other) == 0 || len(h) > 0 && le.Uint16(h) < le.Uint16(other):
			b, h = append(b, h[:BucketBytes]...), h[BucketBytes:]
		case len(h) == 0 || le.Uint16(other) < le.Uint16(h):
			b, other = append(b, other[:BucketBytes]...), other[BucketBytes:]
		default:
			b = le.AppendUint16(b, le.Uint16(h))
			b = le.AppendUint32(b, saturated(le.Uint32(h[2:]), le.Uint32(other[2:])))
			h, other = h[BucketBytes:], other[BucketBytes:]
		}
	}
	return b
}

// Valid reports whether h is a summary.
func (h Histogram) Valid() bool {
	if len(h)%BucketBytes != 0 {
		return false
	}
	last := -1
	for ; len(h) > 0; h = h[BucketBytes:] {
		bucket := int(le.Uint16(h))
		if bucket <= last || bucket >= Buckets || le.Uint32(h[2:]) == 0 {
			return false
		}
		last = bucket
	}
	return true
}

func (h Histogram) find(bucket int) (at int, there bool) {
	from, to := 0, len(h)/BucketBytes
	for from < to {
		mid := (from + to) / 2
		if int(le.Uint16(h[mid*BucketBytes:])) < bucket {
			from = mid + 1
		} else {
			to = mid
		}
	}
	at = from * BucketBytes
	return at, at < len(h) && int(le.Uint16(h[at:])) == bucket
}

// saturated adds, up to the largest 32-bit number.
func saturated(a, b uint32) uint32 {
	sum, carry := bits.Add32(a, b, 0)
	if carry != 0 {
		return 1<<32 - 1
	}
	return sum
}

// Spread is the combined content of several histograms.
type Spread struct {
	counts [Buckets]uint64
	n      uint64
}

// Reset empties the spread.
func (s *Spread) Reset() { *s = Spread{} }

// Add takes in a histogram.
func (s *Spread) Add(h Histogram) {
	for ; len(h) > 0; h = h[BucketBytes:] {
		n := uint64(le.Uint32(h[2:]))
		s.counts[le.Uint16(h)] += n
		s.n += n
	}
}

// Count returns the number of values.
func (s *Spread) Count() int64 { return int64(s.n) }

// Percentile returns the least value of the bucket that contains the p-th
// percentile, p from 1 to 100: the least value such that p percent of all are no
// greater. It is never above the percentile, and less than 1/16 below it. Without
// values it is 0.
func (s *Spread) Percentile(p int) int64 {
	rank, seen := (s.n*uint64(p)+99)/100, uint64(0)
	for bucket, n := range s.counts {
		if seen += n; seen >= rank && n > 0 {
			return Least(bucket)
		}
	}
	return 0
}
