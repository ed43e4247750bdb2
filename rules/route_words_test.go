package rules

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	templates "github.com/weirdev/weir/event/route"
)

func shippedClassifier() *classifier {
	ours := shippedRoutes()
	return newClassifier(ours.classes.table(), ours.words)
}

// classCases are method, route and class; - for none.
const classCases = `
POST /api/v2/identity/sessions login
POST /api/v2/identity/sessions/otp mfa
POST /api/v2/identity/token refresh
POST /api/v2/identity/push-approvals mfa
POST /api/v2/identity/passcode/forgot password_reset
PUT /api/v2/identity/passcode password_change
DELETE /api/v2/identity/sessions/current logout
POST /api/v2/riders signup
PATCH /api/v2/riders/me profile_change
PUT /api/v2/riders/me/contact/email contact_change
POST /api/v2/riders/me/contact/email/verify contact_verify
POST /api/v2/riders/me/phone/verify contact_verify
POST /api/v2/wallet/topups payment
POST /api/v2/rides checkout
POST /rpc/WalletService.SendMoney withdrawal
POST /rpc/WalletService.CashOut withdrawal
POST /rpc/WalletService.LookupContact search
POST /driver/v1/payouts withdrawal
PUT /driver/v1/bank-account payee
POST /{locale}/api/v2/identity/sessions login
POST /de-AT/api/v2/wallet/topups payment
POST /pt_BR/login login
POST /{locale}/identity/sessions login
POST /{app}/v1/payouts withdrawal
POST /{app}/api/v{n}/riders/me/pin password_change
POST /citizens/{id}/pin password_change
POST /rpc/sendmoney withdrawal
POST /rpc/verifyotp mfa
POST /mobile/api/v3/auth/sign_in login
POST /gateway/mobile/v2/customer/signIn login
POST /gw/auth/signIn login
POST /bff/v1/patients signup
PUT /patient/v2/me/emailAddress contact_change
PATCH /v1/citizens/{citizenId}/phone-number contact_change
POST /player/v1/register signup
POST /iam/v1/sessions login
POST /sso/signin login
POST /api/accounts:signUp signup
POST /v1/accounts:signInWithPassword login
POST /v1/payments/{id}:capture payment
POST /auth/passkeys/login login
POST /graphql/VerifyCode mfa
POST /graphql/ConfirmCoinPurchase payment_confirm
POST /graphql/BuyCoins payment
POST /graphql/CashOutDiamonds withdrawal
POST /rpc/WalletService.SendCoins withdrawal
POST /graphql/DownloadMyData export
POST /v3/topups/{id}/confirm payment_confirm
POST /wallet/top-ups/confirm payment_confirm
POST /graphql/CoinPrices -
POST /credits -
POST /codes -
POST /downloads -
POST /graphql/SendGift -
POST /v3/transfers/quote -
POST /topups/{id} payment
POST /auth/webauthn/verify login
POST /v1/auth/biometric-login login
POST /v3/oneTimeCode/send code_request
POST /v1/auth/one-time-passcode/verify mfa
POST /v1/auth/send_otp code_request
POST /v1/auth/requestOtp code_request
POST /v1/login/sms-code/resend code_request
POST /v1/auth/magicLink code_request
POST /v1/auth/twoFactor/verify mfa
POST /v1/auth/pin login
POST /v1/me/pin password_change
PUT /v1/members/me/pin-code password_change
POST /v1/members/me/pin/reset password_reset
POST /v1/couriers/{id}/verify-phone contact_verify
POST /subscribers/me/change_email contact_change
POST /v2/lines/{line}/recharge payment
POST /v1/meters/{meterId}/topup payment
POST /v1/plans/{planId}/purchase payment
POST /v1/bills/{billId}/pay payment
POST /v1/donations payment
POST /v1/reservations/{id}/payments payment
POST /wallets/{id}/add-money payment
POST /couriers/me/cashout withdrawal
POST /merchant/v2/withdrawals withdrawal
POST /v1/remittances withdrawal
POST /accounts/{accountId}/transfers/{id}/confirm withdrawal
POST /v1/driver/me/bankAccounts payee
POST /v1/player/redeemCode promotion
POST /v1/promoCodes/apply promotion
POST /v1/vouchers/{code}/redeem promotion
POST /v1/orders/{id}/refund refund
POST /v1/subscribers/me/data-export export
POST /v2/patient/devices app_start
POST /v1/me/addresses address_change
PUT /v1/passengers/me profile_change
POST /v1/token:refresh refresh
POST /identity/sessions/refresh refresh
POST /identity/token/revoke logout
POST /twirp/shop.v1.PaymentService/CreatePayment payment
POST /shop.v1.UserService/ChangePassword password_change
POST /acme.identity.v2.IdentityService/VerifyOtp mfa
POST /acme.identity.v2.IdentityService/RegisterRider signup
POST /acme.users.v1.UserService/UpdateEmail contact_change
POST /com.bank.PayeeService/AddBeneficiary payee
POST /trpc/auth.login login
POST /graphql/SendMoney withdrawal
POST graphql:SendMoney withdrawal
POST /graphql:signIn login
POST /api/graphql:UpdateEmail contact_change
POST graphql:AddToCart cart
POST graphql:AddToWishlist -
POST graphql:LoginMutation login
POST graphql:SendCode code_request
POST graphql:ResendCode code_request
POST /v1/codes/send code_request
POST /v1/codes/generate -
POST /rpc/account.BindEmail contact_change
POST /v1/me/phone/rebind contact_change
POST /v1/me/devices/bind -
POST /v1/cards/bind -
POST /rpc/store.ValidateReceipt payment
POST graphql:verifyReceipt payment
POST /v1/receipts/validate payment
POST /v1/iap/verify payment
POST /v1/purchases/validate payment
POST /v1/in-app-purchases/{id}/verify payment
POST /v1/receipts -
POST /v1/purchases/restore -
POST graphql:HoldSeats hold
POST /v1/seat-holds hold
POST /v1/events/{id}/seats/hold hold
POST /v2/delivery-slots/{id}/reserve hold
POST /api/slots/reserve hold
POST /v1/inventory/holds hold
POST /v1/calls/{id}/hold hold
DELETE /v1/seat-holds/{id} -
POST /v1/seats -
POST /v1/events/{id}/holds hold
POST /v1/orders/{id}/refund-claims refund
POST /v1/claims/{id} -
POST /graphql -
POST graphql:GetFeed read
POST graphql:MyOrders read
POST graphql:Payments read
POST graphql:Users read
POST graphql:EventDetail read
POST graphql:MyCart cart
POST graphql:orderCreate checkout
POST /rpc/walletservice.sendmoney withdrawal
POST /v1/changeemail contact_change
PUT /drivers/{id}/mobile contact_change
POST /gateway/mobile/login login
POST /identity/sms-code code_request
POST /identity/login/sms-code/verify mfa
POST /v2/driver/payments/cards payment_method
POST /rpc/auth.email login
POST /rpc/auth.guest login
POST /auth/guest login
POST /rpc/guestSession.create login
POST /rpc/session.create login
POST /rpc/gift.redeem promotion
POST /rpc/giftCode.redeem promotion
POST /gifts/{id}/claim promotion
POST /mfa/sms code_request
POST /login/mfa/sms code_request
POST /mfa/sms/check mfa
POST /graphql:SendMoney withdrawal
POST graphql:SendMoney withdrawal
POST /graphql/SignIn login
POST /v1/changemyemail contact_change
POST /v1/forgotpasswordrequest password_reset
POST /balance/withdraw withdrawal
POST /wallet/balance/topup payment
POST /rpc/wallet.transferBalance withdrawal
POST /rpc/wallet.topUpBalance payment
POST /rpc/cashout.balance -
POST /wallet/cashoutbalance -
POST /rpc/wallet.cashoutBalance -
POST /wallet/cashout/balance -
POST /v1/payments/balances -
POST /cashout/v1/balance -
POST /cashout/history -
POST /cashout/status -
POST /payouts/list -
POST /transfers/quote -
POST /wallet/withdraw/limits -
POST /graphql -
POST /identity/email -
POST /.env/login -
GET /api/v2/identity/sessions -
GET /api/v2/riders/me -
GET /api/v2/wallet/topups -
GET /rpc/WalletService.SendMoney -
PUT /v2/riders -
POST /chat/v1/sessions -
POST /charging/v2/sessions -
POST /fleet/v1/drivers -
POST /admin/v1/users -
POST /internal/v1/users/{id}/password -
POST /v1/hotels/{id}/guests -
POST /v1/passengers -
POST /v1/employees -
POST /v1/rides/{id}/cancel -
POST /v1/pins -
POST /v1/boards/{id}/pin -
PUT /cards/{id}/pin -
PUT /cards/v1/pin -
POST /v1/identity/documents -
POST /v1/identity/verify -
POST /v1/games/{id}/sessions -
POST /v1/workouts/sessions -
POST /v1/rooms/{id}/tokens -
POST /v1/courses/{id}/register -
POST /v1/events/{id}/registrations -
POST /v1/calls/{id}/transfer -
POST /v1/tickets/{id}/transfer -
POST /v1/messages/send -
POST /v1/messages/{id}/recipients -
POST /v1/claims -
POST /v1/posts/{id}/share -
POST /v1/push/token -
POST /v1/devices/{id}/push-token -
POST /v1/address/validate -
POST /v1/loginpage/visits -
POST /login.php -
POST AA_AA -
POST AA_AA/login login
POST shop.v1.WalletService/CashOut withdrawal
POST /wallet -
POST / -
POST /~9d/{id}/… -
PATCH /api/v2/ -
`

