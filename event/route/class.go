package route

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A route that no list of the rules names gets a class by its words: each word is one of some sixty
// concepts, and a class follows only if every word of the route is known and the
// concepts are those that a line of wordClasses asks for. An unknown word means that
// nothing is known.
//
// They stand here because derived routes must keep what says a class: see
// [Table.Route]. So a change of built-in words or of how they are read changes routes,
// and the semantic version of ingest changes with it.

// BuiltInWords is what [ParseWords] reads.
const BuiltInWords = routeConcepts + "\n" + wordClasses

// routeConcepts holds concepts and the words for them, written without hyphens:
// sign-in, sign_in, signIn and /sign/in are all signin. The concept - is for words that
// say nothing.
const routeConcepts = `
-: api rest rpc trpc grpc twirp jsonrpc connectrpc graphql mutation gateway gw bff edge public mobileapi app apps web webapp ios android client native service services svc backend with by via using to onboarding
auth: auth authn authentication authorization identity identities iam sso idp oauth oauth2 oidc
login: login logins signin signins logon signon authenticate authguest guestlogin guestsignin loginguest signinguest authanonymous loginanonymous signinanonymous
session: session sessions guestsession guestsessions anonymoussession sessionguest sessionanonymous
signup: signup signups register registration registrations
logout: logout signout logoff signoff
token: token tokens jwt accesstoken refreshtoken
refresh: refresh renew rotate
revoke: revoke revocation invalidate terminate delete remove
password: password passwords passcode passwd pwd passphrase
pin: pin pincode
forgot: forgot forgotten reset resets recover recovery lost
otp: otp otps totp tan onetimecode onetimepassword onetimepasscode onetimepin smsotp emailotp otpcode verificationcode verificationcodes
code: code codes
mfa: mfa 2fa tfa twofactor twofactorauth twostep secondfactor multifactor mfachallenge stepup factor factors
push: push approval approvals approve pushapproval pushapprovals
challenge: challenge challenges
passkey: passkey passkeys webauthn fido fido2 biometric biometrics fingerprint faceid touchid
magiclink: magiclink magiclinks loginlink signinlink
social: social google apple facebook microsoft firebase
email: email emails emailaddress mailaddress
phone: phone mobile phonenumber telephone telephonenumber mobilenumber mobilephone cellphone msisdn
contact: contact contacts contactdetails contactinfo contactinformation contactdata
sms: sms
verify: verify verification verifications validate validation check activate
confirm: confirm confirmation confirmations complete finalize finalise
send: send resend sends
request: request requests generate
change: change changes update edit set modify replace bind rebind
create: create new open make submit initiate start begin place execute process perform authorize authorise capture
add: add link
me: me my self own current mine
users: users customers members riders drivers patients players subscribers couriers citizens merchants sellers buyers shoppers viewers listeners residents taxpayers policyholders consumers cardholders donors gamers learners students dashers creators
people: guests passengers travellers travelers employees clients hosts persons profiles participants tenants teachers parents agents workers owners
user: user customer member rider driver patient player subscriber courier citizen merchant seller buyer shopper viewer listener resident taxpayer policyholder consumer cardholder donor gamer learner student dasher creator guest passenger traveller traveler employee person host partner
account: account useraccount customeraccount
accounts: accounts
profile: profile personaldata personaldetails personalinfo
settings: settings security
device: device devices handset handsets deviceregistration deviceregistrations
attest: attest attestation attestations playintegrity appattest
start: bootstrap handshake appstart appinit startup appconfig remoteconfig
payment: payment payments pay charge charges paymentintent paymentintents donation donations donate paybill billpayment billpayments
invoice: invoice invoices bill bills billing
order: order orders
booking: booking bookings ride rides reservation reservations
checkout: checkout checkouts
cart: cart carts basket baskets shoppingcart shoppingbag trolley
item: item items product products ticket tickets plan plans package packages bundle bundles subscription subscriptions line lines meter meters
card: card cards creditcard creditcards debitcard paymentmethod paymentmethods paymentinstrument paymentinstruments paymentsource paymentsources paymentcard paymentcards paymentscards paymentsmethods
topup: topup topups topupbalance rechargebalance reloadbalance addbalance loadbalance recharge recharges reload reloads addmoney addfunds loadmoney
deposit: deposit deposits
buy: buy purchase purchases iap iaps inapppurchase inapppurchases verifyreceipt validatereceipt receiptverify receiptvalidate receiptsverify receiptsvalidate receiptvalidation receiptverification
wallet: wallet wallets balance balances fund funds money bank banking
transfer: transfer transfers moneytransfer moneytransfers banktransfer banktransfers remittance remittances payout payouts withdraw withdrawal withdrawals cashout cashouts disbursement disbursements sendmoney transferbalance withdrawbalance sendbalance
payee: payee payees beneficiary beneficiaries bankaccount bankaccounts payoutmethod payoutmethods payoutaccount payoutaccounts externalaccount externalaccounts bankdetails iban
voucher: voucher vouchers coupon coupons couponcode couponcodes promo promos promocode promocodes promotion promotions vouchercode giftcard giftcards giftcode giftcodes gift gifts discount discounts discountcode discountcodes referral referrals referralcode reward rewards
redeem: redeem redemption redemptions apply claim use
export: export exports takeout dataexport datadownload downloaddata downloadmydata downloadyourdata downloadmyinformation
data: data transaction transactions statement statements history report reports document documents privacy gdpr
refund: refund refunds refundclaim refundclaims claimrefund
address: address addresses
coins: coins coin credits gems gem diamonds diamond
search: search lookup find
{}: {}`

