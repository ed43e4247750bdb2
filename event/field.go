package event

// Field names one value of an event.
//
// The numbers are permanent: they are written to the facet log and to
// snapshots, so a number is never given to another field and never reused.
// Numbers below 64 come from the gateway; 64 and above are derived by ingest
// and are refused in what a gateway sends.
type Field uint8

// What a gateway sends. JSON names are in [Fields].
const (
	None Field = 0

	// Envelope.
	ID            Field = 1 // made by the gateway, never taken from a client's header
	Time          Field = 2 // when the gateway received the request; a claim until ingest has bracketed it
	SchemaVersion Field = 3
	Gateway       Field = 4 // name of the gateway or its pool

	// Identity.
	Tenant       Field = 5
	Account      Field = 6 // the account that is signed in, or that a sign-in names
	Session      Field = 7
	Token        Field = 8 // id of the token (jti, or a hash made by the gateway), never the token
	TokenFamily  Field = 9 // all refresh tokens that descend from one sign-in
	TokenIssued  Field = 10
	TokenExpires Field = 11
	Grant        Field = 12

	// Request.
	RequestID     Field = 13
	TraceID       Field = 14
	Method        Field = 15
	Host          Field = 16
	Path          Field = 17
	Route         Field = 18 // the path as a template: /users/{id}
	Status        Field = 19
	LatencyMicros Field = 20
	RequestBytes  Field = 21
	ResponseBytes Field = 22
	UserAgent     Field = 23
	IP            Field = 24 // the socket's peer as the gateway saw it
	ForwardedFor  Field = 25 // the whole X-Forwarded-For chain, joined by commas
	JA4           Field = 26

	// Device: all of it claimed by the app.
	Device      Field = 27
	DeviceModel Field = 28
	OS          Field = 29
	OSVersion   Field = 30
	PatchLevel  Field = 31
	App         Field = 32
	AppVersion  Field = 33
	SIM         Field = 34 // operator as MCC-MNC, or "absent"
	Rooted      Field = 35
	Emulator    Field = 36

	// Proof: what the gateway, or the gate, verified.
	Signature        Field = 37
	SignatureReason  Field = 38
	KeyID            Field = 39
	Nonce            Field = 40
	ClientTime       Field = 41 // the client's own clock: evidence only
	Attestation      Field = 42
	AttestationLevel Field = 43
	AttestationAge   Field = 44 // seconds
	PinningError     Field = 45

	// Object that the request is about.
	ObjectType Field = 46
	Object     Field = 47

	// Outcome.
	Auth     Field = 48 // empty where the request is no sign-in
	Decision Field = 49 // id of our own decision about the request
	Attrs    Field = 50 // free attributes: a flat JSON object, kept as text

	Referer        Field = 51
	DecisionAction Field = 52 // what our decision said: only throttle and stricter refused the request
	ConnectingIP   Field = 53 // client address that a CDN states in a header of its own, such as CF-Connecting-IP
	RemoteUser     Field = 54 // user name in an access log, which nobody has verified

	AttestationID      Field = 55 // what attests: a key's id, or a hash of the token
	AttestationCounter Field = 56 // of the attesting key, as it was signed
)

// What ingest derives.
const (
	ClientIP   Field = 64 // after the trusted-proxy walk: IPv4, or the IPv6 /64
	Net        Field = 65 // IPv4 /24 or IPv6 /48 of ClientIP
	Country    Field = 66 // ISO 3166-1 alpha-2
	City       Field = 67
	Latitude   Field = 68 // micro-degrees
	Longitude  Field = 69 // micro-degrees
	GeoRadius  Field = 70 // accuracy radius, km
	ASN        Field = 71
	ASOrg      Field = 72
	Anonymiser Field = 73 // empty where none is known
	Skewed     Field = 74 // the claimed time was outside the bracket and was moved
	Build      Field = 75 // app version and device model: "4.2.0|Pixel 8"
	Clipped    Field = 76 // something the client wrote was shortened, escaped or dropped
	Delayed    Field = 77 // the claimed time lies before the bracket; unless it was moved, the event is late
	Tried      Field = 78 // the account was named by a sign-in that did not succeed

	// MaxField bounds arrays indexed by Field.
	MaxField = 80
)

// Kind says how a field's value is written in JSON, and held.
type Kind uint8

const (
	KindText    Kind = iota + 1 // JSON string; held as text
	KindInt                     // JSON integer; held as a number
	KindTime                    // RFC 3339 string, or integer Unix milliseconds; held as Unix milliseconds
	KindBool                    // JSON true or false; held as 1 or 0
	KindAddress                 // JSON string, an IP address or unix:; held as text
	KindObject                  // JSON object, flat; held as its text
)

// Numeric reports whether values are read with [Event.Num], not [Event.Text].
func (k Kind) Numeric() bool { return k == KindInt || k == KindTime || k == KindBool }