func TestRoutesHaveClassesByTheirWords(t *testing.T) {
	of := shippedClassifier()
	for line := range strings.Lines(strings.TrimSpace(classCases)) {
		f := strings.Fields(line)
		want := strings.TrimPrefix(f[2], "-")
		for range 2 { // the second answer is remembered
			if got := of.remembered(f[0], f[1]); got != want {
				t.Errorf("%s %s has class %q, want %q", f[0], f[1], got, want)
			}
		}
	}
}

// What the lists name has no other class in another spelling, but where the spelling
// decides.
func TestWordsAgreeWithTheLists(t *testing.T) {
	decides := map[endpoint]bool{
		{"POST", "/payment/card"}:  true, // one payment: /payments/cards are many cards
		{"POST", "/login/sms"}:     true,
		{"POST", "/auth/mfa/code"}: true,
	}
	agree := 0
	for e, class := range shippedRoutes().classes {
		switch got := shippedRoutes().words.Class(e.method, e.route); {
		case got == class:
			agree++
		case got != "" && !decides[e]:
			t.Errorf("%s %s is %s in the list, and %s by its words", e.method, e.route, class, got)
		}
	}
	if agree < 1400 {
		t.Errorf("words find only %d routes of the lists", agree)
	}
}

// Every row of the docs' table of classes by words is true.
func TestTheClassesInTheDocsAreTrue(t *testing.T) {
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	of := shippedClassifier()
	rows := regexp.MustCompile("(?m)^\\| (`[A-Z]+ /.*`) \\| (?:`([a-z_]+)`|none: .*) \\|$").FindAllStringSubmatch(string(page), -1)
	if len(rows) < 8 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	for _, row := range rows {
		for _, request := range strings.Split(row[1], ", ") {
			method, route, _ := strings.Cut(strings.Trim(request, "`"), " ")
			if got := of.class(method, route); got != row[2] {
				t.Errorf("%s %s has class %q, not %q", method, route, got, row[2])
			}
		}
	}
}

