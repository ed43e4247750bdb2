package route

import (
	"strings"
	"sync"
)

// word is a word that fallback routes show unchanged.
type word struct {
	text      string
	followers map[string]string // words that may follow it
}

// Words that may follow every head.
const commonFollowers = "search"

// headsAlone are usual first segments of APIs and of web sites, and of scanners'
// requests. headsWithFollowers are those that usually lead to more, each with its
// followers. Both may grow only together with the semantic version of ingest, and
// within MaxFallbacks.
const headsAlone = `
about actuator ads alerts analytics announcements apps archive assets audit backup badges banners
batch beta billing blog bookings bookmarks broadcasts browse cache calendar callback campaigns cards
carts catalog categories cgi-bin channels chat cities claims clients collections config contacts
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
cart: checkout clear coupon items total
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

// vocabulary is read once.
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
