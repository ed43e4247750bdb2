package facet

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirdev/weir/event"
)

// nameOf maps kinds to the event field that names an entity. For a token it is the
// token itself; its family, which takes precedence, has the same form.
var nameOf = [MaxKind]event.Field{
	Account: event.Account, Session: event.Session, Token: event.Token, Device: event.Device,
	IP: event.ClientIP, Net: event.Net, ASN: event.ASN, JA4: event.JA4,
	Build: event.Build, Route: event.Route, Tenant: event.Tenant,
	Country: event.Country, Net16: event.ClientIP, Key: event.KeyID, Attestation: event.AttestationID,
}

// KeyOf returns the key of the entity of kind k that v names, byte for byte: the
// key that [EntityOf] finds in an event with the same value. So a request about an
// entity gets what was counted for it. A key names its own entity.
//
// Addresses and networks are accepted in every form that [event.ParseAddress]
// reads, and as keys; a build is "version|model"; a network's number is decimal. ok
// is false if v names no entity of the kind. whole is false if a client's name was
// shortened or repaired, as [event.Keep] does.
func KeyOf(k Kind, v string) (key string, whole, ok bool) {
	switch k {
	case IP:
		key, ok = clientKey(v)
		return key, true, ok
	case Net:
		key, ok = netKey(v, event.NetKey)
		return key, true, ok
	case Net16:
		key, ok = netKey(v, event.Net16Key)
		return key, true, ok
	case ASN:
		n, err := strconv.ParseUint(v, 10, 32)
		return strconv.FormatUint(n, 10), true, err == nil && n > 0
	case Build:
		return buildKey(v)
	}
	if !k.Exists() {
		return "", false, false
	}
	key, whole, refused := event.Keep(nameOf[k], v)
	return key, whole, key != "" && refused == 0
}

// buildKey shortens the two parts of a build as in an event.
func buildKey(v string) (key string, whole, ok bool) {
	version, model, _ := strings.Cut(v, "|")
	version, whole1, _ := event.Keep(event.AppVersion, version)
	model, whole2, _ := event.Keep(event.DeviceModel, model)
	return version + "|" + model, whole1 && whole2, version != "" && model != ""
}

// clientKey accepts an address, or the /64 that stands for one.
func clientKey(s string) (string, bool) {
	if a, ok := event.ParseAddress(s); ok {
		return event.ClientKey(a), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Bits() != 64 || p.Masked() != p {
		return "", false
	}
	key := event.ClientKey(p.Addr())
	return key, key == p.String()
}

// netKey accepts a network as ingest writes it, or an address in it.
func netKey(s string, of func(netip.Addr) string) (string, bool) {
	if a, ok := event.ParseAddress(s); ok {
		return of(a), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return "", false
	}
	key := of(p.Addr())
	return key, key == p.String()
}

// NetOf returns the key of the network that contains a client's address, given as
// its key; "" if there is none.
func NetOf(clientKey string) string {
	return event.NetKey(clientAddress(clientKey))
}

// Net16Of returns the same for the wider network.
func Net16Of(clientKey string) string {
	return event.Net16Key(clientAddress(clientKey))
}

// clientAddress returns the address that a client's key is, or begins with; the
// zero Addr if there is none.
func clientAddress(key string) (a netip.Addr) {
	if bare, _, _ := strings.Cut(key, "/"); bare != "" {
		a, _ = netip.ParseAddr(bare)
	}
	return a
}