// Spec describes a field.
type Spec struct {
	Field    Field
	Name     string // JSON key, ClickHouse column, and name in rules
	Kind     Kind
	MaxBytes int      // text: length of the longest value
	Min, Max int64    // integers: range, inclusive
	Enum     []string // text: the only values; nil: any
	Derived  bool     // made by ingest, refused from a gateway

	// Client says that the client states the value, or can choose it. Such a value
	// never refuses an event, see [Keep]. Anything else is made by the gateway, and
	// is right or refused.
	Client bool

	// Identifier says that the value, which is a client's, names or counts
	// something: different ones stay different, however long they are.
	Identifier bool

	Doc string
}

const (
	maxInt    = 1<<53 - 1           // what JSON carries exactly everywhere
	minMillis = 0                   // 1970
	maxMillis = 253_402_300_799_999 // 9999-12-31T23:59:59.999Z
)

// specs is the one table that the decoder, the encoder, the projection of
// facets, the ClickHouse columns and the rule language read.
var specs = numbered([MaxField]Spec{
	ID:            text("id", 128, "id of the event, made by the gateway"),
	Time:          moment("time", "when the gateway received the request"),
	SchemaVersion: number("schema_version", 1, 1, "version of this format; 1"),
	Gateway:       text("gateway", 128, "name of the gateway"),

	Tenant:       text("tenant", 64, "customer or product, where one Weir serves several"),
	Account:      identifier("account", 256, "account signed in, or named by a sign-in"),
	Session:      identifier("session", 256, "session id"),
	Token:        identifier("token", 256, "token id (jti) or a hash of the token; never the token itself"),
	TokenFamily:  identifier("token_family", 256, "family of refresh tokens that descend from one sign-in"),
	TokenIssued:  client(moment("token_issued", "when the token was issued")),
	TokenExpires: client(moment("token_expires", "when the token expires")),
	Grant:        client(text("grant", 64, "OAuth grant of a token request: password, refresh_token, …")),

	RequestID:     identifier("request_id", 128, "request id, as in the gateway's own log"),
	TraceID:       identifier("trace_id", 64, "W3C trace id"),
	Method:        client(text("method", 32, "HTTP method")),
	Host:          client(text("host", 255, "host asked for")),
	Path:          client(text("path", 8192, "path with query, as received")),
	Route:         identifier("route", 512, "path as a template, such as /users/{id}; derived where it is absent"),
	Status:        number("status", 0, 999, "HTTP status answered; 0 where there was no answer"),
	LatencyMicros: number("latency_us", 0, maxInt, "time to answer, microseconds"),
	RequestBytes:  client(number("request_bytes", 0, maxInt, "size of the request")),
	ResponseBytes: number("response_bytes", 0, maxInt, "size of the answer"),
	UserAgent:     client(text("user_agent", 1024, "User-Agent header")),
	IP:            {Name: "ip", Kind: KindAddress, MaxBytes: 64, Doc: "address of the socket's peer; `unix:` where it is on a Unix socket"},
	ForwardedFor:  client(text("forwarded_for", 2048, "X-Forwarded-For, all of it")),
	JA4:           identifier("ja4", 64, "JA4 fingerprint of the TLS client"),

	Device:      identifier("device", 256, "device id"),
	DeviceModel: identifier("device_model", 128, "device model"),
	OS:          client(text("os", 32, "operating system: android, ios, …")),
	OSVersion:   client(text("os_version", 64, "version of the operating system")),
	PatchLevel:  client(text("patch_level", 32, "security patch level, such as 2026-10-05")),
	App:         identifier("app", 256, "application id"),
	AppVersion:  identifier("app_version", 64, "version of the app"),
	SIM:         client(text("sim", 32, "SIM operator as MCC-MNC, or absent")),
	Rooted:      client(flag("rooted", "the app believes that the device is rooted")),
	Emulator:    client(flag("emulator", "the app believes that it runs in an emulator")),

	Signature:        oneOf("signature", "verdict on the request's signature", "valid", "invalid", "missing", "unknown"),
	SignatureReason:  client(text("signature_reason", 64, "why the signature was not valid")),
	KeyID:            identifier("key_id", 128, "id of the key that signed"),
	Nonce:            identifier("nonce", 128, "nonce sent with the request"),
	ClientTime:       client(moment("client_time", "the client's own clock")),
	Attestation:      oneOf("attestation", "verdict on the app attestation", "passed", "failed", "missing", "error"),
	AttestationLevel: oneOf("attestation_level", "level of the attestation", "none", "basic", "device", "strong"),
	AttestationAge:   client(number("attestation_age_s", 0, maxInt, "age of the attestation, seconds")),
	PinningError:     client(flag("pinning_error", "the app reported a certificate-pinning failure")),

	ObjectType: client(text("object_type", 64, "type of the object asked for: order, user, …")),
	Object:     identifier("object", 256, "id of the object asked for"),

	Auth:     oneOf("auth", "outcome of a sign-in", "success", "failure", "challenge"),
	Decision: text("decision", 64, "id of the decision that Weir gave about this request"),

	Referer:        client(text("referer", 2048, "Referer header")),
	DecisionAction: oneOf("decision_action", "what that decision said and the gateway did; from throttle on the event counts against nobody", "allow", "tag", "throttle", "challenge", "step_up", "deny"),
	ConnectingIP:   identifier("connecting_ip", 64, "client address that a CDN states in a header of its own, such as CF-Connecting-IP"),
	RemoteUser:     identifier("remote_user", 256, "user name as an access log has it, verified by nobody"),

	AttestationID:      identifier("attestation_id", 128, "id of what attests: App Attest's key id, or a hash of the attestation token"),
	AttestationCounter: client(number("attestation_counter", 0, maxInt, "counter that the attesting key signed, as in an App Attest assertion")),

	Attrs: {Name: "attrs", Kind: KindObject, Client: true, MaxBytes: 4096, Doc: "free attributes: a flat object of strings, numbers and booleans"},

	ClientIP:   derived(text("client_ip", 64, "client's address: IPv4, or the IPv6 /64")),
	Net:        derived(text("net", 64, "network of the client: IPv4 /24 or IPv6 /48")),
	Country:    derived(text("country", 2, "country of the client's address, ISO 3166-1")),
	City:       derived(text("city", 128, "city of the client's address")),
	Latitude:   derived(number("latitude_udeg", -90_000_000, 90_000_000, "latitude, micro-degrees")),
	Longitude:  derived(number("longitude_udeg", -180_000_000, 180_000_000, "longitude, micro-degrees")),
	GeoRadius:  derived(number("geo_radius_km", 0, 20_100, "accuracy radius of the place, km")),
	ASN:        derived(number("asn", 0, 1<<32-1, "autonomous system of the client's address")),
	ASOrg:      derived(text("as_org", 256, "organisation of the autonomous system")),
	Anonymiser: derived(oneOf("anonymiser", "what hides the client's address, where that is known", "vpn", "tor", "hosting", "proxy")),
	Skewed:     derived(flag("skewed", "time is not the one that the gateway gave: that lay after the arrival, or (with delayed) before it, and was moved")),
	Build:      derived(text("build", 200, "app version and device model, joined by |")),
	Clipped:    derived(flag("clipped", "something that the client wrote was shortened, escaped or dropped")),
	Delayed:    derived(flag("delayed", "the gateway's time lies further back than ingest.max_late; unless it was moved (skewed), the event is late and no rule counts it")),
	Tried:      derived(flag("account_tried", "the account was named by a sign-in that did not succeed")),
})

