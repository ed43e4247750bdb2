//go:build race

package testkit

// Raced says whether the race detector is on.
const Raced = true
