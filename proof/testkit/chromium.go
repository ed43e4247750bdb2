package testkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chromium returns the path of a Chromium. WEIR_REQUIRE_CHROMIUM=1 requires it.
func chromium(t testing.TB) string {
	t.Helper()
	Long(t, "it drives a browser")
	if Raced {
		t.Skip("make proof runs the same without the race detector")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	lacking(t, "WEIR_REQUIRE_CHROMIUM", "there is no Chromium to look at the pages with (Debian: apt-get install chromium)")
	return ""
}

// picturesIn is the variable that names a directory for the pictures that the tests
// take; without it none are kept.
const picturesIn = "WEIR_TEST_PICTURES"

// Tab is a tab of Chromium. It records what a page must not do: errors of scripts,
// violations of the content security policy, and requests to anybody else.
type Tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	wrong chan string
}

// OpenTab starts Chromium, which looks at the server at base, and ends it with the
// test. A short run leaves the test to `make proof`.
func OpenTab(t *testing.T, base string) *Tab {
	t.Helper()
	path := chromium(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900), chromedp.Flag("force-device-scale-factor", "1"))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(end)
	b := &Tab{t: t, base: base, wrong: make(chan string, 100)}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	b.ctx, end = context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(end)
	b.run(call(network.Enable, network.EnableParams{}), call(log.Enable, cdp.Empty{}), call(audits.Enable, cdp.Empty{}), call(runtime.Enable, cdp.Empty{}))
	return b
}

// hear records errors of scripts, violations of the content security policy, and
// requests to anybody else.
func (b *Tab) hear(event any) {
	said := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		said = "a script failed: " + e.ExceptionDetails.Text
	case *audits.EventIssueAdded:
		if e.Issue.Details.ContentSecurityPolicyIssueDetails != nil {
			said = fmt.Sprintf("the policy was violated: %+v", e.Issue.Details.ContentSecurityPolicyIssueDetails)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			said = "an error: " + e.Entry.Text + " " + e.Entry.URL
		}
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, b.base+"/") && !strings.HasPrefix(u, "data:") {
			said = "a request to somebody else: " + u
		}
	}
	if said == "" {
		return
	}
	select {
	case b.wrong <- said:
	default: // enough is known
	}
}

// step is something to do in a tab.
type step = chromedp.Action[chromedp.Void]

// call is a command of the protocol whose answer does not matter.
func call[P, R any](command cdp.Command[P, R], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func (b *Tab) run(steps ...step) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("%v\n%s", err, b.Text())
	}
}

// ask returns the value of an expression on the page.
func ask[T any](b *Tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// Text returns what the page shows.
func (b *Tab) Text() string {
	all, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	return strings.Join(strings.Fields(all), " ")
}

// Click clicks on something, and waits for the page that it leads to.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		b.t.Fatalf("click on %s: %v\n%s", selector, err, b.Text())
	}
}

// Open opens a page of the server.
func (b *Tab) Open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.base + path))
}

// Says fails unless the page shows all texts.
func (b *Tab) Says(want ...string) {
	b.t.Helper()
	all := b.Text()
	for _, w := range want {
		if !strings.Contains(all, w) {
			b.t.Fatalf("the page does not say %q: %s", w, all)
		}
	}
}

// Becomes waits until the page says a text, for a page that leads on by itself.
func (b *Tab) Becomes(want string) {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(10 * time.Second); !strings.Contains(b.Text(), want); {
		select {
		case <-tick.C:
		case <-late:
			b.t.Fatalf("the page does not come to say %q: %s", want, b.Text())
		}
	}
}

// Type types into the first field that a selector finds.
func (b *Tab) Type(selector, text string) {
	b.t.Helper()
	b.run(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Choose gives a field a value.
func (b *Tab) Choose(selector, value string) {
	b.t.Helper()
	b.run(chromedp.SetValue(chromedp.CSS(selector), value))
}

// Tick clicks on something that leads nowhere.
func (b *Tab) Tick(selector string) {
	b.t.Helper()
	b.run(chromedp.Click(chromedp.CSS(selector)))
}

// Do runs an expression on the page, as a script of it would.
func (b *Tab) Do(expression string) {
	b.t.Helper()
	b.run(chromedp.Evaluate[chromedp.Void](expression))
}

// Scheme makes the reader prefer a colour scheme: light or dark.
func (b *Tab) Scheme(name string) {
	b.t.Helper()
	b.run(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}))
}

// FirstStop returns the text of what the tabulator key reaches first.
func (b *Tab) FirstStop() string {
	b.t.Helper()
	b.run(chromedp.KeyEvent(kb.Tab))
	return ask[string](b, "document.activeElement.textContent")
}

// Picture keeps a picture of the page, if somebody asked for it.
func (b *Tab) Picture(name string) {
	b.t.Helper()
	dir := os.Getenv(picturesIn)
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// Wrong returns what pages did that they must not do, and forgets it.
func (b *Tab) Wrong() []string {
	var all []string
	for len(b.wrong) > 0 {
		all = append(all, <-b.wrong)
	}
	return all
}

// Contrast measures that of all text with what is behind it, as WCAG 2.2 does (1.4.3).
func (b *Tab) Contrast(page string) {
	b.t.Helper()
	bad := ask[[]string](b, `(() => {
		const bad = new Set();
		const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return {r: m[0], g: m[1], b: m[2], a: m.length > 3 ? m[3] : 1}; };
		const part = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); };
		const light = c => 0.2126 * part(c.r) + 0.7152 * part(c.g) + 0.0722 * part(c.b);
		for (const e of document.querySelectorAll('body *')) {
			if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
			const s = getComputedStyle(e), svg = e instanceof SVGElement;
			if (svg && e.tagName !== 'text' || e.offsetParent === null && !svg || e.tagName === 'OPTION') continue;
			let behind = e, back = {a: 0};
			while (behind && back.a === 0) { back = parse(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
			if (back.a === 0) back = {r: 255, g: 255, b: 255};
			const a = light(parse(svg ? s.fill : s.color)), c = light(back);
			const ratio = (Math.max(a, c) + 0.05) / (Math.min(a, c) + 0.05);
			if (ratio < 4.5) bad.add(e.tagName + '.' + (e.getAttribute('class') || '') + ' ' + ratio.toFixed(2));
		}
		return [...bad];
	})()`)
	for _, x := range bad {
		b.t.Errorf("%s: too little contrast: %s", page, x)
	}
}

// Named checks that a screen reader can name all that can be used, and find its way by
// headings.
func (b *Tab) Named(page string) {
	b.t.Helper()
	tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	headings := 0
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role, name := valueOf(n.Role), valueOf(n.Name)
		switch role {
		case "heading":
			headings++
			fallthrough
		case "link", "button", "textbox", "searchbox", "combobox", "checkbox", "image", "DateTime":
			if name == "" {
				b.t.Errorf("%s: a %s without a name", page, role)
			}
		}
	}
	if headings == 0 {
		b.t.Errorf("%s has no heading", page)
	}
	bad := ask[int](b, `[...document.querySelectorAll('th')].filter(e => !e.scope).length + [...document.querySelectorAll('img:not([alt])')].length + (document.documentElement.lang ? 0 : 1) + (document.querySelectorAll('h1').length === 1 ? 0 : 1)`)
	if bad > 0 {
		b.t.Errorf("%s: headers without a scope, pictures without words, no language, or not one heading of the first level", page)
	}
}

func valueOf(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	return strings.Trim(string(v.Value), `"`)
}