// wordClasses holds, for classes, the methods, what a route has to mean, a column of
// alternatives for each, and what else it may mean. The first line that fits decides.
// A line with ~ is about words that mean other things in other services: not for
// /chat/v1/sessions. A line with . is about remote procedures only.
const wordClasses = `
logout GET,POST,PUT,DELETE: logout | auth owner session token {}
logout POST: session,token revoke | auth me
~ logout DELETE: session | auth me {}
logout DELETE: token auth | me {}
refresh POST: refresh token,session,auth | token session auth me
refresh POST: token auth,session | create
password_reset POST,PUT,PATCH: password,pin forgot | auth owner send request verify confirm otp code email phone sms token create {}
password_reset POST: auth,account,user forgot | auth user request verify confirm
password_change PUT,PATCH: password,pin | auth owner change {}
password_change POST: password,pin change | auth owner
password_change POST: password,pin me,profile,settings,user | owner auth
password_change POST: password,pin users,accounts,people {} |
code_request POST: otp,sms,mfa,magiclink,email,phone send,request | otp sms mfa magiclink email phone auth login session owner signup create code
code_request POST: code send,request auth,login,session,verify,signup,me | auth login session verify signup me
code_request POST: code send |
code_request POST: verify send | email phone auth owner signup
code_request POST: magiclink | auth login session email create
code_request POST: sms,code auth,login,session,signup | create
code_request POST: mfa,otp sms | auth login session
contact_verify POST,PUT: email,phone,contact verify,confirm | email phone auth owner otp code sms contact {}
contact_verify POST: signup verify,confirm | auth owner email phone otp code {}
mfa POST,PUT,PATCH: mfa | auth login session verify confirm challenge push otp code sms email phone create {}
mfa POST,PUT: otp | auth login session verify confirm challenge code sms {}
mfa POST,PUT: mfa,otp verify,confirm | owner otp auth code {}
mfa POST,PUT,PATCH: push auth,login,session,mfa | confirm verify challenge create {}
mfa POST: challenge verify,confirm auth,login,session | {}
mfa POST: code verify,confirm auth,login,session | sms {}
mfa POST: code verify |
mfa POST: pin verify,confirm | auth wallet owner payment transfer
. login POST: auth email |
login POST: passkey login,auth,session | verify session confirm
login POST: login | auth owner session password pin email phone social {} create
login POST: social auth,session | verify create
login POST: pin auth,session | create
~ login POST: session | auth user users account create
signup POST: signup | auth users people user account accounts profile create email phone
~ signup POST: users |
signup POST: create users,user,account,accounts | users user account accounts
contact_change PUT,PATCH: email,phone,contact | auth owner change email phone {}
contact_change POST: email,phone,contact change | owner auth
contact_change POST: email,phone me,profile,settings,user | contact add owner
promotion POST,PUT,PATCH: voucher redeem,verify | code {} cart checkout wallet owner order booking
promotion POST: voucher cart,checkout,order,booking | code add {} me
promotion POST: code redeem | {} me user users
refund POST: refund | order payment booking invoice data buy me user request create {}
payment_confirm POST,PUT,PATCH: payment,checkout,topup confirm | order booking invoice payment checkout wallet me {} card
payment_confirm POST,PUT,PATCH: order,buy confirm | item coins me {}
payment POST: payment | me user users wallet order booking invoice checkout account accounts create add card buy item coins {}
payment POST: topup | me user users wallet account accounts phone card create payment item coins request {}
payment POST: deposit wallet,me,account,accounts | wallet me user account accounts create {}
payment POST: buy | me item coins create order verify {}
~ payment_method POST: card | owner wallet invoice add create
withdrawal POST: transfer | me user users people account accounts wallet coins payment create confirm request {}
withdrawal POST: send wallet,coins | me user users {}
payee POST,PUT,PATCH: payee | me user users people account accounts profile settings wallet transfer payment create add change {}
checkout POST: checkout | cart order session item me {} create payment
~ checkout POST: order,booking | me user users create
cart GET,POST,PUT,PATCH,DELETE: cart | me user users {} item add revoke change create
export GET,POST: export | me user users account accounts profile settings data order contact invoice create request {}
app_start GET,POST: start |
app_start POST: attest | device verify challenge
~ app_start POST: device | me user users {} signup add create attest challenge
search GET,POST: search users,user,people,contact,item | phone email
address_change POST,PUT,PATCH: address | me user users people account profile settings add create change {}
profile_change PUT,PATCH: me,profile | user users people account profile settings change {}
profile_change PUT,PATCH: account,user | settings profile change
profile_change POST: profile change | me user users account`

