package gate

import "math/rand/v2"

// newID returns a UUID, version 4, that nobody can guess: from the runtime's ChaCha8,
// which the kernel seeds and of which each thread has its own. A call to the kernel
// takes as long as the rest of a decision, and a generator of the gate's own needs a
// lock.
func newID() string {
	const version, variant = 0x4 << 12, 0x2 << 62
	high, low := rand.Uint64()&^(0xf<<12)|version, rand.Uint64()&^(0x3<<62)|variant
	var text [36]byte
	digits(text[0:8], high>>32)
	digits(text[9:13], high>>16)
	digits(text[14:18], high)
	digits(text[19:23], low>>48)
	digits(text[24:36], low)
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// digits writes the lowest hexadecimal digits of n.
func digits(to []byte, n uint64) {
	for i := len(to) - 1; i >= 0; i-- {
		to[i] = "0123456789abcdef"[n&0xf]
		n >>= 4
	}
}
