// Package sketch holds summaries of many values in a few flat bytes: the number of
// distinct ones, and their distribution.
//
// A summary lives in its owner's byte slice. Room returns how many bytes it needs
// to add a value; the owner makes the slice that long, and Add adds the value. A
// summary does not depend on the order of its values, and summaries of parts merge
// into the summary of the whole. All arithmetic is on integers.
package sketch

import "encoding/binary"

var le = binary.LittleEndian
