package route

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// usual holds complete routes that are common in APIs, and that are longer or rarer
// than a head and a follower can describe. It is parsed once.
var usual = sync.OnceValue(func() *node {
	t := &Table{}
	for _, route := range usualRoutes() {
		if err := t.add(route); err != nil {
			panic(fmt.Sprintf("usual route %s: %v", route, err))
		}
	}
	return &t.root
})

// usualRoutes lists the routes of usual, without prefix.
func usualRoutes() []string {
	var routes []string
	for _, line := range strings.Split(strings.TrimSpace(usualPaths), "\n") {
		before, after, _ := strings.Cut(line, ": ")
		for _, parent := range strings.Fields(before) {
			for _, last := range strings.Fields(after) {
				routes = append(routes, strings.TrimSuffix(strings.TrimPrefix("/"+parent+"/"+last, "/."), "/."))
			}
		}
	}
	slices.Sort(routes)
	return slices.Compact(routes)
}

// usualPaths holds parents with their children; "." is the root, or the parent
// itself. Each route counts as 29, one per prefix. The list grows with the
// vocabulary.
const usualPaths = `
auth/mfa auth/2fa auth/otp mfa 2fa otp: . challenge confirm disable enable enroll request resend send setup validate verify
auth/sms auth/email auth/phone sms email phone: change confirm request resend send update verify
auth/mfa auth/otp login/mfa login/otp: sms email totp push
login/mfa login/otp login/sms login/2fa: . resend send verify
auth/password password: change confirm forgot recover request reset set update validate verify
auth/password/reset password/reset: {id} confirm request verify
account/password accounts/password user/password users/password users/me/password me/password profile/password: change forgot reset update
. auth account user users users/me me: change-email change-password change-phone confirm-email confirm-phone data-export export resend-code resend-otp resend-verification reset-password send-code send-otp step-up update-email update-password update-phone verify-code verify-email verify-otp verify-phone forgot-password
auth: 2fa magic-link/verify passkey password-reset reauthenticate recover session/refresh sessions/refresh token/refresh token/revoke tokens/refresh webauthn
auth/passkey auth/webauthn: login register verify
verify: code otp sms
account user users/me me profile settings: beneficiaries cards cart cart/items data email email/change email/verify export mfa orders password payment-methods phone phone/change phone/verify 2fa withdraw withdrawals
accounts/{id} users/{id} customers/{id}: beneficiaries cards cart cart/items data-export email export mfa password payment-methods phone withdraw withdrawals transfers
account: data
payment: card
accounts: logout
payments payment: . quote estimate preview fees charge intent intents cards methods confirm authorize verify complete {id}/verify {id}/complete
payments/cards payments/methods billing/cards billing/payment-methods payment-methods payment_methods: . {id} add verify {id}/verify
cards: add verify {id}/verify
billing: pay charge
wallet wallets: cards topup top-up withdrawals {id}/withdrawals
checkout checkouts: . cart items complete confirm coupon coupons pay payment place-order sessions session shipping start {id}/complete {id}/confirm {id}/pay {id}/payment
orders order: . cart checkout complete confirm pay {id}/complete {id}/confirm {id}/pay {id}/payment
invoices: {id}/pay {id}/payments
payment-intents payment_intents purchases purchase: . {id} confirm {id}/confirm {id}/capture
. : add-to-cart attest attestation bootstrap buy cash-out cashout charge charges flags feature-flags handshake init app-config pay recover redeem send-money takeout transfer withdraw withdrawal password-reset password-resets 2fa
attest attestation: challenge verify
app client mobile: config version
beneficiaries payees recipients payout payouts exports backups: . {id} confirm {id}/confirm {id}/verify
checkouts order transfer coupon promo promos promo-codes voucher gift-cards giftcards gift-card: {id}
bank: accounts transfers beneficiaries
transfers transfer withdrawals: . quote estimate preview fees confirm verify {id}/confirm {id}/verify
cart: add coupons lines
contacts customers documents gdpr orders privacy profile reports settings transactions users: export
reports: {id}/export
privacy gdpr: data-export delete
export: data
coupons coupon promo promos promotions promo-codes vouchers voucher gift-cards giftcards gift-card rewards referrals: . apply balance check redeem validate {id}/apply {id}/balance {id}/redeem
identity iam sso: . login logout mfa mfa/challenge mfa/verify otp otp/request otp/send otp/verify passcode passcode/change passcode/forgot passcode/reset password password/change password/forgot password/reset forgot-password reset-password passkey push-approvals refresh register session sessions sessions/current sessions/otp sessions/refresh signin sign-in signup sign-up step-up token token/refresh token/revoke
auth: code code/send code/verify passcode passcode/forgot passcode/reset passkeys pin pin/reset push-approvals sessions/current sessions/otp sign_in sign_out sign_up totp
customers members riders drivers patients passengers players subscribers couriers merchants citizens sellers guests students: me me/addresses me/bank-account me/cards me/contact/email me/contact/email/verify me/contact/phone me/contact/phone/verify me/devices me/email me/email/change me/email/verify me/export me/password me/password/change me/payment-methods me/payouts me/phone me/phone/change me/phone/verify me/pin login register {id}/email {id}/password {id}/phone
users/me me account: bank-account bank-accounts contact contact/email contact/email/verify contact/phone contact/phone/verify payees payouts pin pin/reset topups
wallet wallets: add-money cash-out cashout payout payouts send topups top-ups transfers {id}/topups {id}/transfers
topups top-ups recharge recharges donations bank-account bank-accounts remittances: . {id}
rides bookings reservations trips orders: {id}/payments {id}/refund
driver rider courier merchant customer partner patient player: bank-account bank-accounts email login me password payouts phone profile register signup`