// classPattern describes names of classes.
const classPattern = `^[a-z][a-z0-9_]{0,63}$`

// wordSet is a set of concepts.
type wordSet uint64

// Words classify routes.
type Words struct {
	text     string
	concepts map[string]wordSet // by word; without bits for words that say nothing
	classes  []wordClass
	apps     wordSet // whom an app is for
}

type wordClass struct {
	class   string
	methods []string
	needs   []wordSet // one of each
	all     wordSet   // needed or allowed
	own     bool      // not behind the name of an unknown service
	remote  bool      // for remote procedures only
}

// ParseWords reads concepts and, after an empty line, classes.
func ParseWords(text string) (*Words, error) {
	concepts, classes, _ := strings.Cut(strings.TrimSpace(text), "\n\n")
	w, names := &Words{text: text, concepts: map[string]wordSet{}}, map[string]wordSet{}
	for i, line := range strings.Split(concepts, "\n") {
		name, words, _ := strings.Cut(line, ":")
		if i > 64 {
			return nil, fmt.Errorf("%s is concept %d, and a set holds 64", name, i)
		}
		if i > 0 {
			names[name] = 1 << (i - 1)
		}
		for _, word := range strings.Fields(words) {
			if _, taken := w.concepts[word]; taken {
				return nil, fmt.Errorf("%s has a concept already", word)
			}
			w.concepts[word] = names[name]
		}
	}
	w.apps = names["users"] | names["people"] | names["user"]
	names["owner"] = w.apps | names["me"] | names["account"] | names["accounts"] | names["profile"] | names["settings"]
	name := regexp.MustCompile(classPattern)
	for _, line := range strings.Split(strings.TrimSpace(classes), "\n") {
		c, err := parseWordClass(line, names)
		if err == nil && !name.MatchString(c.class) {
			err = fmt.Errorf("%q is no name of a class", c.class)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		w.classes = append(w.classes, c)
	}
	return w, nil
}

func parseWordClass(line string, names map[string]wordSet) (c wordClass, err error) {
	line, c.own = strings.CutPrefix(line, "~ ")
	line, c.remote = strings.CutPrefix(line, ". ")
	head, rest, _ := strings.Cut(line, ":")
	class, methods, _ := strings.Cut(head, " ")
	c.class, c.methods = class, strings.Split(methods, ",")
	needs, may, _ := strings.Cut(rest, "|")
	set := func(name string) (s wordSet) {
		if s = names[name]; s == 0 {
			err = fmt.Errorf("no concept is called %q", name)
		}
		return s
	}
	for _, alternatives := range strings.Fields(needs) {
		var need wordSet
		for _, name := range strings.Split(alternatives, ",") {
			need |= set(name)
		}
		c.needs = append(c.needs, need)
		c.all |= need
	}
	if len(c.needs) == 0 {
		return c, errors.New("nothing says what a route has to mean")
	}
	for _, name := range strings.Fields(may) {
		c.all |= set(name)
	}
	return c, err
}

// Classes returns the classes that words may give.
func (w *Words) Classes() (names []string) {
	if w == nil {
		return nil
	}
	for _, c := range w.classes {
		names = append(names, c.class)
	}
	return names
}

// Text returns what w was parsed from.
func (w *Words) Text() string { return w.text }

// Class returns the class of a route by its words, "" if they say none.
func (w *Words) Class(method, route string) string {
	m := w.meaning(route, method != "GET")
	return m.class(w, method)
}

// meaning is what a route means, without its method.
type meaning struct {
	service, means wordSet // of what stands before a version or a method, and behind it
	joint          wordSet // of service and method, if their words make one together
	none           bool    // an unknown word, or a service for staff
	known          bool    // the service
	remote         bool    // a remote procedure
}

// meaning reads a route. With calls, it may be that of a remote procedure.
func (w *Words) meaning(route string, calls bool) (m meaning) {
	route = strings.TrimSuffix(route, ".json")
	prefix, rest := ServicePrefix(route)
	whole := rest
	if calls && prefix == "" {
		prefix, rest, m.remote = procedure(rest)
	}
	known := false
	if m.means, known = w.read(rest); !known || isInternal(prefix) {
		return meaning{none: true}
	}
	if name := strings.TrimPrefix(rest, "/"); prefix != "" && (strings.EqualFold(name, "balance") || strings.EqualFold(name, "balances")) {
		return meaning{none: true}
	}
	if m.service, m.known = w.read(prefix); m.known && m.remote {
		m.joint, _ = w.read(whole[len(whole)-len(rest)-1-len(prefix):])
	}
	return m
}

func (m *meaning) class(w *Words, method string) string {
	if m.none || m.remote && method != "POST" { // as all protocols call procedures
		return ""
	}
	if m.known {
		if class := w.pick(method, m.service|m.means, false, m.remote); class != "" {
			return class
		}
		if class := w.pick(method, m.joint, false, true); class != "" {
			return class
		}
		if !m.remote && m.service&^w.apps != 0 {
			return "" // /cards/v1/pin is no password
		}
	}
	return w.pick(method, m.means, !m.known, m.remote)
}

// IsApp reports whether a prefix of routes says nothing, or only whom the app is for.
func (w *Words) IsApp(prefix string) bool {
	means, known := w.read(prefix)
	return known && means&^w.apps == 0
}

func (w *Words) pick(method string, means wordSet, foreign, remote bool) string {
	if means == 0 {
		return ""
	}
	for i := range w.classes {
		c := &w.classes[i]
		if means&^c.all == 0 && !(foreign && c.own) && (remote || !c.remote) && slices.Contains(c.methods, method) && c.needed(means) {
			return c.class
		}
	}
	return ""
}

func (c *wordClass) needed(means wordSet) bool {
	for _, need := range c.needs {
		if means&need == 0 {
			return false
		}
	}
	return true
}

// ServicePrefix divides a route behind its version, or behind its last api where it has
// none. A version or api is among the first four segments. Languages and parameters
// before it say nothing, and are left out: prefix is what is named there, such as
// /driver of /en-GB/driver/v1/payouts.
func ServicePrefix(route string) (prefix, rest string) {
	begin, at, end := 0, 0, -1
	for range 4 {
		if at >= len(route) || route[at] != '/' {
			break
		}
		segment, _, _ := strings.Cut(route[at+1:], "/")
		next := at + 1 + len(segment)
		switch {
		case segment == "api", isVersion(segment):
			if end < 0 {
				end = at
			}
			rest = route[next:]
		case end < 0 && begin == at && (IsParameter(segment) || IsLanguage(segment)):
			begin = next
		}
		at = next
	}
	if end < 0 || rest == "" {
		first, below, _ := strings.Cut(strings.TrimPrefix(route, "/"), "/")
		switch {
		case len(first) > 2 && IsLanguage(first), first == "{locale}", first == "{lang}", first == "{language}":
			return "", route[len(route)-len(below):]
		}
		return "", route
	}
	return route[begin:max(begin, end)], rest
}

// isVersion reports whether a segment is v1, v2.1 or v{n}.
func isVersion(segment string) bool {
	return len(segment) > 1 && len(segment) <= 10 && segment[0] == 'v' && (segment[1] >= '0' && segment[1] <= '9' || segment[1] == '{')
}

// isInternal reports whether a service is for staff: what they do to accounts, these
// accounts do not do.
func isInternal(prefix string) bool {
	for _, word := range []string{"admin", "internal", "backoffice", "back-office", "staff", "support", "ops", "cms", "console"} {
		for segment := range strings.SplitSeq(prefix, "/") {
			if strings.EqualFold(segment, word) {
				return true
			}
		}
	}
	return false
}

// procedure divides a remote procedure's route into service and method, without
// packages: /rpc/Wallet.SendMoney, /shop.v1.WalletService/SendMoney. Other routes stay
// as they are.
func procedure(route string) (service, method string, remote bool) {
	cut := strings.LastIndexAny(route, "/.")
	dot := strings.IndexByte(route, '.')
	if dot < 1 || route[dot-1] == '/' || cut < dot || cut == len(route)-1 { // /.env/login is none
		return "", route, false
	}
	service, method = route[:cut], route[cut+1:]
	if route[cut] == '.' {
		return service[strings.LastIndexAny(service, "/.")+1:], method, true
	}
	return service[strings.LastIndexByte(service, '.')+1:], method, true
}

// read returns what the words of a route mean. It is not known if one of them is not.
func (w *Words) read(route string) (means wordSet, known bool) {
	const longest = 128
	var buf [longest]byte
	var ends [16]int // of words in buf
	text, n := buf[:0], 0
	end := func() bool {
		if n > 0 && ends[n-1] == len(text) || n == 0 && len(text) == 0 {
			return true
		}
		if n == len(ends) {
			return false
		}
		ends[n] = len(text)
		n++
		return true
	}
	for rest := route; rest != ""; {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if !end() {
			return 0, false
		}
		name, verb, _ := strings.Cut(segment, "}:") // {id}:capture
		switch {
		case segment == "" || isVersion(segment):
			continue
		case IsParameter(segment):
			if len(text)+2 > longest {
				return 0, false
			}
			text = append(text, "{}"...)
			if segment = verb; !end() {
				return 0, false
			}
		default:
			segment = name
		}
		if len(text)+len(segment) > longest {
			return 0, false
		}
		for i := range len(segment) {
			c := segment[i]
			upper := c >= 'A' && c <= 'Z'
			switch {
			case c == '-' || c == '_' || c == '.' || c == ':':
				if !end() {
					return 0, false
				}
				continue
			case upper && i > 0 && (!isUpper(segment[i-1]) || i+1 < len(segment) && isLower(segment[i+1])):
				if !end() {
					return 0, false
				}
			}
			if upper {
				c |= 0x20
			}
			text = append(text, c)
		}
	}
	if !end() {
		return 0, false
	}
	return w.mean(text, ends[:n])
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

// mean adds up the words that end at ends in text. Of words that make one together,
// such as sign and in, the most are taken. What ends in a balance reads it, and has no
// class: /wallet/cashout/balance.
func (w *Words) mean(text []byte, ends []int) (means wordSet, known bool) {
	begin := 0
	for i := 0; i < len(ends); {
		took := 0
		for n := min(4, len(ends)-i); n > 0 && took == 0; n-- {
			word := text[begin:ends[i+n-1]]
			m, ok := w.concepts[string(word)]
			if !ok {
				continue
			}
			if begin > 0 && i+n == len(ends) && isBalance(word) {
				return 0, false
			}
			if took = n; means != 0 || string(word) != "mobile" { // in front, it is the app
				means |= m
			}
		}
		if took == 0 {
			m, ok := w.divided(text[begin:ends[i]], maxDivided, i+1 == len(ends))
			if !ok {
				return 0, false
			}
			means |= m
			took = 1
		}
		i += took
		begin = ends[i-1]
	}
	return means, true
}

func isBalance(word []byte) bool { return string(word) == "balance" || string(word) == "balances" }

const (
	maxDivided   = 4 // words that one word may be
	shortestWord = 2 // bytes of a word in it
)

// divided reads a word that is up to n words without signs between them: sendotp. It
// may be the last of a route.
func (w *Words) divided(word []byte, n int, last bool) (wordSet, bool) {
	if n < 2 {
		return 0, false
	}
	// The longest first: changepassword, not changepass and word.
	for i := len(word) - shortestWord; i >= shortestWord; i-- {
		a, known := w.concepts[string(word[:i])]
		if !known {
			continue
		}
		if last && isBalance(word[i:]) {
			return 0, false
		}
		b, known := w.concepts[string(word[i:])]
		if !known {
			b, known = w.divided(word[i:], n-1, last)
		}
		if known {
			return a | b, true
		}
	}
	return 0, false
}

// IsParameter reports whether a segment of a route stands for a value, in the way in
// which one of the usual frameworks writes it: {orderId}, :orderId or <orderId>.
func IsParameter(segment string) bool {
	return segment != "" && (segment[0] == '{' || segment[0] == ':' || segment[0] == '<')
}