func TestClassesOfRoutesCostNoAllocation(t *testing.T) {
	of := shippedClassifier()
	routes := []string{"/en-GB/api/v2/identity/sessions/otp", "/rpc/WalletService.SendMoney", "/nobody/knows/{id}/this", "/" + strings.Repeat("aB", 200), strings.Repeat("/a", 200)}
	for _, route := range routes {
		if n := testing.AllocsPerRun(100, func() { of.class("POST", route) }); n != 0 {
			t.Errorf("the class of %.40s costs %v allocations, unremembered", route, n)
		}
		if n := testing.AllocsPerRun(100, func() { of.remembered("POST", route) }); n != 0 {
			t.Errorf("the class of %.40s costs %v allocations", route, n)
		}
	}
}

// Routes that clients make up are remembered now and then only.
func TestAFloodOfRoutesIsNotRemembered(t *testing.T) {
	of := shippedClassifier()
	for i := range len(of.slots) * 40 {
		of.remembered("POST", "/made/up/"+strconv.Itoa(i))
	}
	n := 0
	flood := func() { n++; of.remembered("POST", "/made/up/again/"+strconv.Itoa(n)) }
	if got := testing.AllocsPerRun(5000, flood); got >= 2 { // one is the route itself
		t.Errorf("a new route costs %v allocations", got)
	}
	if got := of.remembered("POST", "/v1/login"); got != loginClass {
		t.Errorf("after a flood, /v1/login has class %q", got)
	}
}