// rpcWords come before the name of a remote procedure.
const rpcWords = `rpc twirp grpc trpc connect graphql`

// procedureNames are methods of remote procedures, in small letters as paths are.
const procedureNames = `
login signin signinwithpassword authenticate createsession logout signout signup register createuser createaccount
refreshtoken refreshsession revoketoken forgotpassword resetpassword changepassword updatepassword
requestotp sendotp resendotp sendcode requestcode verifyotp verifycode verifymfa approvepush
changeemail updateemail changephone updatephone verifyemail verifyphone confirmemail confirmphone updateprofile updateaddress addaddress
sendmoney transfer createtransfer transfermoney withdraw createwithdrawal cashout payout createpayout topup addmoney
pay createpayment confirmpayment capturepayment addcard addpaymentmethod addpayee addbeneficiary addbankaccount
redeemcode redeemvoucher applycoupon applypromo claimreward refundpayment createorder checkout
registerdevice attest exportdata lookupcontact finduser searchusers`

// appWords say whom an app is for, or what serves it, before a version or /api.
const appWords = `
mobile app web ios android gateway gw bff rest public client edge
driver rider courier merchant customer partner patient player passenger member subscriber citizen seller buyer guest student`

var (
	rpcHeads = sync.OnceValue(func() map[string]bool { return wordsOf(rpcWords) })
	apps     = sync.OnceValue(func() map[string]bool { return wordsOf(appWords) })

	// procedures holds itself by name, so that texts of routes are no client's.
	procedures = sync.OnceValue(func() map[string]string {
		m := map[string]string{}
		for _, name := range strings.Fields(procedureNames) {
			m[name] = name
		}
		return m
	})
)

func wordsOf(text string) map[string]bool {
	m := map[string]bool{}
	for _, word := range strings.Fields(text) {
		m[word] = true
	}
	return m
}

// word is a word that stays unchanged in fallback routes.
type word struct {
	text      string
	followers map[string]string // words that may follow it
}

// Words that may follow any head.
const commonFollowers = "search"

