package detectors

import (
	"unsafe"

	"github.com/weirdev/weir/event"
)

// sender identifies the sender of an event: 32 bits of each value's hash, 0 if
// absent; asn is the number itself.
type sender struct {
	device, ja4, agent, net, asn uint32
}

// senderFields are the fields that a [senderReader] reads.
var senderFields = [...]event.Field{event.UserAgent, event.JA4, event.Device, event.Net, event.ASN}

func differ(a, b uint32) bool { return a != 0 && b != 0 && a != b }

// otherDevice reports whether two senders name different devices.
func (s *sender) otherDevice(o *sender) bool { return differ(s.device, o.device) }

// otherNetwork reports whether two senders are in different networks of different
// operators.
func (s *sender) otherNetwork(o *sender) bool {
	return differ(s.net, o.net) && (s.asn == 0 || s.asn != o.asn)
}

// apart reports whether two senders share neither a network nor a client.
func (s *sender) apart(o *sender) bool {
	return s.otherNetwork(o) && (differ(s.ja4, o.ja4) || differ(s.agent, o.agent))
}

// senderReader reads senders from events.
type senderReader struct {
	hasher  Hasher
	scratch []byte // a user agent without its numbers
}

func (r *senderReader) read(e *event.Event) sender {
	return sender{
		device: r.number(e.Text(event.Device)), ja4: r.number(e.Text(event.JA4)), agent: r.agent(e.Text(event.UserAgent)),
		net: r.number(e.Text(event.Net)), asn: uint32(e.Num(event.ASN)),
	}
}

// agent hashes a user agent without its numbers, so that an update does not change
// it.
func (r *senderReader) agent(text string) uint32 {
	r.scratch = r.scratch[:0]
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && c != '.' && c != '_' {
			r.scratch = append(r.scratch, c)
		}
	}
	return r.number(unsafe.String(unsafe.SliceData(r.scratch), len(r.scratch)))
}

// number hashes a text to 32 bits; 0 if it is empty.
func (r *senderReader) number(text string) uint32 {
	if text == "" {
		return 0
	}
	return max(uint32(r.hasher.Text(text)), 1)
}

// putSender writes 20 bytes in the format of getSender.
func putSender(b []byte, s *sender) {
	le.PutUint32(b, s.device)
	le.PutUint32(b[4:], s.ja4)
	le.PutUint32(b[8:], s.agent)
	le.PutUint32(b[12:], s.net)
	le.PutUint32(b[16:], s.asn)
}

func getSender(b []byte) sender {
	return sender{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])}
}
