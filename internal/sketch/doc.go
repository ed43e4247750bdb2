// Package sketch holds summaries of many values in few flat bytes: how many
// distinct ones there are, and how they are spread.
//
// A summary lives in a byte slice that its owner keeps. Room says how many bytes it
// needs to take a value in; the owner makes the slice that long, and Add does it.
// What a summary holds does not depend on the order of its values, and summaries
// of parts merge into the summary of the whole. All arithmetic is on integers.
package sketch

import "encoding/binary"

var le = binary.LittleEndian
