package rules

import "github.com/weirdev/weir/event"

// Value is what a step gives a field.
type Value struct {
	Field event.Field
	Text  string // "{n}" stands for the number of the event in its series, from 1
	Num   int64
}