func FuzzClassOfARoute(f *testing.F) {
	for line := range strings.Lines(strings.TrimSpace(classCases)) {
		c := strings.Fields(line)
		f.Add(c[0], c[1])
	}
	of, names := shippedClassifier(), map[string]bool{"": true}
	for _, class := range shippedRoutes().words.Classes() {
		names[class] = true
	}
	for _, class := range shippedRoutes().classes {
		names[class] = true
	}
	for _, class := range templates.VerbClasses() {
		names[class] = true
	}
	f.Fuzz(func(t *testing.T, method, route string) {
		class := of.class(method, route)
		if !names[class] || class == noClass {
			t.Errorf("%s %q has class %q", method, route, class)
		}
		if again := of.remembered(method, route); again != class {
			t.Errorf("%s %q has class %q, then %q", method, route, class, again)
		}
	})
}

func BenchmarkClassOfARoute(b *testing.B) {
	of := shippedClassifier()
	for _, route := range []string{"/api/v2/products/{id}", "/en-GB/api/v2/identity/sessions/otp"} {
		b.Run("remembered "+route, func(b *testing.B) {
			for b.Loop() {
				of.remembered("POST", route)
			}
		})
		b.Run("new "+route, func(b *testing.B) {
			for b.Loop() {
				of.class("POST", route)
			}
		})
	}
}

// wordForms are ways to write two words. Only concepts' first words are written in all.
var wordForms = []string{
	"/a/b", "/a-b", "/aB", "/ab", "/rpc/a.b", "/a/{id}/b",
	"/A/B", "/A-B", "/a_b", "/AB", "/a/b/{id}", "/rpc/A.B", "/rpc/aB", "/graphql/AB", "/graphql:AB", "/shop.v1.AService/B", "/frob/v1/a/b", "/api/v2/a/b",
}

// A path without a template has the class that it would have as a route, in whatever
// form it writes the words that say one.
func TestDerivedRoutesKeepTheClassesOfWords(t *testing.T) {
	of, table := shippedClassifier(), new(templates.Table)
	concepts := map[string][]string{}
	text, lines, _ := strings.Cut(strings.TrimSpace(templates.BuiltInWords), "\n\n")
	for line := range strings.Lines(text) {
		name, words, _ := strings.Cut(line, ":")
		concepts[name] = strings.Fields(words)
	}
	concepts["owner"] = []string{"me"}
	seen, checked, classed := map[string]bool{}, 0, 0
	check := func(route string) {
		if seen[route] {
			return
		}
		seen[route] = true
		derived := table.Route("", strings.ReplaceAll(route, "{id}", "4711"))
		lower := strings.ToLower(route) // as paths are
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			class := of.words.Class(method, route)
			if class == "" || class != of.words.Class(method, lower) || templates.QueryClass(method, route) != templates.QueryClass(method, lower) { // only capital letters say where words end
				continue
			}
			class = of.class(method, lower) // a list may know better
			checked++
			if got := of.class(method, derived); got != class {
				t.Errorf("%s %s has class %q, and its derived route %s %q", method, route, class, derived, got)
			}
			if derived != route {
				classed++
			}
		}
	}
	pair := func(a, b string, forms []string) {
		for _, form := range forms {
			form = strings.NewReplacer("{id}", "{id}", "AService", title(a)+"Service", "rpc", "rpc", "graphql", "graphql", "shop", "shop", "frob", "frob", "api", "api",
				"A", title(a), "B", title(b), "a", a, "b", b).Replace(form)
			check(form)
		}
	}
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs, may, _ := strings.Cut(rest, "|")
		first := strings.Fields(needs)
		for _, need := range first {
			for _, name := range strings.Split(need, ",") {
				for _, word := range concepts[name] {
					check("/" + word)
					check("/v1/" + word + ".json")
					for _, other := range append(first, strings.Fields(may)...) {
						other, _, _ = strings.Cut(other, ",")
						words := concepts[other]
						if len(words) == 0 || other == "{}" {
							continue
						}
						pair(word, words[0], wordForms[:6])
						if word == concepts[name][0] {
							pair(word, words[0], wordForms)
							pair(words[0], word, wordForms)
						}
					}
				}
			}
		}
	}
	if checked < 10_000 || classed < 5_000 {
		t.Errorf("only %d requests have a class, and %d of them another route", checked, classed)
	}
}

func title(word string) string { return strings.ToUpper(word[:1]) + word[1:] }
