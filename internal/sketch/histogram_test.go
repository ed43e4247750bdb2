package sketch

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func tell(h Histogram, values ...int64) Histogram {
	for _, v := range values {
		used, bucket := len(h), Bucket(v)
		h = append(h, make([]byte, h.Room(bucket)-used)...)
		h.Add(used, bucket)
	}
	return h
}

func TestABucketHoldsWhatItSays(t *testing.T) {
	last := int64(-1)
	for b := range Buckets {
		least := Least(b)
		if least <= last || Bucket(least) != b || Bucket(max(least-1, 0)) != max(b-1, 0) {
			t.Fatalf("bucket %d begins at %d, which is in %d; the one before at %d", b, least, Bucket(least), last)
		}
		last = least
	}
	for v, want := range map[int64]int{-5: 0, math.MinInt64: 0, 0: 0, 15: 15, 16: 16, 1<<53 - 1: Buckets - 1, 1 << 53: Buckets - 1, math.MaxInt64: Buckets - 1} {
		if got := Bucket(v); got != want {
			t.Errorf("%d is in bucket %d, want %d", v, got, want)
		}
	}
}

// The stated error: never above the percentile, less than 1/16 below.
func TestTheErrorOfAPercentileIsAsStated(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(1, seed))
		values := make([]int64, 1+rng.IntN(300))
		for i := range values {
			values[i] = int64(rng.Uint64() >> (11 + rng.IntN(53)))
		}
		var s Spread
		half := len(values) / 2
		s.Add(tell(nil, values[:half]...))
		s.Add(tell(nil, values[half:]...))
		slices.Sort(values)
		for p := 1; p <= 100; p++ {
			want := values[(len(values)*p+99)/100-1]
			if got := s.Percentile(p); got > want || 17*got < 16*want-16 && got != want || want < 32 && got != want {
				t.Fatalf("seed %d: percentile %d of %d values is %d, want %d", seed, p, len(values), got, want)
			}
		}
		if s.Count() != int64(len(values)) {
			t.Fatalf("%d values", s.Count())
		}
	}
}

func TestHistogramsMergeIntoTheWhole(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(2, seed))
		var all []int64
		var parts [2]Histogram
		for range rng.IntN(200) {
			v := rng.Int64N(2000)
			all = append(all, v)
			i := rng.IntN(2)
			parts[i] = tell(parts[i], v)
		}
		whole := tell(nil, all...)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if merged := parts[0].Merge([]byte("x"), parts[1])[1:]; !bytes.Equal(merged, whole) || !bytes.Equal(tell(nil, all...), whole) || !whole.Valid() {
			t.Fatalf("seed %d: merged parts, or another order, differ from the whole", seed)
		}
	}
}

func TestABucketThatIsFullStaysSo(t *testing.T) {
	full := tell(nil, 7)
	le.PutUint32(full[2:], math.MaxUint32)
	if h := tell(slices.Clone(full), 7); !bytes.Equal(h, full) {
		t.Errorf("%x", h)
	}
	if h := full.Merge(nil, full); !bytes.Equal(h, full) {
		t.Errorf("%x", h)
	}
}

func FuzzHistogram(f *testing.F) {
	f.Add([]byte{}, int64(7))
	f.Add([]byte(tell(nil, 1, 5, 1<<40, 1<<40)), int64(1<<53))
	f.Add([]byte{9, 0, 1, 0, 0, 0, 9, 0, 1, 0, 0, 0}, int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, v int64) {
		h := Histogram(b)
		if !h.Valid() {
			return
		}
		h = tell(slices.Clone(h), v)
		if !h.Valid() {
			t.Fatal("not valid any more")
		}
		var s Spread
		s.Add(h)
		if top := s.Percentile(100); top < Least(Bucket(v)) || s.Percentile(1) > top || s.Count() < 1 {
			t.Fatalf("%d values from %d to %d, one is %d", s.Count(), s.Percentile(1), top, v)
		}
	})
}

func BenchmarkPercentile(b *testing.B) {
	var parts []Histogram
	rng := rand.New(rand.NewPCG(3, 3))
	for range 16 {
		var h Histogram
		for range 1000 {
			h = tell(h, 100+rng.Int64N(2000))
		}
		parts = append(parts, h)
	}
	var s Spread
	b.ReportAllocs()
	for b.Loop() {
		s.Reset()
		for _, h := range parts {
			s.Add(h)
		}
		s.Percentile(95)
	}
}
