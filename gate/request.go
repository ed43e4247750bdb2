package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// MaxBodyBytes is the longest question.
const MaxBodyBytes = 16 << 10

// ParseRequest reads the body of a question strictly: one JSON object with the
// members tenant, route and entities, in which every entity is a text. Unknown
// and repeated members, another case, invalid UTF-8 and anything behind the
// object are errors. An entity that is "" counts as not given. Addresses are
// brought to the form in which ingest counts them, and the network of an
// address is asked about as well.
func ParseRequest(body []byte) (Request, error) {
	var req Request
	if !utf8.Valid(body) {
		return req, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	given := map[facet.Kind]string{}
	err := eachMember(dec, func(name string) (err error) {
		switch name {
		case "tenant":
			req.Tenant, err = text(dec, limitOf(event.Tenant))
		case "route":
			req.Route, err = text(dec, limitOf(event.Route))
		case "entities":
			err = entities(dec, given)
		default:
			err = errors.New("unknown member")
		}
		return err
	})
	if err != nil {
		return req, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return req, errors.New("something follows the object")
	}
	req.Entities, err = resolve(req.Tenant, given)
	return req, err
}

// eachMember reads an object and calls read at the value of each member.
func eachMember(dec *json.Decoder, read func(name string) error) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not an object")
	}
	seen := make(map[string]bool, 8)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("malformed JSON at byte %d", dec.InputOffset())
		}
		name, _ := t.(string)
		if seen[name] {
			return fmt.Errorf("%.32q is given twice", name)
		}
		seen[name] = true
		if err := read(name); err != nil {
			return fmt.Errorf("%.32q: %w", name, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("malformed JSON at byte %d", dec.InputOffset())
	}
	return nil
}

func text(dec *json.Decoder, most int) (string, error) {
	t, err := dec.Token()
	if err != nil {
		return "", errors.New("malformed JSON")
	}
	s, ok := t.(string)
	if !ok {
		return "", errors.New("not a text")
	}
	return s, checkText(s, most)
}

// checkText refuses what the decoder had to replace, since two different texts
// would become the same, and the byte that separates the parts of a key.
func checkText(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%d bytes, more than %d", len(s), most)
	}
	if strings.ContainsRune(s, utf8.RuneError) {
		return errors.New("half a surrogate pair, or U+FFFD")
	}
	if strings.IndexByte(s, 0) >= 0 {
		return errors.New("a zero byte")
	}
	return nil
}

func entities(dec *json.Decoder, given map[facet.Kind]string) error {
	return eachMember(dec, func(name string) error {
		kind, ok := facet.ParseKind(name)
		if !ok {
			return errors.New("no kind of entity")
		}
		key, err := text(dec, limitOf(fieldOf[kind]))
		if err == nil && key != "" {
			given[kind] = key
		}
		return err
	})
}

// fieldOf says which field of an event names an entity.
var fieldOf = [facet.MaxKind]event.Field{
	facet.Account: event.Account, facet.Session: event.Session, facet.Token: event.Token, facet.Device: event.Device,
	facet.IP: event.ClientIP, facet.Net: event.Net, facet.ASN: event.ASOrg, facet.JA4: event.JA4,
	facet.Build: event.Build, facet.Route: event.Route, facet.Tenant: event.Tenant,
}

// limitOf is the longest text of a field.
func limitOf(f event.Field) int {
	spec, _ := event.Lookup(f.String())
	return spec.MaxBytes
}

// resolve makes entities of what was given, in order of kinds.
func resolve(tenant string, given map[facet.Kind]string) ([]facet.Entity, error) {
	list := make([]facet.Entity, 0, len(given)+1)
	for _, kind := range facet.Kinds() {
		key, ok := given[kind]
		if !ok {
			continue
		}
		e, err := Resolve(kind, tenant, key)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if _, known := given[facet.Net]; kind == facet.IP && !known {
			list = append(list, facet.Entity{Kind: facet.Net, Tenant: tenant, Key: netOf(e.Key)})
		}
	}
	return list, nil
}

// Resolve makes an entity of what a gateway calls it, in the form in which
// ingest counts it.
func Resolve(kind facet.Kind, tenant, key string) (facet.Entity, error) {
	e := facet.Entity{Kind: kind, Tenant: tenant, Key: key}
	ok := key != ""
	switch kind {
	case facet.IP:
		e.Key, ok = clientKey(key)
	case facet.Net:
		e.Key, ok = netKey(key)
	case facet.ASN:
		n, err := strconv.ParseUint(key, 10, 32)
		e.Key, ok = strconv.FormatUint(n, 10), err == nil && n > 0
	case facet.Tenant:
		ok = ok && key == tenant
	}
	if !ok {
		return facet.Entity{}, fmt.Errorf("%s: %.64q is no such entity", kind, key)
	}
	return e, nil
}

// clientKey takes an address, or the /64 that stands for one.
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

// netKey takes a network as ingest writes it, or an address in it.
func netKey(s string) (string, bool) {
	if a, ok := event.ParseAddress(s); ok {
		return event.NetKey(a), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return "", false
	}
	key := event.NetKey(p.Addr())
	return key, key == p.String()
}

// netOf is the network of a client key.
func netOf(clientKey string) string {
	bare, _, _ := strings.Cut(clientKey, "/")
	a, err := netip.ParseAddr(bare)
	if err != nil {
		return ""
	}
	return event.NetKey(a)
}
