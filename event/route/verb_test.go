package route_test

import (
	"testing"

	"github.com/weirdev/weir/event/route"
)

func TestVerbsOfProcedures(t *testing.T) {
	for _, c := range []struct{ method, route, class string }{
		{"POST", "/rpc/player.search", "search"},
		{"POST", "/rpc/market.search", "search"},
		{"POST", "/rpc/guild.get", "read"},
		{"POST", "/rpc/inventory.list", "read"},
		{"POST", "/rpc/Inventory.ListItems", "read"},
		{"POST", "/shop.v1.CatalogService/GetProduct", "read"},
		{"POST", "/shop.v1.CatalogService/SearchProducts", "search"},
		{"POST", "/api/rpc/orders.fetch_all", "read"},
		{"POST", "/graphql/GetFeed", "read"},
		{"POST", "graphql:searchPlayers", "search"},
		{"POST", "/rpc/chat.send", "message"},
		{"POST", "/chat.v1.ChatService/SendMessage", "message"},
		{"POST", "graphql:addComment", "message"},
		{"POST", "/api/v2/messages", "message"},
		{"POST", "/v1/conversations/{id}/messages", "message"},
		{"POST", "/v1/hotels/search", "search"},

		{"POST", "/graphql/HoldSeats", "hold"},
		{"POST", "/rpc/seats.hold", "hold"},
		{"POST", "/rpc/tickets.reserve", "hold"},
		{"POST", "/inventory.v1.Stock/CreateHold", "hold"},
		{"POST", "/v1/events/{id}/seats/hold", "hold"},
		{"POST", "/v2/slots/{id}/reserve", "hold"},
		{"POST", "/v1/holds", "hold"},
		{"POST", "/v1/seat-holds", "hold"},
		{"POST", "/rpc/seats.releaseHold", ""},
		{"POST", "/rpc/seat.holdings", ""},
		{"POST", "/v1/holds/{id}", ""},
		{"POST", "/v1/holds/{id}/release", ""},
		{"DELETE", "/v1/seats/hold", ""},

		// What changes something is no read, and what is unclear is none either.
		{"POST", "/rpc/cart.getOrCreate", ""},
		{"POST", "/rpc/item.findAndModify", ""},
		{"POST", "/rpc/daily.getReward", ""},
		{"POST", "/rpc/auth.getToken", ""},
		{"POST", "/rpc/market.list", ""},
		{"POST", "/rpc/Market.ListItem", ""},
		{"POST", "/rpc/market.listForSale", ""},
		{"POST", "/rpc/inventory.listItem", ""},
		{"POST", "/rpc/friends.sendGift", ""},
		{"POST", "/rpc/ads.recordBannerView", ""},
		{"POST", "/rpc/guild.join", ""},
		{"POST", "/rpc/chat.history", ""},
		{"POST", "/rpc/forget.password", ""},
		{"POST", "/rpc/getaway.book", ""},
		{"POST", "/v1/orders", ""},
		{"POST", "/v1/orders/get", ""},
		{"POST", "/v1/messages/{id}", ""},
		{"POST", "/admin/v1/users/search", ""},
		{"GET", "/rpc/player.search", ""},
		{"PUT", "/v1/messages", ""},
		{"POST", "/rpc/a.b_c_d_e_f_g_h_i_j_get", ""},
		{"POST", "/rpc/", ""},
		{"POST", "", ""},
	} {
		if got := route.VerbClass(c.method, c.route); got != c.class {
			t.Errorf("%s %s has class %q, want %q", c.method, c.route, got, c.class)
		}
	}
}

func TestQueriesOfGraphQL(t *testing.T) {
	for _, c := range []struct{ method, route, class string }{
		{"POST", "graphql:Orders", "read"},
		{"POST", "graphql:MyOrders", "read"},
		{"POST", "/graphql/myOrders", "read"},
		{"POST", "/api/graphql/Users", "read"},
		{"POST", "gql:Transfers", "read"},
		{"POST", "graphql:me", "read"},
		{"POST", "graphql:Viewer", "read"},
		{"POST", "graphql:OrderDetail", "read"},
		{"POST", "graphql:SeatAvailability", "read"},
		{"POST", "graphql:HomeFeed", "read"},
		{"POST", "graphql:PaymentHistory", "read"},

		{"POST", "graphql:MyCart", ""},
		{"POST", "graphql:SearchResults", ""},
		{"POST", "graphql:PlaceOrder", ""},
		{"POST", "graphql:orderCreate", ""},
		{"POST", "graphql:MyProfileUpdate", ""},
		{"POST", "graphql:ClearHistory", ""},
		{"POST", "graphql:ConfirmDetails", ""},
		{"POST", "graphql:Payment", ""},
		{"POST", "graphql:Process", ""},
		{"POST", "graphql:Login", ""},
		{"POST", "/graphql", ""},
		{"POST", "/rpc/orders", ""},
		{"POST", "/rpc/order.history", ""},
		{"POST", "/v1/orders", ""},
		{"POST", "/v1/order/details", ""},
		{"GET", "graphql:Orders", ""},
		{"POST", "/admin/api/graphql:Orders", ""},
	} {
		if got := route.QueryClass(c.method, c.route); got != c.class {
			t.Errorf("%s %s has class %q, want %q", c.method, c.route, got, c.class)
		}
	}
}

func FuzzVerbClass(f *testing.F) {
	for _, r := range []string{"/rpc/player.search", "graphql:Feed", "/a.b/C", "/_.:-/", "..//::", ":", "graphql:", "graphql:My_s"} {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, r string) {
		switch got := route.VerbClass("POST", r); got {
		case "", route.ReadClass, route.SearchClass, route.MessageClass:
		default:
			t.Errorf("%q has class %q", r, got)
		}
		if got := route.QueryClass("POST", r); got != "" && got != route.ReadClass {
			t.Errorf("%q has class %q as a query", r, got)
		}
		if route.VerbClass("GET", r) != "" {
			t.Errorf("GET %q has a class", r)
		}
	})
}
