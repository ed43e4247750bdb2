// Command pictures takes the pictures of the console that the documentation shows. It
// runs a demonstration, waits until attackers are caught, and looks at them:
//
//	go run ./tools/pictures -weir bin/weir -out docs/pictures
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

func main() {
	weir := flag.String("weir", "bin/weir", "`program` that runs the demonstration and the console")
	out := flag.String("out", "docs/pictures", "`directory` for the pictures")
	wait := flag.Duration("wait", 20*time.Second, "how long after the last attack was caught the pictures are taken")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *weir, *out, *wait); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, weir, out string, wait time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "weir-pictures-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	demo, lines, err := start(ctx, weir, "demo", "-data", dir, "-for", "10m")
	if err != nil {
		return err
	}
	defer func() { cancel(); _ = demo.Wait() }()
	const attacks = 4
	for caught := 0; caught < attacks; {
		text, err := next(ctx, lines)
		if err != nil {
			return fmt.Errorf("the demonstration: %w", err)
		}
		fmt.Println(text)
		if strings.Contains(text, ">> CAUGHT") {
			caught++
		}
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err()
	}
	console, said, err := start(ctx, weir, "console", "-config", filepath.Join(dir, "weir.yaml"))
	if err != nil {
		return err
	}
	defer func() { cancel(); _ = console.Wait() }()
	where, err := next(ctx, said)
	if err != nil {
		return fmt.Errorf("the console: %w", err)
	}
	how, err := next(ctx, said)
	if err != nil {
		return fmt.Errorf("the console: %w", err)
	}
	_, token, _ := strings.Cut(how, "with the token ")
	token, _, _ = strings.Cut(token, ",")
	return look(ctx, strings.TrimPrefix(where, "the console is at "), token, out)
}

// printed takes what a program prints, line by line. What nobody reads in time is
// dropped.
type printed struct {
	lines chan string
	begun []byte // of a line
}

func (p *printed) Write(b []byte) (int, error) {
	p.begun = append(p.begun, b...)
	for {
		line, rest, found := bytes.Cut(p.begun, []byte("\n"))
		if !found {
			return len(b), nil
		}
		select {
		case p.lines <- string(line):
		default:
		}
		p.begun = rest
	}
}

// start runs a program, and returns the lines that it prints.
func start(ctx context.Context, name string, args ...string) (*exec.Cmd, <-chan string, error) {
	said := &printed{lines: make(chan string, 1000)}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = said, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	return cmd, said.lines, cmd.Start()
}

// next returns the next line; an error if none comes.
func next(ctx context.Context, lines <-chan string) (string, error) {
	select {
	case text := <-lines:
		return text, nil
	case <-time.After(2 * time.Minute):
		return "", errors.New("the program says nothing any more")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// shot is one picture: a page, where on it, and its name.
type shot struct {
	name string
	open []chromedp.Action[chromedp.Void]
}

// look signs in, and takes the pictures.
func look(ctx context.Context, address, token, out string) error {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			options = append(options, chromedp.ExecPath(path))
			break
		}
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	ctx, end := chromedp.NewContext(ctx)
	defer end()
	light := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}}})
		return err
	})
	click := func(selector string) chromedp.Action[chromedp.Void] {
		return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
			_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
			return err
		})
	}
	for _, s := range []shot{
		{"", []chromedp.Action[chromedp.Void]{light, chromedp.Navigate(address + "/"), chromedp.SendKeys(chromedp.CSS("#token"), token)}},
		{"console-overview", []chromedp.Action[chromedp.Void]{click(".signin button"), chromedp.Navigate(address + "/?for=15m")}},
		{"console-entity", []chromedp.Action[chromedp.Void]{click(`section[aria-labelledby="whom"] a.entity`)}},
		{"console-why", []chromedp.Action[chromedp.Void]{click(`a[href^="/why?"]`)}},
	} {
		for _, a := range s.open {
			if _, err := chromedp.Run(ctx, a); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		if s.name == "" {
			continue
		}
		picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if picture, err = smaller(picture); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := os.WriteFile(filepath.Join(out, s.name+".png"), picture, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// smaller stores a picture with its 256 most frequent colours, which pages of text
// hardly exceed.
func smaller(picture []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, err
	}
	counts := map[color.RGBA]int{}
	area := from.Bounds()
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			counts[color.RGBAModel.Convert(from.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int { return counts[b] - counts[a] })
	var palette color.Palette
	for _, c := range colours[:min(len(colours), 256)] {
		palette = append(palette, c)
	}
	to := image.NewPaletted(area, palette)
	draw.Draw(to, area, from, area.Min, draw.Src)
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to)
	return out.Bytes(), err
}
