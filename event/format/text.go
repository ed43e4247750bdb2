package format

import "github.com/weirdev/weir/event"

// putLogText gives f a text from a gateway's log, as [event.Keep] has it. Empty and "-"
// are how logs write that there is nothing; an address that is none is nothing,
// too. isSound is as in [event.Event.AdmitText]. done says whether f has got a value;
// refused is 0 where there is nothing to refuse.
func putLogText(e *event.Event, f event.Field, v string, isSound bool) (done bool, refused event.Reason) {
	if v == "-" {
		return false, 0
	}
	if f.Kind() == event.KindAddress {
		v, isSound = event.BareAddress(v), true
	}
	if v == "" {
		return false, 0
	}
	return e.AdmitText(f, v, isSound)
}

// putText is putLogText for fields that nothing can be refused of: addresses, and
// what clients write.
func putText(e *event.Event, f event.Field, v string) bool {
	done, _ := putLogText(e, f, v, false)
	return done
}