func numbered(all [MaxField]Spec) [MaxField]Spec {
	for f := range all {
		all[f].Field = Field(f)
	}
	return all
}

func text(name string, max int, doc string) Spec {
	return Spec{Name: name, Kind: KindText, MaxBytes: max, Doc: doc}
}
func oneOf(name, doc string, values ...string) Spec {
	return Spec{Name: name, Kind: KindText, MaxBytes: 16, Enum: values, Doc: doc}
}
func number(name string, min, max int64, doc string) Spec {
	return Spec{Name: name, Kind: KindInt, Min: min, Max: max, Doc: doc}
}
func moment(name, doc string) Spec {
	return Spec{Name: name, Kind: KindTime, Min: minMillis, Max: maxMillis, Doc: doc}
}
func flag(name, doc string) Spec {
	return Spec{Name: name, Kind: KindBool, Max: 1, Doc: doc}
}
func derived(s Spec) Spec { s.Derived = true; return s }
func client(s Spec) Spec  { s.Client = true; return s }
func identifier(name string, max int, doc string) Spec {
	s := client(text(name, max, doc))
	s.Identifier = true
	return s
}

// Fields lists every field that exists, in number order.
func Fields() []Spec {
	all := make([]Spec, 0, MaxField)
	for f := range specs {
		if specs[f].Name != "" {
			all = append(all, specs[f])
		}
	}
	return all
}

// byName is the field of each JSON name.
var byName = func() map[string]Field {
	m := make(map[string]Field, MaxField)
	for f := range specs {
		if specs[f].Name != "" {
			m[specs[f].Name] = Field(f)
		}
	}
	return m
}()

// Lookup finds a field by its JSON name.
func Lookup(name string) (Spec, bool) {
	f, ok := byName[name]
	if !ok {
		return Spec{}, false
	}
	return specs[f], true
}

// Spec describes f, which must be less than [MaxField]; its name is "" where there
// is no such field. It is not to be written to.
func (f Field) Spec() *Spec { return &specs[f] }

// Values lists the only values that f may have, in the order in which they are
// documented; nil where it may have any. It is not to be written to.
func (f Field) Values() []string {
	if f >= MaxField {
		return nil
	}
	return specs[f].Enum
}

// Kind says how f is held; 0 where there is no such field.
func (f Field) Kind() Kind {
	if f >= MaxField {
		return 0
	}
	return specs[f].Kind
}

// String is the field's JSON name.
func (f Field) String() string {
	if f >= MaxField || specs[f].Name == "" {
		return "unknown"
	}
	return specs[f].Name
}