// headsAlone are common first segments of APIs, of web sites and of scanners'
// requests. headsWithFollowers are those that usually lead to further segments,
// each with its followers. Both may only grow together with the semantic version of
// ingest, and within MaxFallbacks.
const headsAlone = `
riders patients passengers subscribers couriers citizens sellers guests students rider driver courier merchant customer partner patient player
about actuator ads alerts analytics announcements apps archive assets audit backup badges banners
batch beta billing blog bookings bookmarks broadcasts browse cache calendar callback campaigns cards
catalog categories cgi-bin channels chat cities claims clients collections config contacts
contracts countries coupons credits css currencies dashboard data db debug demo deliveries docs
documents download downloads drivers echo email emails employees error events experiments export
faq favicon.ico favorites features feed feedback fonts forms forum friends games geo gifts
graphql health healthz help history home icons identity images img import imports inbox info ingest
insights install inventory invitations invites invoices ip issues jobs js jwks keys labels languages
leaderboard leads legal levels licenses likes links live locale locations logs mail maps matches
members merchants metadata metrics mobile models news nodes notes offers onboarding options
organisations packages pages partners people permissions phone photos ping places plans
players playlists polls portfolio prices privacy promotions public push quotes ranking rates ratings
readyz receipts recommendations referrals refunds regions register reports requests reset.css
reservations restaurants reviews rewards rides robots.txt roles rooms rpc rss rules schedules schemas
sections segments servers services setup shares shops sitemap.xml sites skills sms
socket.io static stats status stocks stores stories streams students style.css surveys swagger
sync tags tasks tax templates tenants terms test themes threads tickets time tools topics tracking
tracks trade trades translations trips units update upload uploads urls usage vehicles vendors version
videos views visits vouchers watchlist weather widgets withdrawals wordpress workers workflows
wp-admin wp-content wp-includes wp-login.php xmlrpc.php zones .env .git .well-known
admin.php index.html index.php`

const headsWithFollowers = `
account: address addresses activate avatar balance cards close delete devices email login logout me notifications orders password phone preferences profile recover register reset security sessions settings subscription verify
accounts: activities addresses balance balances cards devices close login me orders password payments profile recover register sessions settings statements transactions transfers users verify
addresses: default validate
admin: accounts audit config dashboard login logs orders reports roles settings stats users
auth: authorize callback challenge change-password confirm device forgot forgot-password login logout magic-link me mfa oauth otp password recover refresh register reset reset-password revoke session sessions sign-in sign-out sign-up signin signout signup sso token tokens user verify
bag: add items lines
basket: add items lines
baskets: add items lines
cart: checkout clear coupon items total
carts: add items lines
checkout: confirm payment shipping
comments: likes replies report
companies: employees users
customers: addresses cards orders payments subscriptions
device: attest challenge register
devices: attest challenge keys register revoke token tokens unregister verify
files: content download upload versions
groups: invite join leave members messages
login: biometric callback challenge mfa otp sms verify
me: addresses avatar devices email friends messages notifications orders password payments preferences profile sessions settings subscriptions
media: upload
messages: attachments reactions read unread
mfa: challenge enroll verify
notifications: preferences read settings unread
oauth: authorize callback introspect revoke token userinfo
oauth2: authorize callback introspect jwks revoke token userinfo
orders: cancel confirm history invoice items payments refund return shipments status track
organizations: invitations members projects teams users
otp: resend send validate verify
password: change forgot reset verify
payments: authorize cancel capture confirm methods refund refunds status webhook
posts: bookmark comments like likes reactions share
products: availability images inventory price prices reviews variants
profile: avatar email password phone picture settings
projects: issues members tasks
search: autocomplete suggest suggestions
session: refresh verify
sessions: current refresh revoke
settings: notifications privacy security
shipments: track
shopping-cart: add items lines
sign-in:
sign-up: verify
signin:
signup: verify
logout:
forgot-password:
reset-password:
refresh:
subscriptions: cancel pause renew resume
teams: members projects
token: refresh revoke verify
tokens: refresh revoke
transactions: cancel history status
transfers: confirm status
user: avatar devices email login logout me orders password profile register sessions settings
userinfo:
users: activate addresses avatar block comments devices email follow followers following forgot-password friends invite likes login logout me messages notifications orders password payments permissions photos posts preferences profile register reset-password roles sessions settings status subscriptions transactions unfollow verify
verify: email phone
wallet: balance deposit history transactions transfer withdraw
wallets: balance deposit transactions transfer withdraw
webhooks: deliveries test`

// vocabulary is parsed once.
var vocabulary = sync.OnceValue(func() map[string]*word {
	words := map[string]*word{}
	for _, head := range strings.Fields(headsAlone) {
		words[head] = newWord(head, "")
	}
	for _, line := range strings.Split(strings.TrimSpace(headsWithFollowers), "\n") {
		head, followers, _ := strings.Cut(line, ":")
		words[head] = newWord(head, followers)
	}
	return words
})

func newWord(head, followers string) *word {
	w := &word{text: head, followers: map[string]string{}}
	for _, f := range strings.Fields(followers + " " + commonFollowers) {
		w.followers[f] = f
	}
	return w
}
