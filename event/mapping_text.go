package event

// putLogText gives f a text from a gateway's log, as [Keep] has it. Empty and "-"
// are how logs write that there is nothing; an address that is none is nothing,
// too. isSound is as in [Event.AdmitText]. done says whether f has got a value;
// refused is 0 where there is nothing to refuse.
func putLogText(e *Event, f Field, v string, isSound bool) (done bool, refused Reason) {
	if v == "-" {
		return false, 0
	}
	if f.Kind() == KindAddress {
		v, isSound = BareAddress(v), true
	}
	if v == "" {
		return false, 0
	}
	return e.AdmitText(f, v, isSound)
}

// putText is putLogText for fields that nothing can be refused of: addresses, and
// what clients write.
func putText(e *Event, f Field, v string) bool {
	done, _ := putLogText(e, f, v, false)
	return done
}
